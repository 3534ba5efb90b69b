"""Automatic removal of old rows, and bounds on data that strangers or tenants cause, on both
databases."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from postroom import events, idempotency
from postroom.accounts import commands as accounts
from postroom.accounts import mail_tokens, owner_sessions, sent_mail
from postroom.accounts.commands import CreateAccount
from postroom.accounts.mail_tokens import CreateMailToken
from postroom.accounts.sent_mail import Sender, Told
from postroom.actor import Actor
from postroom.auth import console_sessions, keys
from postroom.auth.keys import CreateKey
from postroom.auth.tokens import new_token
from postroom.db import Database, Tx, migrate, open_database
from postroom.domains.dkim import generate
from postroom.service import bootstrap, worker
from postroom.tenants import organizations
from tests.harness.server import Tenant

DAY_MS = 24 * 3600 * 1000
DAYS = 400
ORGANIZATION = "housekeeping"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database for these tests only, because they make all of its rows old."""
    if request.param == "sqlite":
        found = f"sqlite:///{tmp_path_factory.mktemp('house') / 'postroom.db'}"
    else:
        found = str(request.getfixturevalue("postgres").new_database())
    migrate(found)
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    found = open_database(url)

    def clear(tx: Tx) -> None:
        for table in ("leases", "idempotent_answers", "console_sessions", "console_links", "events"):
            tx.run(f"DELETE FROM {table}")

    found.write_sync(clear)
    yield found
    found.close()


def keep_house(database: Database, days: int = DAYS, most_answers: int = idempotency.MOST) -> None:
    """Runs the housekeeping as if a minute had passed: the last lease has expired."""
    database.write_sync(lambda tx: tx.run("DELETE FROM leases WHERE kind = 'house'"))
    asyncio.run(worker.keep_house(database, days, most_answers))


def count(database: Database, table: str, where: str = "1 = 1", **params: Any) -> int:
    ((found,),) = database.write_sync(lambda tx: tx.all(f"SELECT COUNT(*) FROM {table} WHERE {where}", **params))
    return int(found)


def organization(database: Database, name: str = ORGANIZATION) -> int:
    return database.write_sync(lambda tx: organizations.ensure(tx, name))


def make_events(database: Database, type_: str, ages: list[int]) -> None:
    """Creates an event of each of these ages, in milliseconds."""
    actor = Actor(organization(database))

    def work(tx: Tx) -> None:
        for age in ages:
            events.record(tx, actor, type_)
            tx.run("UPDATE events SET created_at = :at WHERE id = (SELECT MAX(id) FROM events)", at=tx.now - age)

    database.write_sync(work)


def test_events_are_removed_after_their_days(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them are removed, whatever their number, in transactions of bounded size. Younger
    events stay."""
    old = DAYS * DAY_MS
    make_events(database, "old.one", [old + 1000 + number for number in range(25, 0, -1)])
    make_events(database, "young.one", [old - 60_000, 5, 0])
    monkeypatch.setattr(events, "STEP", 10)
    steps = []
    forget = events.forget

    def counted(tx: Tx, before: int, below: int) -> int:
        steps.append(forget(tx, before, below))
        return steps[-1]

    monkeypatch.setattr(events, "forget", counted)
    keep_house(database)
    assert steps == [10, 10, 5]
    assert count(database, "events", "type = 'old.one'") == 0
    assert count(database, "events", "type = 'young.one'") == 3


def test_events_are_kept_for_ever_where_that_is_set(database: Database) -> None:
    make_events(database, "ancient.one", [5000 * DAY_MS])
    keep_house(database, days=0)
    assert count(database, "events", "type = 'ancient.one'") == 1
    keep_house(database)
    assert count(database, "events", "type = 'ancient.one'") == 0


def test_a_cursor_older_than_every_event_starts_at_the_oldest(tenant: Tenant) -> None:
    for number in range(4):
        tenant.account(f"a{number}")
    told = tenant.events()
    first, kept = told[0]["id"], told[2]["id"]
    sql = "DELETE FROM events WHERE organization_id = :organization AND id < :id"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, organization=tenant.organization_id, id=kept))
    answer = tenant.get("/v2/events", after=first, limit=500)
    assert [event["id"] for event in answer.json["items"]] == [event["id"] for event in told[2:]]


def make_answers(database: Database, organization_id: int, number: int) -> None:
    def work(tx: Tx) -> None:
        key = keys.create(tx, Actor(organization_id), CreateKey())[0].id
        for n in range(number):
            tried = idempotency.attempt(Actor(organization_id, key_id=key), "credential", b"%d" % n, b"x")
            idempotency.claim(tx, tried)
            idempotency.fill(tx, tried, b"answer")

    database.write_sync(work)


def answers(database: Database, organization_id: int) -> list[int]:
    sql = "SELECT id FROM idempotent_answers WHERE organization_id = :id ORDER BY id"
    return [row[0] for row in database.write_sync(lambda tx: tx.all(sql, id=organization_id))]


def test_an_organization_has_so_many_answers_and_no_more(database: Database) -> None:
    """The newest answers stay, and so do those of other organizations."""
    mine, other = organization(database), organization(database, "housekeeping of others")
    make_answers(database, other, 5)
    make_answers(database, mine, 12)
    before = answers(database, mine)
    keep_house(database, most_answers=5)
    assert (len(before), answers(database, mine)) == (12, before[-5:])
    assert len(answers(database, other)) == 5


def test_answers_are_removed_after_a_day_although_nobody_asks(database: Database) -> None:
    make_answers(database, organization(database), 3)
    asyncio.run(worker.prune_answers(database))
    assert count(database, "idempotent_answers") == 3
    database.write_sync(
        lambda tx: tx.run("UPDATE idempotent_answers SET expires_at = expires_at - :day", day=DAY_MS + 1)
    )
    asyncio.run(worker.prune_answers(database))
    assert count(database, "idempotent_answers") == 0


def test_the_console_keeps_nothing_that_is_over(database: Database) -> None:
    """This happens without new sign-ins. Open sessions stay."""
    id_ = organization(database)

    def work(tx: Tx) -> None:
        key = keys.create(tx, Actor(id_), CreateKey())[0].id
        for _ in range(3):
            console_sessions.start(tx, Actor(id_, key_id=key))
            console_sessions.make_link(tx, id_, key)
        for table in ("console_sessions", "console_links"):
            tx.run(f"UPDATE {table} SET expires_at = :now WHERE id < (SELECT MAX(id) FROM {table})", now=tx.now)

    database.write_sync(work)
    keep_house(database)
    assert (count(database, "console_sessions"), count(database, "console_links")) == (1, 1)


def test_the_owners_page_keeps_no_session_that_is_over(database: Database) -> None:
    """An open session stays."""
    actor = Actor(organization(database))
    key = generate()

    def work(tx: Tx) -> None:
        bootstrap.create_domain(tx, ORGANIZATION, "owner.example", "u", "active", key)
        account = accounts.create(tx, actor, CreateAccount("owner.example", "owner", "u", None, "x"))
        for _ in range(3):
            owner_sessions.start(tx, Actor(0, account_id=account.id), 1, new_token())
        tx.run(
            "UPDATE owner_sessions SET expires_at = :now WHERE id > (SELECT MIN(id) FROM owner_sessions)", now=tx.now
        )

    database.write_sync(work)
    keep_house(database)
    assert count(database, "owner_sessions") == 1


def test_mail_tokens_that_are_over_are_deleted(database: Database) -> None:
    """A token that is not over stays, and while it is there its key does."""
    id_ = organization(database)

    def work(tx: Tx) -> int | None:
        bootstrap.create_domain(tx, ORGANIZATION, "token.example", None, "active", generate())
        actor = Actor(id_, key_id=keys.create(tx, Actor(id_), CreateKey())[0].id)
        accounts.create(tx, actor, CreateAccount("token.example", "reader", "reader", None, "-"))
        for _ in range(3):
            mail_tokens.create(tx, actor, CreateMailToken("reader", None, None, 60), new_token())
        tx.run("UPDATE mail_tokens SET expires_at = 1 WHERE id > (SELECT MIN(id) FROM mail_tokens)")
        tx.run("UPDATE api_keys SET revoked_at = 1 WHERE id = :id", id=actor.key_id)
        return actor.key_id

    key_id = database.write_sync(work)

    def left() -> tuple[int, int, bool]:
        known = database.write_sync(lambda tx: tx.one("SELECT 1 FROM api_keys WHERE id = :id", id=key_id))
        return count(database, "mail_tokens"), count(database, "mail_token_accounts"), known is not None

    keep_house(database)
    assert left() == (1, 1, True)
    database.write_sync(lambda tx: tx.run("UPDATE mail_tokens SET expires_at = 1"))
    keep_house(database)
    assert left() == (0, 0, False)


def test_sent_mail_is_known_for_seven_days(database: Database) -> None:
    actor = Actor(organization(database))

    def work(tx: Tx) -> list[int]:
        bootstrap.create_domain(tx, ORGANIZATION, "sent.example", None, "active")
        account = accounts.create(tx, actor, CreateAccount("sent.example", "writer", "u", None, "x"))
        senders = {name: Sender(account.id, "<1@x>", tx.now) for name in ("old", "new")}
        told = [Told(name, "x@y", None, "delivered", 250, "2.0.0", None, tx.now) for name in senders]
        sent_mail.record(tx, 0, told, senders)
        first, last = (row[0] for row in tx.all("SELECT id FROM sent_messages ORDER BY id"))
        for sql in ("UPDATE sent_messages SET told_at = :at WHERE id = :id", AGE_RECIPIENT):
            tx.run(sql, at=tx.now - sent_mail.KEPT_MS, id=first)
        return [first, last]

    first, last = database.write_sync(work)
    assert first < last
    keep_house(database)
    for table, column in (("sent_messages", "id"), ("sent_recipients", "sent_message_id")):
        sql = f"SELECT {column} FROM {table}"
        assert database.write_sync(lambda tx, sql=sql: tx.all(sql)) == [(last,)]  # type: ignore[misc]


AGE_RECIPIENT = "UPDATE sent_recipients SET told_at = :at WHERE sent_message_id = :id"


def test_a_key_has_so_many_sessions_and_no_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console_sessions, "MOST", 4)
    id_ = organization(database)

    def work(tx: Tx) -> tuple[list[str], str]:
        actors = [Actor(id_, key_id=keys.create(tx, Actor(id_), CreateKey())[0].id) for _ in range(2)]
        other = console_sessions.start(tx, actors[1]).token
        return [console_sessions.start(tx, actors[0]).token for _ in range(7)], other

    tokens, other = database.write_sync(work)
    open_ = [database.write_sync(lambda tx, token=token: console_sessions.find(tx, token, "::1")) for token in tokens]  # type: ignore[misc]
    assert [found is not None for found in open_] == [False] * 3 + [True] * 4
    assert database.write_sync(lambda tx: console_sessions.find(tx, other, "::1")) is not None


def test_addresses_that_have_rested_go(database: Database) -> None:
    """Addresses that are still in quarantine or belong to an account stay."""
    actor = Actor(organization(database))
    key = generate()
    domain = database.write_sync(
        lambda tx: bootstrap.create_domain(tx, ORGANIZATION, "rest.example", "u", "active", key)
    )

    def work(tx: Tx) -> None:
        for name in ("alive", "resting", "rested"):
            account = accounts.create(tx, actor, CreateAccount("rest.example", name, "u", None, "x"))
            if name != "alive":
                accounts.delete(tx, actor, account.id, None, grace_ms=0)
        tx.run(
            "UPDATE addresses SET rests_until = :now WHERE local_part = 'rested' AND domain_id = :id",
            now=tx.now,
            id=domain.id,
        )

    database.write_sync(work)
    keep_house(database)
    sql = "SELECT local_part FROM addresses WHERE domain_id = :id ORDER BY local_part"
    assert database.write_sync(lambda tx: tx.all(sql, id=domain.id)) == [("alive",), ("resting",)]


def test_keys_that_ended_long_ago_go(database: Database) -> None:
    """Keys go from the last child up. A live key and one that ended recently stay."""
    id_ = organization(database, "housekeeping of keys")
    old = DAYS * DAY_MS + 1000

    def work(tx: Tx) -> dict[str, int]:
        made = {
            name: keys.create(tx, Actor(id_), CreateKey(name=name))[0].id for name in ("live", "late", "old", "expired")
        }
        made["child"] = keys.create(tx, Actor(id_, key_id=made["old"]), CreateKey(name="child"))[0].id
        for name in ("late", "old"):
            keys.revoke(tx, Actor(id_), made[name])
        tx.run(
            "UPDATE api_keys SET revoked_at = revoked_at - :old WHERE id IN (:a, :b)",
            old=old,
            a=made["old"],
            b=made["child"],
        )
        tx.run("UPDATE api_keys SET expires_at = :at WHERE id = :id", at=tx.now - old, id=made["expired"])
        return made

    made = database.write_sync(work)
    keep_house(database)
    keep_house(database)
    sql = "SELECT name FROM api_keys WHERE organization_id = :id ORDER BY id"
    assert database.write_sync(lambda tx: tx.all(sql, id=id_)) == [("live",), ("late",)]
    assert made["child"] > made["old"]


def test_an_organization_has_so_many_keys_and_no_more(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "MOST", 3)
    made = [tenant.post("/v2/keys", {}) for _ in range(3)]
    assert [answer.status for answer in made] == [201, 201, 409]
    assert (made[2].code, made[2].json["limit"]) == ("limit_reached", 3)
    assert made[2].json["detail"] == "The limit of keys (3) is reached: delete one."
    assert tenant.post("/v2/keys/delete", {"id": made[0].json["key"]["id"]}).status == 200
    assert tenant.post("/v2/keys", {}).status == 201, "a revoked key does not count"
    assert tenant.post("/v2/keys", {}).status == 409
    sql = "UPDATE api_keys SET expires_at = 1 WHERE id = :id"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, id=made[1].json["key"]["id"]))
    assert tenant.post("/v2/keys", {}).status == 201, "an expired key does not count"
    assert tenant.new_key(), "the bound does not apply to the operator"


def test_a_domain_gives_so_many_names_away_and_no_more(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("postroom.domains.consents.MOST", 2)
    path = f"/v2/domains/{tenant.domain}/consent"
    given = [tenant.post(path, {"user_id": "u", "subdomain": f"{name}.{tenant.domain}"}) for name in "abc"]
    assert [answer.status for answer in given] == [200, 200, 409]
    assert given[2].code == "limit_reached"
    again = tenant.post(path, {"user_id": "u", "subdomain": f"a.{tenant.domain}"})
    assert again.status == 200, "a repeated consent adds nothing"


def test_of_several_workers_one_keeps_the_house(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    async def once(*_: object) -> None:
        runs.append(1)

    monkeypatch.setattr(worker, "_keep_house", once)
    for _ in range(3):
        asyncio.run(worker.keep_house(database, DAYS))
    assert runs == [1]
    sql = "UPDATE leases SET free_at = :now WHERE kind = 'house'"
    database.write_sync(lambda tx: tx.run(sql, now=tx.now))
    asyncio.run(worker.keep_house(database, DAYS))
    assert runs == [1, 1]
