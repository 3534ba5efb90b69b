"""A ledger of what Postroom acknowledged, and the comparison with the truth.

The ledger records every 2xx with its promise. A request without an answer was either carried out or
not. `compare` asks the running product over HTTP, by IMAP logins and for the delivered mail, and
then knows which of the two happened.
"""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from tests.faults.client import Client
from tests.harness.service import Service, wait_for
from tests.mail.clients import Imap, deliver, imap_login, refusal

ACCOUNTS, ALIASES = "/v2/email-accounts", "/v2/email-aliases"
LOGINS = 24  # in each comparison, besides the logins that must decide between two passwords
_numbers = itertools.count(1)


@dataclass(frozen=True)
class State:
    """The state of an account as a client knows it. The password is None if it was in an answer
    that never arrived."""

    exists: bool
    password: str | None = None
    status: str = "active"
    display_name: str | None = None
    quota_bytes: int | None = None
    pop3: bool = True
    per_day: int | None = None
    forward: tuple[str, ...] = ()
    aliases: tuple[tuple[str, int | None], ...] = ()
    """Each with its id, or None if the id was in an answer that never arrived."""
    apps: tuple[tuple[str, int | None], ...] = ()
    """The names of the app passwords, each with its id as above."""
    renamed: tuple[str, ...] = ()
    """The local parts after the first one. The former addresses still work."""

    @property
    def shown(self) -> tuple[Any, ...]:
        """The part of the state that HTTP shows."""
        if not self.exists:
            return GONE
        names, apps = ({name for name, _ in named} for named in (self.aliases, self.apps))
        told = (self.status, self.display_name, self.quota_bytes, self.pop3, self.per_day)
        return (True, *told, self.forward, names, apps, self.renamed)


GONE = (False,)
ABSENT = State(exists=False)


@dataclass
class Entry:
    """An account with its possible states. There is more than one only while a request without an
    answer is unresolved."""

    local_part: str
    user_id: str
    possible: list[State]
    id: int | None = None
    existed: bool = False
    changed: bool = True
    """Since the last comparison."""

    @property
    def state(self) -> State:
        assert len(self.possible) == 1, self
        return self.possible[0]


@dataclass(frozen=True)
class Operation:
    """An operation of a client on an account. `after` returns the next state for the request's body
    and its answer, or None if there was no answer."""

    ask: Callable[[Entry], tuple[str, str, dict[str, Any]]]
    after: Callable[[State, dict[str, Any], Any], State]


def _password() -> str:
    return f"the phrase number {random.randrange(10**12):012} is long"


def _secret(body: dict[str, Any], answer: Any) -> str | None:
    chosen: str | None = body.get("password")
    return chosen or (answer["password"] if answer else None)


CREATE = Operation(
    lambda entry: (
        "POST",
        f"{ACCOUNTS}/create",
        {"domain": "demo.test", "local_part": entry.local_part, "user_id": entry.user_id, "display_name": "new"},
    ),
    lambda _state, body, answer: State(True, _secret(body, answer), display_name="new"),
)
RESET = Operation(
    lambda entry: ("POST", f"{ACCOUNTS}/{entry.id}/password/reset", {}),
    lambda state, body, answer: replace(state, password=_secret(body, answer)),
)
CHOOSE = Operation(
    lambda entry: ("POST", f"{ACCOUNTS}/{entry.id}/password/reset", {"password": _password()}), RESET.after
)
RETITLE = Operation(
    lambda entry: ("PUT", f"{ACCOUNTS}/{entry.id}", {"display_name": f"name {next(_numbers)}"}),
    lambda state, body, _answer: replace(state, display_name=body["display_name"]),
)
RENAME = Operation(
    lambda entry: ("PUT", f"{ACCOUNTS}/{entry.id}", {"local_part": f"r{next(_numbers)}"}),
    lambda state, body, _answer: replace(state, renamed=(*state.renamed, body["local_part"])),
)
SUSPEND = Operation(
    lambda entry: ("PUT", f"{ACCOUNTS}/{entry.id}", {"status": "suspended", "display_name": "suspended"}),
    lambda state, body, _answer: replace(state, **body),
)
RESUME = Operation(
    lambda entry: ("PUT", f"{ACCOUNTS}/{entry.id}", {"status": "active", "display_name": "resumed"}),
    SUSPEND.after,
)
QUOTA = Operation(
    lambda entry: ("PUT", f"{ACCOUNTS}/{entry.id}", {"quota_bytes": random.choice([None, 10**9 + next(_numbers)])}),
    SUSPEND.after,
)
SWITCH = Operation(
    lambda entry: ("PUT", f"{ACCOUNTS}/{entry.id}", {"protocols": {"pop3": random.random() < 0.5}}),
    lambda state, body, _answer: replace(state, **body["protocols"]),
)
SEND = Operation(
    lambda entry: ("PUT", f"{ACCOUNTS}/{entry.id}", {"send_limits": {"recipients_per_day": next(_numbers)}}),
    lambda state, body, _answer: replace(state, per_day=body["send_limits"]["recipients_per_day"]),
)
# The rule is off, because the load also sends mail to the accounts.
FORWARD = Operation(
    lambda entry: (
        "PUT",
        f"{ACCOUNTS}/{entry.id}/forwarding",
        {"enabled": False, "to": [f"ann{next(_numbers)}@else.example"]},
    ),
    lambda state, body, _answer: replace(state, forward=tuple(body["to"])),
)


def _ask_alias(entry: Entry) -> tuple[str, str, dict[str, Any]]:
    """Deletes an alias of the account, or makes a new one."""
    ids = [id_ for _, id_ in entry.state.aliases if id_]
    if ids and random.random() < 0.5:
        return "POST", f"{ALIASES}/delete", {"id": random.choice(ids)}
    body = {"domain": "demo.test", "local_part": f"x{next(_numbers)}", "user_id": entry.user_id}
    return "POST", f"{ALIASES}/create", body | {"account_ids": [entry.id]}


def _with_alias(state: State, body: dict[str, Any], answer: Any) -> State:
    if "id" in body:
        return replace(state, aliases=tuple(alias for alias in state.aliases if alias[1] != body["id"]))
    made = (body["local_part"], answer["alias"]["id"] if answer else None)
    return replace(state, aliases=(*state.aliases, made))


def _ask_app(entry: Entry) -> tuple[str, str, dict[str, Any]]:
    """Deletes an app password of the account, or makes a new one."""
    path, ids = f"{ACCOUNTS}/{entry.id}/app-passwords", [id_ for _, id_ in entry.state.apps if id_]
    if ids and random.random() < 0.5:
        return "POST", f"{path}/delete", {"id": random.choice(ids)}
    return "POST", f"{path}/create", {"name": f"phone {next(_numbers)}", "scopes": ["imap"]}


def _with_app(state: State, body: dict[str, Any], answer: Any) -> State:
    if "id" in body:
        return replace(state, apps=tuple(app for app in state.apps if app[1] != body["id"]))
    return replace(state, apps=(*state.apps, (body["name"], answer["app_password"]["id"] if answer else None)))


ALIAS = Operation(_ask_alias, _with_alias)
APP = Operation(_ask_app, _with_app)
SIGN_OUT = Operation(lambda entry: ("POST", f"{ACCOUNTS}/{entry.id}/sessions/end", {}), lambda state, *_: state)
DELETE = Operation(lambda entry: ("POST", f"{ACCOUNTS}/delete", {"id": entry.id}), lambda *_: ABSENT)

# The operations on an existing account. APP needs a key with a scope that the first key lacks.
OPERATIONS = (RESET, CHOOSE, RETITLE, RENAME, FORWARD, ALIAS, SUSPEND, RESUME, QUOTA, SEND, SWITCH, SIGN_OUT, DELETE)


@dataclass
class Ledger:
    """Everything that one service acknowledged to one key."""

    service: Service
    key: str
    operations: tuple[Operation, ...] = OPERATIONS
    entries: dict[str, Entry] = field(default_factory=dict)
    mails: dict[str, list[str]] = field(default_factory=dict)
    """Subjects that SMTP took, by address."""
    acknowledged: int = 0
    busy: int = 0  # 503, the unknown outcomes too; what is `busy` was not carried out
    unanswered: list[Entry] = field(default_factory=list)
    surprises: list[Any] = field(default_factory=list)
    """Answers that are neither 2xx nor 503 with Retry-After."""
    works: list[Callable[[Client], None]] = field(default_factory=list)  # done again and again by each load
    checks: list[Callable[[Client], None]] = field(default_factory=list)  # made by each comparison too
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def client(self) -> Client:
        return Client(self.service.ports["port"], self.key)

    def create(self, client: Client, local_part: str | None = None) -> Entry:
        """Creates an account, acknowledged or not."""
        with self._lock:
            entry = Entry(local_part or f"a{next(_numbers)}", f"user_{random.randrange(8)}", [ABSENT])
            self.entries[f"{entry.local_part}@demo.test"] = entry
        self.perform(client, entry, CREATE)
        return entry

    def perform(self, client: Client, entry: Entry, operation: Operation) -> bool:
        """Performs an operation once and records the result. Returns whether an answer arrived."""
        method, path, body = operation.ask(entry)
        answer = client.call(method, path, body)
        with self._lock:
            entry.changed, before = True, entry.state
            if answer is None:
                entry.possible = list(dict.fromkeys([before, operation.after(before, body, None)]))
                self.unanswered.append(entry)
            elif answer[0] < 300:
                entry.possible = [operation.after(before, body, answer[2])]
                entry.id = entry.id or answer[2]["account"]["id"]
                entry.existed = True
                self.acknowledged += 1
            elif answer[0] == 503 and int(answer[1].get("Retry-After", 0)) > 0:
                self.busy += 1
                if answer[2]["code"] == "outcome_unknown":
                    entry.possible = list(dict.fromkeys([before, operation.after(before, body, None)]))
            else:
                self.surprises.append((method, path, body, answer[0], answer[2]))
        return answer is not None

    @property
    def created(self) -> int:
        """Returns the number of creates that were answered 201."""
        with self._lock:
            return sum(entry.existed for entry in self.entries.values())

    def mail(self, address: str, subject: str) -> None:
        """Delivers a message from outside. Raises if it is refused."""
        deliver(self.service, "someone@elsewhere.example", address, subject)
        with self._lock:
            self.mails.setdefault(address, []).append(subject)

    def compare(self, logins: int = LOGINS) -> None:
        """Fails unless every promise is kept and every change is complete."""
        assert self.surprises == [], self.surprises
        client = self.client()
        shown = {account["id"]: account for account in _all(client, ACCOUNTS, fields="*")}
        aliases = {alias["local_part"]: alias for alias in _all(client, ALIASES)}
        unnamed = {account["address"]: account for account in shown.values()}
        for address, entry in self.entries.items():
            account = shown.get(entry.id) if entry.id else unnamed.get(address)
            _settle(client, entry, account, aliases)
        assert set(shown) <= {entry.id for entry in self.entries.values()}, "an account that no request created"
        _check_whole(client, self.entries.values(), shown.values(), aliases.values())
        if self.service.settings.get("mail") != "off":
            for alias in random.sample(sorted(aliases), min(logins, len(aliases))):
                assert refusal(self.service, f"{alias}@demo.test")[0] == 250
            self._log_in(client, logins)
            for address, subjects in self.mails.items():
                self._find_mail(address, subjects)
                assert client.get(f"{ACCOUNTS}/{self.entries[address].id}/sent")["items"] == [], "it came from outside"
        for check in self.checks:
            check(client)
        for entry in self.entries.values():
            entry.changed = False
        self.unanswered.clear()
        client.close()

    def _log_in(self, client: Client, logins: int) -> None:
        open_ = [entry for entry in self.entries.values() if len(entry.possible) > 1 or entry.possible[0].exists]
        unsure = [entry for entry in open_ if len(entry.possible) > 1 or entry.possible[0].password is None]
        sure = [entry for entry in self.entries.values() if entry.changed and entry not in unsure and entry.existed]
        chosen = random.sample(sure, min(logins, len(sure)))
        with ThreadPoolExecutor(8) as pool:
            for _ in pool.map(self._check_login, unsure + chosen):
                continue
        for entry in unsure:
            if entry.state.exists and entry.state.password is None:
                self.perform(client, entry, RESET)
                self._check_login(entry)

    def _check_login(self, entry: Entry) -> None:
        """Finds out which password is valid. A suspended or deleted account must not be able to log
        in."""
        address = f"{random.choice((entry.local_part, *entry.possible[0].renamed))}@demo.test"
        known = [state for state in entry.possible if state.password]
        works = [state for state in known if logs_in(self.service, address, str(state.password))]
        if entry.possible[0].exists and entry.possible[0].status == "active":
            if not works:
                works = [state for state in entry.possible if state.password is None]
            assert len(works) == 1, f"{address}: no acknowledged password works: {entry}"
            entry.possible = works
        else:
            assert works == [], f"{address} logs in, but is {entry}"
            if len(entry.possible) > 1:  # the valid password cannot be observed
                entry.possible = [replace(entry.possible[0], password=None)]

    def _find_mail(self, address: str, subjects: Iterable[str]) -> None:
        password = self.entries[address].state.password
        assert password
        with imap_login(self.service, address, password) as imap:
            missing = set(subjects)

            def arrived() -> bool:
                missing.difference_update(subjects_of(imap))
                return not missing

            wait_for(f"accepted mail for {address}", arrived)


def logs_in(service: Service, address: str, password: str) -> bool:
    """Returns whether this is the password. Raises if the server does not say."""
    try:
        imap_login(service, address, password).shutdown()
    except Imap.error as error:
        if isinstance(error, Imap.abort) or "[UNAVAILABLE]" in str(error):
            raise
        return False
    return True


def subjects_of(imap: Imap) -> Counter[str]:
    """Returns every subject in the INBOX, with one command."""
    _, counted = imap.select("INBOX", readonly=True)
    if counted == [b"0"]:
        return Counter()
    _, data = imap.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
    headers = [part[1].decode() for part in data if isinstance(part, tuple)]
    return Counter(header.partition(":")[2].strip() for header in headers)


def _all(client: Client, path: str, **query: Any) -> list[Any]:
    """Returns all pages of a list."""
    found: list[Any] = []
    while page := client.get(path, limit=500, after=found[-1]["id"] if found else 0, **query)["items"]:
        found += page
    return found


def _settle(client: Client, entry: Entry, account: Any, aliases: dict[str, Any]) -> None:
    """Removes the states that differ from the one that HTTP shows, and notes the ids of aliases."""
    seen: Any = GONE
    if account:
        rule = client.get(f"{ACCOUNTS}/{account['id']}/forwarding")["forwarding"]
        own = {alias.partition("@")[0] for alias in account["aliases"]}
        former = sorted((aliases[name]["id"], name) for name in own if aliases[name]["kind"] == "former")
        own -= {name for _, name in former}
        first, *renamed = [*(name for _, name in former), account["address"].partition("@")[0]]
        assert first == entry.local_part, account
        per_day, pop3 = account["send_limits"]["recipients_per_day"], account["protocols"]["pop3"]
        told = (account["status"], account["display_name"], account["quota_bytes"], pop3, per_day)
        listed = client.get(f"{ACCOUNTS}/{account['id']}/app-passwords")["app_passwords"]
        apps = {one["name"]: one["id"] for one in listed}
        seen = (True, *told, tuple(rule["to"]), own, set(apps), tuple(renamed))
    left = [state for state in entry.possible if state.shown == seen]
    assert left, f"promised {entry}, found {account}"
    entry.possible = left if account else left[:1]
    if account:
        found = tuple((name, aliases[name]["id"]) for name in sorted(own))
        known = tuple(sorted(apps.items()))
        entry.possible = list(dict.fromkeys(replace(state, aliases=found, apps=known) for state in left))
        entry.id = entry.id or account["id"]
        entry.existed = True
        assert (entry.id, entry.user_id) == (account["id"], account["user_id"])


def _check_whole(client: Client, entries: Iterable[Entry], accounts: Iterable[Any], aliases: Iterable[Any]) -> None:
    """Checks that the parts of one transaction are there together: account, aliases, events, counts
    and default account."""
    accounts, every = list(accounts), _all(client, "/v2/events")
    events = Counter(event["type"] for event in every)
    named = {
        type_: {event["data"].get("alias_id"): event["account_id"] for event in every if event["type"] == type_}
        for type_ in ("alias.created", "alias.deleted")
    }
    named["alias.created"] |= {
        event["data"]["former_id"]: event["account_id"] for event in every if event["type"] == "account.renamed"
    }
    living, left = {account["id"] for account in accounts}, named["alias.created"].items()
    wanted = {id_ for id_, owner in left if id_ not in named["alias.deleted"] and owner in living}
    assert {alias["id"] for alias in aliases} == wanted, "an alias without its event, or an event without its alias"
    existed = sum(entry.existed for entry in entries)
    assert events["account.created"] == existed, "an account without its event, or an event without its account"
    assert events["account.deleted"] == existed - len(accounts)
    users = {account["user_id"] for account in accounts}
    assert Counter(account["user_id"] for account in accounts if account["is_default"]) == Counter(users)
    assert client.get("/v2/stats")["accounts"]["total"] == len(accounts)
    ids = [entry.id for entry in entries if entry.id]
    assert len(ids) == len(set(ids)), "two accounts have the same id"
