"""The rules of accounts, compared step by step with a model in plain Python."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from postroom import events
from postroom.accounts import commands as accounts
from postroom.accounts import queries as account_queries
from postroom.accounts.addresses import QUARANTINE_MS
from postroom.accounts.commands import CreateAccount, UpdateAccount
from postroom.accounts.model import Account, Status
from postroom.accounts.queries import AccountFilter
from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.db.sqlite import SQLite
from postroom.db.writer import run_alone
from postroom.errors import Refused
from postroom.mailboxes import session_revocations
from postroom.service import bootstrap
from postroom.tenants import organizations, usage
from tests.harness.kept import KeptDatabase

STATUSES: tuple[Status, ...] = ("active", "suspended", "disabled")
GRACE_MS = 7 * 24 * 3600 * 1000
USERS = ("u1", "u2", "u3")
NAMES = ("a", "b", "c", "d", "e", "f")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = KeptDatabase(database_url)
    yield opened
    opened.close()


def new_domain(tx: Tx, name: str) -> Actor:
    """An organization with an active platform domain of the same name."""
    bootstrap.create_domain(tx, name, name, None, "active")
    return Actor(organizations.ensure(tx, name))


def command(domain: str, local_part: str = "a", user_id: str = "u1") -> CreateAccount:
    return CreateAccount(domain, local_part, user_id, None, "{SSHA512}x")


def test_it_works(database: Database) -> None:
    def work(tx: Tx) -> Account:
        actor = new_domain(tx, "it-works.test")
        return accounts.create(tx, actor, command("it-works.test"))

    made = database.write_sync(work)
    assert (made.address, made.local_part, made.domain) == ("a@it-works.test", "a", "it-works.test")
    assert (made.status, made.generation, made.is_default) == ("active", 1, True)


def test_a_refused_create_leaves_nothing_in_a_transaction_that_goes_on(database: Database) -> None:
    async def create(name: str) -> Any:
        return await database.write(lambda tx: accounts.create(tx, actor, command("refused.test", name)))

    actor = database.write_sync(lambda tx: new_domain(tx, "refused.test"))

    async def run() -> list[Any]:
        return await asyncio.gather(*(create(name) for name in "aabbccab"), return_exceptions=True)

    answers = asyncio.run(run())
    assert [isinstance(answer, Refused) for answer in answers] == [False, True, False, True, False, True, True, True]
    page = database.write_sync(lambda tx: account_queries.page(tx, actor, limit=50))
    total = database.write_sync(lambda tx: usage.totals(tx, actor, None)).total
    recorded = database.write_sync(lambda tx: events.page(tx, actor, after=0, limit=50))
    assert len(page) == total == 3
    assert Counter(event.type for event in recorded) == {"domain.created": 1, "account.created": 3}


def test_two_writers_make_a_users_first_accounts(database: Database) -> None:
    """Each process has one writer. On PostgreSQL the transactions of two writers overlap."""
    actor = database.write_sync(lambda tx: new_domain(tx, "two-writers.test"))
    made: dict[str, Account] = {}

    def create(name: str) -> None:
        made[name] = database.write_sync(lambda tx: accounts.create(tx, actor, command("two-writers.test", name)))

    other = threading.Thread(target=create, args=("second",))

    def first(tx: Tx) -> None:
        made["first"] = accounts.create(tx, actor, command("two-writers.test", "first"))
        other.start()
        _wait_until_blocked(database, other)

    database.write_sync(first)
    other.join()
    assert [made["first"].is_default, made["second"].is_default] == [True, False]


def _wait_until_blocked(database: Database, other: threading.Thread) -> None:
    """On PostgreSQL, waits until the other insert waits for ours. SQLite starts it only after our
    commit."""
    if isinstance(database._engine, SQLite):
        return
    sql = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while other.is_alive() and not database.write_sync(lambda tx: tx.one(sql)):
        pass


# --- the model


@dataclass
class Held:
    """An address in the model: its user, and its living account or the end of its quarantine."""

    user_id: str
    account_id: int | None
    rests_until: int = 0


@dataclass
class Model:
    living: dict[int, dict[str, Any]] = field(default_factory=dict)
    deleted: dict[int, tuple[dict[str, Any], int]] = field(default_factory=dict)
    addresses: dict[tuple[str, str], Held] = field(default_factory=dict)
    ended: Counter[tuple[int, int]] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)

    def may_take(self, domain: str, name: str, user_id: str, now: int) -> bool:
        held = self.addresses.get((domain, name))
        return held is None or (held.account_id is None and (held.user_id == user_id or held.rests_until <= now))

    def create(self, id_: int, domain: str, name: str, user_id: str) -> None:
        first = not any(a["user_id"] == user_id and a["is_default"] for a in self.living.values())
        self.living[id_] = {
            "user_id": user_id,
            "domain": domain,
            "name": name,
            "status": "active",
            "generation": 1,
            "is_default": first,
        }
        self.addresses[domain, name] = Held(user_id, id_)
        self.events["account.created"] += 1

    def succeed(self, user_id: str) -> None:
        """The oldest active account becomes the default account; without one, the oldest suspended
        account; else the oldest disabled account."""
        mine = {id_: a for id_, a in self.living.items() if a["user_id"] == user_id}
        before = next((id_ for id_, a in mine.items() if a["is_default"]), None)
        new_default = min(mine, key=lambda id_: (STATUSES.index(mine[id_]["status"]), id_), default=None)
        self.set_default(user_id, new_default, before)

    def set_default(self, user_id: str, new_default: int | None, before: int | None) -> None:
        for id_, account in self.living.items():
            if account["user_id"] == user_id:
                account["is_default"] = id_ == new_default
        if new_default is not None and new_default != before:
            self.events["account.updated"] += 1

    def end(self, id_: int, account: dict[str, Any]) -> None:
        self.ended[id_, account["generation"]] += 1
        account["generation"] += 1

    def set_status(self, id_: int, status: str) -> None:
        account = self.living[id_]
        if account["status"] == status:
            return
        if account["status"] == "active":
            self.end(id_, account)
        account["status"] = status
        self.events["account." + {"active": "resumed"}.get(status, status)] += 1
        if status == "disabled" and account["is_default"]:
            self.succeed(account["user_id"])

    def delete(self, id_: int, now: int) -> None:
        account = self.living.pop(id_)
        self.end(id_, account)
        self.addresses[account["domain"], account["name"]] = Held(account["user_id"], None, now + QUARANTINE_MS)
        self.events["account.deleted"] += 1
        if account["is_default"]:
            self.succeed(account["user_id"])
        self.deleted[id_] = account | {"is_default": False}, now + GRACE_MS

    def restore(self, id_: int, now: int) -> str | None:
        """The code of the refusal, or None after a restore."""
        if id_ in self.living:
            return None
        account, purge_at = self.deleted[id_]
        if purge_at <= now:
            return "not_found"
        if not self.may_take(account["domain"], account["name"], account["user_id"], now):
            return "address_exists"
        first = not any(a["user_id"] == account["user_id"] for a in self.living.values())
        self.living[id_] = account | {"is_default": first}
        self.addresses[account["domain"], account["name"]] = Held(account["user_id"], id_)
        self.events["account.restored"] += 1
        return None


def step(tx: Tx, actor: Actor, model: Model, chance: random.Random, names: list[str]) -> None:
    """Carries out one random operation on the product and on the model."""
    tx.now += chance.choice([1, 1000, 1000, QUARANTINE_MS // 3])
    act = chance.choice(["create", "create", "create", "status", "status", "default", "delete", "reset", "restore"])
    if act == "create" or not model.living:
        _create(tx, actor, model, chance.choice(names), chance.choice(NAMES), chance.choice(USERS))
        return
    if act == "restore":
        _restore(tx, actor, model, chance.choice([*model.living, *model.deleted]))
        return
    id_ = chance.choice(list(model.living))
    account = model.living[id_]
    user_id = chance.choice([None, account["user_id"]])
    if act == "status":
        status = chance.choice(STATUSES)
        accounts.update(tx, actor, id_, user_id, UpdateAccount(status=status))
        model.set_status(id_, status)
    elif act == "default":
        if account["status"] == "disabled" and not account["is_default"]:
            with pytest.raises(Refused, match="disabled"):
                accounts.update(tx, actor, id_, user_id, UpdateAccount(is_default=True))
            return
        accounts.update(tx, actor, id_, user_id, UpdateAccount(is_default=True))
        before = next(i for i, a in model.living.items() if a["is_default"] and a["user_id"] == account["user_id"])
        model.set_default(account["user_id"], id_, before)
    elif act == "delete":
        accounts.delete(tx, actor, id_, user_id, grace_ms=GRACE_MS)
        model.delete(id_, tx.now)
    else:
        accounts.reset(tx, actor, id_, user_id, "{SSHA512}new")
        model.end(id_, account)
        model.events["account.password_reset"] += 1


def _restore(tx: Tx, actor: Actor, model: Model, id_: int) -> None:
    tx.run("SAVEPOINT step")
    why = model.restore(id_, tx.now)
    if why is None:
        assert accounts.restore(tx, actor, id_, None).id == id_
    else:
        with pytest.raises(Refused) as refused:
            accounts.restore(tx, actor, id_, None)
        assert refused.value.code == why
        tx.run("ROLLBACK TO SAVEPOINT step")
    tx.run("RELEASE SAVEPOINT step")


def _create(tx: Tx, actor: Actor, model: Model, domain: str, name: str, user_id: str) -> None:
    tx.run("SAVEPOINT step")
    if model.may_take(domain, name, user_id, tx.now):
        made = accounts.create(tx, actor, command(domain, name, user_id))
        assert made.id not in model.living
        model.create(made.id, domain, name, user_id)
    else:
        with pytest.raises(Refused) as refused:
            accounts.create(tx, actor, command(domain, name, user_id))
        assert refused.value.code == "address_exists"
        tx.run("ROLLBACK TO SAVEPOINT step")
    tx.run("RELEASE SAVEPOINT step")


def compare(tx: Tx, actor: Actor, model: Model, names: list[str]) -> None:
    page = account_queries.page(tx, actor, limit=1000)
    shown = {
        a.id: {
            "user_id": a.user_id,
            "domain": a.domain,
            "name": a.local_part,
            "status": a.status,
            "generation": a.generation,
            "is_default": a.is_default,
        }
        for a in page
    }
    assert shown == model.living
    restorable = sorted(i for i, (_, until) in model.deleted.items() if until > tx.now and i not in model.living)
    assert [a.id for a in account_queries.page(tx, actor, AccountFilter(deleted=True), limit=1000)] == restorable
    for user in {a["user_id"] for a in model.living.values()}:
        assert sum(a["is_default"] for a in model.living.values() if a["user_id"] == user) == 1
    for user_id in (None, *USERS):
        mine = [a for a in model.living.values() if user_id in (None, a["user_id"])]
        by_status = Counter(a["status"] for a in mine)
        total = usage.totals(tx, actor, user_id)
        assert (total.active, total.suspended, total.disabled) == tuple(by_status[s] for s in STATUSES)
        for name, count in usage.by_domain(tx, actor, user_id, 50, 0):
            assert count.total == sum(a["domain"] == name for a in mine)
    recorded = Counter(e.type for e in events.page(tx, actor, after=0, limit=10_000) if e.account_id)
    assert recorded == model.events
    _compare_views(tx, model, names)


def _compare_views(tx: Tx, model: Model, names: list[str]) -> None:
    """The views of the daemons agree with the model."""

    def view(name: str, columns: str, extra: str = "") -> set[tuple[Any, ...]]:
        rows: set[tuple[Any, ...]] = set()
        for domain in names:
            rows |= set(tx.all(f"SELECT {columns} FROM {name} WHERE domain = :domain {extra}", domain=domain))
        return rows

    def login(id_: int, account: dict[str, Any]) -> str:
        return f"{id_}@{account['generation']}.acct.internal"

    living = model.living.items()
    assert view("mail_logins", "local_part, domain, login, nologin") == {
        (a["name"], a["domain"], login(i, a), None if a["status"] == "active" else "Y") for i, a in living
    }
    assert view("mail_senders", "local_part, domain, login") == {
        (a["name"], a["domain"], login(i, a)) for i, a in living if a["status"] == "active"
    }
    for id_, account in living:
        good = tx.one("SELECT id || '@' || domain FROM mail_sessions WHERE id = :id", id=id_)
        assert good == ((login(id_, account),) if account["status"] == "active" else None)
    ordinary = "AND local_part NOT IN ('postmaster', 'abuse')"
    assert view("mail_aliases", "local_part, domain, target", ordinary) == {
        (a["name"], a["domain"], f"{i}@acct.internal") for i, a in living
    }
    assert view("mail_refusals", "local_part, domain", "AND action = '550 5.2.1 This mailbox is disabled'") == {
        (a["name"], a["domain"]) for _, a in living if a["status"] == "disabled"
    }


@pytest.mark.parametrize("seed", range(4))
def test_it_does_as_the_model_does(database: Database, seed: int) -> None:
    chance, model = random.Random(seed), Model()
    names = [f"model-{seed}-{n}.test" for n in range(2)]

    def work(tx: Tx) -> None:
        actor = new_domain(tx, names[0])
        bootstrap.create_domain(tx, names[0], names[1], None, "active")
        for number in range(120):
            step(tx, actor, model, chance, names)
            if number % 10 == 0:
                compare(tx, actor, model, names)
        compare(tx, actor, model, names)
        ended = tx.all(
            "SELECT account_id, session_endings.generation FROM session_endings"
            " JOIN accounts ON accounts.id = account_id WHERE organization_id = :o",
            o=actor.organization_id,
        )
        assert Counter(tuple(row) for row in ended) == model.ended

    database.write_sync(work)


def test_the_quarantine_of_an_address_is_30_days_to_the_millisecond(database: Database) -> None:
    def work(tx: Tx) -> None:
        actor = new_domain(tx, "rest.test")
        made = accounts.create(tx, actor, command("rest.test", "a", "first"))
        accounts.delete(tx, actor, made.id, None, grace_ms=GRACE_MS)
        tx.run("SAVEPOINT early")
        tx.now += 30 * 24 * 3600 * 1000 - 1
        with pytest.raises(Refused, match="taken"):
            accounts.create(tx, actor, command("rest.test", "a", "second"))
        tx.run("ROLLBACK TO SAVEPOINT early")
        tx.now += 1
        assert accounts.create(tx, actor, command("rest.test", "a", "second")).user_id == "second"

    database.write_sync(work)


def test_a_revocation_is_due_after_a_while_and_completed_once(database: Database) -> None:
    def work(tx: Tx) -> None:
        actor = new_domain(tx, "due.test")
        made = accounts.create(tx, actor, command("due.test"))
        _, ended = accounts.reset(tx, actor, made.id, None, "{SSHA512}y")
        assert ended == (made.id, 1, None, None)
        assert ended not in [pair for _, pair in session_revocations.due(tx)]
        tx.now += session_revocations.AGAIN_MS
        ids = [id_ for id_, pair in session_revocations.due(tx) if pair == ended]
        session_revocations.reschedule(tx, ids)
        assert ended not in [pair for _, pair in session_revocations.due(tx)]
        tx.now += session_revocations.RETRY_MS
        assert [id_ for id_, pair in session_revocations.due(tx) if pair == ended] == ids
        session_revocations.complete(tx, ids)
        assert ended not in [pair for _, pair in session_revocations.due(tx)]

    database.write_sync(work)


class _Done(Exception):
    pass


def test_run_alone_is_the_same_transaction(database: Database) -> None:
    """An operation of the command line is rolled back as a whole."""
    connection = database._engine.writer()
    try:
        with pytest.raises(_Done):
            run_alone(connection, _make_and_fail)
    finally:
        connection.close()
    assert database.write_sync(lambda tx: tx.one("SELECT 1 FROM organizations WHERE name = 'gone.test'")) is None


def _make_and_fail(tx: Tx) -> None:
    new_domain(tx, "gone.test")
    raise _Done
