"""Random sequences of calls by several users, compared with a plain dict, over HTTP and on both
databases."""

from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.api.owner import Owner
from tests.harness.hashes import HASHES
from tests.harness.server import ApiServer, Response, Tenant

ACCOUNTS = "/v2/email-accounts"
NAMES = ("alice", "bob", "carol", "dave", "erin", "frank")
USERS = ("user_1", "user_2")
STATUSES = ("active", "suspended", "disabled")
PROTOCOLS = ("imap", "pop3", "smtp", "sieve")
# Fields of an account that are set only by a deletion or an end of sessions.
NULLS = ("deleted_at", "purge_at", "last_login_at", "send_blocked_at", "sessions_ended")
SEND_LIMITS = ("recipients_per_hour", "recipients_per_day", "new_recipients_per_day", "recipients_per_message")
RANK = {"active": 0, "suspended": 1, "disabled": 2}

names, users, statuses = st.sampled_from(NAMES), st.sampled_from(USERS), st.sampled_from(STATUSES)
display_names = st.none() | st.text(st.characters(exclude_categories=["C", "Z"]), max_size=20)
quotas = st.none() | st.integers(1, 1000)
switches = st.dictionaries(st.sampled_from(PROTOCOLS), st.booleans())
filters = st.sampled_from([{}, *({"user_id": user} for user in USERS)])


class Machine(RuleBasedStateMachine):
    """The model: accounts by id, and the current or last user of each address."""

    api: ApiServer

    def __init__(self) -> None:
        super().__init__()
        self.accounts: dict[int, dict[str, Any]] = {}
        self.owners: dict[str, str] = {}
        self.deleted: dict[int, dict[str, Any]] = {}
        self.passwords: set[str] = set()
        self.forwards: dict[int, list[str]] = {}
        self.alias_ids: dict[tuple[int, str], int] = {}
        self.app_passwords: dict[int, dict[str, int]] = {}
        self.links: dict[int, str] = {}
        self.dead_links: list[str] = []
        self.pages: dict[int, list[Owner]] = {}
        self.dead_pages: list[Owner] = []

    @initialize()
    def begin(self) -> None:
        self.tenant: Tenant = self.api.new_tenant()

    @rule(name=names, user=users, display_name=display_names)
    def create(self, name: str, user: str, display_name: str | None) -> None:
        answer = self.tenant.create(name, user_id=user, display_name=display_name)
        taken = any(account["local_part"] == name for account in self.accounts.values())
        if taken or self.owners.get(name, user) != user:  # in quarantine for another user
            assert (answer.status, answer.code) == (409, "address_exists")
            return
        assert answer.status == 201, answer.text
        self._new_password(answer)
        made = answer.json["account"]
        assert made["id"] > max([0, *self.accounts, *self.deleted])
        first = not self._of(user)
        self.accounts[made["id"]] = {
            "id": made["id"],
            "user_id": user,
            "domain": self.tenant.domain,
            "local_part": name,
            "address": f"{name}@{self.tenant.domain}",
            "display_name": display_name,
            "status": "active",
            "is_default": first,
            "quota_bytes": None,
            "quota_messages": None,
            "password_scheme": "generated",
            "protocols": dict.fromkeys(PROTOCOLS, True),
            "main_password": True,
            "may_send": True,
            "send_limits": dict.fromkeys(SEND_LIMITS),
            "aliases": [],
            "aliases_more": False,
        }
        self.owners[name] = user

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), status=statuses, display_name=display_names, what=st.integers(1, 3), filter_=filters)
    def update(
        self, data: st.DataObject, status: str, display_name: str | None, what: int, filter_: dict[str, str]
    ) -> None:
        account = self._any(data)
        body = {"status": status} if what & 1 else {}
        body |= {"display_name": display_name} if what & 2 else {}  # type: ignore[dict-item]
        answer = self.tenant.put(f"{ACCOUNTS}/{account['id']}", body | filter_)
        if self._refuses(answer, account, filter_):
            return
        before = account["status"]
        account |= body
        if before == "active" != account["status"]:
            self._end(account)
        if before != "disabled" and account["status"] == "disabled":
            self._hand_over(account)

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), size=quotas, messages=quotas, filter_=filters)
    def set_quota(self, data: st.DataObject, size: int | None, messages: int | None, filter_: dict[str, str]) -> None:
        account = self._any(data)
        body = {"quota_bytes": size, "quota_messages": messages}
        each = {"recipients_per_hour": size, "new_recipients_per_day": messages}
        sent = body | {"send_limits": each} | filter_
        if not self._refuses(self.tenant.put(f"{ACCOUNTS}/{account['id']}", sent), account, filter_):
            account |= body | {"send_limits": account["send_limits"] | each}

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), protocols=switches, main=st.booleans(), filter_=filters)
    def switch(self, data: st.DataObject, protocols: dict[str, bool], main: bool, filter_: dict[str, str]) -> None:
        account = self._any(data)
        body = {"protocols": protocols, "main_password": main, "may_send": main, **filter_}
        if not self._refuses(self.tenant.put(f"{ACCOUNTS}/{account['id']}", body), account, filter_):
            account |= {"protocols": account["protocols"] | protocols, "main_password": main, "may_send": main}

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), filter_=filters)
    def make_default(self, data: st.DataObject, filter_: dict[str, str]) -> None:
        account = self._any(data)
        answer = self.tenant.put(f"{ACCOUNTS}/{account['id']}", {"is_default": True, **filter_})
        is_own = filter_.get("user_id", account["user_id"]) == account["user_id"]
        if is_own and account["status"] == "disabled" and not account["is_default"]:
            assert (answer.status, answer.code) == (409, "account_disabled")
            return
        if not self._refuses(answer, account, filter_):
            self._make_default(account)

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), filter_=filters)
    def reset(self, data: st.DataObject, filter_: dict[str, str]) -> None:
        account = self._any(data)
        answer = self.tenant.post(f"{ACCOUNTS}/{account['id']}/password/reset", filter_)
        if not self._refuses(answer, account, filter_):
            self._new_password(answer)
            self._end(account)
            account["password_scheme"] = "generated"

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), filter_=filters, text=st.sampled_from(HASHES))
    def import_hash(self, data: st.DataObject, filter_: dict[str, str], text: str) -> None:
        account = self._any(data)
        body = {"password_hash": text, **filter_}
        answer = self.tenant.post(f"{ACCOUNTS}/{account['id']}/password/reset", body)
        if not self._refuses(answer, account, filter_):
            assert answer.json["password"] is None
            self._end(account)
            account["password_scheme"] = "imported"

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), filter_=filters, numbers=st.lists(st.integers(1, 9), unique=True))
    def forward(self, data: st.DataObject, filter_: dict[str, str], numbers: list[int]) -> None:
        account = self._any(data)
        path = f"{ACCOUNTS}/{account['id']}/forwarding"
        to = [f"{number}@else.example" for number in numbers]
        answer = self.tenant.put(path, {"enabled": bool(to), "to": to, **filter_})
        if not self._refuses(answer, account, filter_):
            self.forwards[account["id"]] = to
        found = self.tenant.get(path).json["forwarding"]
        assert found["to"] == self.forwards.get(account["id"], [])

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), name=st.sampled_from(["ape", "bee"]))
    def alias(self, data: st.DataObject, name: str) -> None:
        """Makes an alias, or deletes the one that the account has."""
        account = self._any(data)
        address, user = f"{name}@{self.tenant.domain}", account["user_id"]
        if address in account["aliases"]:
            id_ = self.alias_ids[account["id"], address]
            assert self.tenant.post("/v2/email-aliases/delete", {"id": id_}).status == 200
            account["aliases"] = [other for other in account["aliases"] if other != address]
            del self.owners[name]
            return
        body = {"domain": self.tenant.domain, "local_part": name, "user_id": user, "account_ids": [account["id"]]}
        answer = self.tenant.post("/v2/email-aliases/create", body)
        if not self._is_free(address, user):
            assert (answer.status, answer.code) == (409, "address_exists")
            return
        assert answer.status == 201, answer.text
        self.alias_ids[account["id"], address] = answer.json["alias"]["id"]
        account["aliases"] = [*account["aliases"], address]
        self.owners[name] = user

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), filter_=filters, name=st.sampled_from(["phone", "tablet"]))
    def app_password(self, data: st.DataObject, filter_: dict[str, str], name: str) -> None:
        """Makes an app password, or deletes the one that the account has. A reset keeps both."""
        account = self._any(data)
        path, own = f"{ACCOUNTS}/{account['id']}/app-passwords", self.app_passwords.setdefault(account["id"], {})
        if name in own:
            answer = self.tenant.post(f"{path}/delete", {"id": own[name], **filter_})
        else:
            answer = self.tenant.post(f"{path}/create", {"name": name, "scopes": ["imap"], **filter_})
        if self._refuses(answer, account, filter_):
            return
        if name in own:
            del own[name]
        else:
            self._new_password(answer)
            own[name] = answer.json["app_password"]["id"]
        assert {one["name"]: one["id"] for one in self.tenant.get(path).json["app_passwords"]} == own

    @precondition(lambda self: any(account["status"] == "active" for account in self.accounts.values()))
    @rule(data=st.data(), filter_=filters)
    def make_link(self, data: st.DataObject, filter_: dict[str, str]) -> None:
        active = sorted(id_ for id_, account in self.accounts.items() if account["status"] == "active")
        account = self.accounts[data.draw(st.sampled_from(active))]
        answer = self.tenant.post(f"{ACCOUNTS}/{account['id']}/setup-link", filter_)
        if not self._refuses(answer, account, filter_):
            self._end_link(account)
            self.links[account["id"]] = answer.json["setup_url"].partition("#")[2]

    @precondition(lambda self: self.links)
    @rule(data=st.data())
    def use_link(self, data: st.DataObject) -> None:
        account = self.accounts[data.draw(st.sampled_from(sorted(self.links)))]
        assert self._use(self.links[account["id"]]) == 200
        self._end(account)
        account["password_scheme"] = "chosen"

    @precondition(lambda self: self.dead_links)
    @rule(data=st.data())
    def use_dead_link(self, data: st.DataObject) -> None:
        assert self._use(data.draw(st.sampled_from(self.dead_links))) == 404

    @precondition(lambda self: self._may_sign_in())
    @rule(data=st.data())
    def sign_in(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(self._may_sign_in()))
        self.pages.setdefault(id_, []).append(Owner.of(self.tenant, id_))

    @precondition(lambda self: self.pages.keys() & self._may_sign_in())
    @rule(data=st.data(), ends=st.booleans())
    def use_page(self, data: st.DataObject, ends: bool) -> None:
        """Looks, or ends every session but the one that asks."""
        account = self.accounts[data.draw(st.sampled_from(sorted(self.pages.keys() & self._may_sign_in())))]
        page = data.draw(st.sampled_from(self.pages[account["id"]]))
        assert page.get().json["account"]["address"] == account["address"]
        if ends:
            assert page.post("/v2/me/sessions/end").status == 200
            self.pages[account["id"]].remove(page)
            self._end(account)
            self.pages[account["id"]] = [page]

    @precondition(lambda self: self.dead_pages)
    @rule(data=st.data())
    def use_dead_page(self, data: st.DataObject) -> None:
        assert data.draw(st.sampled_from(self.dead_pages)).get().status == 401

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), filter_=filters)
    def sign_out(self, data: st.DataObject, filter_: dict[str, str]) -> None:
        account = self._any(data)
        if not self._refuses(self.tenant.post(f"{ACCOUNTS}/{account['id']}/sessions/end", filter_), account, filter_):
            self._end(account)

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), filter_=filters)
    def delete(self, data: st.DataObject, filter_: dict[str, str]) -> None:
        account = self._any(data)
        answer = self.tenant.post(f"{ACCOUNTS}/delete", {"id": account["id"], **filter_})
        if self._refuses(answer, account, filter_):
            return
        self._end(account)
        del self.accounts[account["id"]]
        self.deleted[account["id"]] = account
        self._hand_over(account)

    @precondition(lambda self: self.deleted)
    @rule(data=st.data(), filter_=filters)
    def restore(self, data: st.DataObject, filter_: dict[str, str]) -> None:
        account = self.deleted[data.draw(st.sampled_from(sorted(self.deleted)))]
        answer = self.tenant.post(f"{ACCOUNTS}/{account['id']}/restore", filter_)
        is_own = filter_.get("user_id", account["user_id"]) == account["user_id"]
        if is_own and any(other["address"] == account["address"] for other in self.accounts.values()):
            assert (answer.status, answer.code) == (409, "address_exists")
            return
        if self._refuses(answer, account, filter_):
            return
        account["is_default"] = not self._of(account["user_id"])
        account["aliases"] = [address for address in account["aliases"] if self._is_free(address, account["user_id"])]
        self.owners |= {address.partition("@")[0]: account["user_id"] for address in account["aliases"]}
        self.accounts[account["id"]] = self.deleted.pop(account["id"])

    @precondition(lambda self: self.deleted)
    @rule(data=st.data())
    def ask_for_a_deleted_one(self, data: st.DataObject) -> None:
        id_ = data.draw(st.sampled_from(sorted(self.deleted)))
        path = f"{ACCOUNTS}/{id_}"
        for answer in (
            self.tenant.get(path),
            self.tenant.put(path, {"status": "active"}),
            self.tenant.post(f"{path}/password/reset", {}),
            self.tenant.post(f"{path}/sessions/end", {}),
            self.tenant.post(f"{ACCOUNTS}/delete", {"id": id_}),
        ):
            assert (answer.status, answer.code) == (404, "not_found")

    @rule(filter_=filters, status=st.none() | statuses, limit=st.integers(1, 4), start=st.sampled_from(["", "a", "bo"]))
    def list_pages(self, filter_: dict[str, str], status: str | None, limit: int, start: str) -> None:
        query: dict[str, Any] = filter_ | ({"status": status} if status else {}) | ({"q": start} if start else {})
        wanted = [
            id_
            for id_, account in sorted(self.accounts.items())
            if all(account[name] == value for name, value in query.items() if name != "q")
            and account["address"].startswith(start)
        ]
        found: list[int] = []
        while page := self.tenant.get(ACCOUNTS, limit=limit, after=found[-1] if found else 0, **query).json["items"]:
            found += [account["id"] for account in page]
        assert found == wanted

    @invariant()
    def everything_is_as_in_the_model(self) -> None:
        found = self.tenant.get(ACCOUNTS, fields="*", limit=500).json["items"]
        unmodelled = ("created_at", "updated_at", *NULLS)
        shown = [{k: v for k, v in account.items() if k not in unmodelled} for account in found]
        assert not [account for account in found for name in NULLS if account[name] is not None]
        assert shown == [self.accounts[id_] for id_ in sorted(self.accounts)]
        totals = self.tenant.get("/v2/stats").json["accounts"]
        counted = {status: sum(a["status"] == status for a in self.accounts.values()) for status in STATUSES}
        assert totals == {"total": len(self.accounts), **counted}

    def _is_free(self, address: str, user: str) -> bool:
        """Whether an alias of the user can have the address now."""
        is_held = any(address in account["aliases"] for account in self.accounts.values())
        return not is_held and self.owners.get(address.partition("@")[0], user) == user

    def _any(self, data: st.DataObject) -> dict[str, Any]:
        return self.accounts[data.draw(st.sampled_from(sorted(self.accounts)))]

    def _refuses(self, answer: Response, account: dict[str, Any], filter_: dict[str, str]) -> bool:
        if filter_.get("user_id", account["user_id"]) != account["user_id"]:
            assert (answer.status, answer.code) == (404, "not_found")
            return True
        assert answer.status in (200, 201), answer.text
        return False

    def _new_password(self, answer: Response) -> None:
        assert answer.json["password"] not in self.passwords
        self.passwords.add(answer.json["password"])

    def _may_sign_in(self) -> list[int]:
        return sorted(id_ for id_, one in self.accounts.items() if one["status"] == "active" and one["main_password"])

    def _end(self, account: dict[str, Any]) -> None:
        """A new generation: the link and the sessions of the owner's page are dead."""
        self._end_link(account)
        self.dead_pages += self.pages.pop(account["id"], [])

    def _end_link(self, account: dict[str, Any]) -> None:
        if account["id"] in self.links:
            self.dead_links.append(self.links.pop(account["id"]))

    def _use(self, token: str) -> int:
        body = {"token": token, "password": "a horse beside the lake"}
        return self.tenant.post("/setup/accept", body, key=None).status

    def _of(self, user: str) -> list[dict[str, Any]]:
        return [account for account in self.accounts.values() if account["user_id"] == user]

    def _hand_over(self, account: dict[str, Any]) -> None:
        """After the default account is deleted or disabled, the best of the user's other accounts
        becomes the default, the oldest among equals."""
        if account["is_default"] and (others := self._of(account["user_id"])):
            self._make_default(min(others, key=lambda other: (RANK[other["status"]], other["id"])))

    def _make_default(self, account: dict[str, Any]) -> None:
        for other in self._of(account["user_id"]):
            other["is_default"] = other is account


def test_it_behaves_like_the_model(api: ApiServer) -> None:
    machine = type("OnThisDatabase", (Machine,), {"api": api})
    budget = settings(max_examples=40, stateful_step_count=40, phases=[Phase.generate, Phase.shrink])
    run_state_machine_as_test(machine, settings=budget)  # type: ignore[no-untyped-call]
