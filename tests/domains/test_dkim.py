"""DKIM keys on both engines: one key signs, a rotation adds a second key, and the worker advances
them by what a real DNS server publishes."""

import asyncio
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.domains import dkim
from postroom.domains.dkim import NewKey
from postroom.domains.resolver import Resolver
from postroom.errors import Busy
from postroom.service import bootstrap, worker
from tests.harness.dns_server import DnsServer
from tests.harness.kept import KeptDatabase

FIRST, SECOND, THIRD = (NewKey(f"s{n}", f"secret {n}", f"v=DKIM1; k=rsa; p=key{n}") for n in (1, 2, 3))
DAY_MS = 24 * 3600 * 1000


@pytest.fixture(scope="module")
def server() -> Iterator[DnsServer]:
    with DnsServer.start() as running:
        yield running


@pytest.fixture
def dns(server: DnsServer) -> DnsServer:
    """A DNS server without records."""
    server.records.clear()
    server.rcodes.clear()
    return server


@pytest.fixture
def database(database_url: str) -> Database:
    return KeptDatabase(database_url)


def new_domain(database: Database, name: str, key: NewKey | None = FIRST) -> int:
    return database.write_sync(lambda tx: bootstrap.create_domain(tx, name, name, None, "active", key)).id


def states(database: Database, domain_id: int) -> dict[str, str]:
    return {key.selector: key.state for key in database.write_sync(lambda tx: dkim.get_all(tx, domain_id))}


def signer(database: Database, name: str) -> tuple[str, str] | None:
    """The selector and the private key that opendkim sees."""
    sql = "SELECT selector, private_key FROM mail_signing_keys WHERE domain = :name"
    row = database.write_sync(lambda tx: tx.one(sql, name=name))
    return (row[0], row[1]) if row else None


def make_due(database: Database, domain_id: int) -> None:
    sql = "UPDATE dkim_keys SET due_at = 1 WHERE domain_id = :id AND due_at IS NOT NULL"
    database.write_sync(lambda tx: tx.run(sql, id=domain_id))


def keep(database: Database, dns: DnsServer, domain_id: int) -> None:
    """Runs one round of the worker."""
    make_due(database, domain_id)
    asyncio.run(worker.keep_keys(database, Resolver(dns.address)))


def test_it_works(database: Database, dns: DnsServer) -> None:
    id_ = new_domain(database, "rotates.test")
    actor = Actor(1)
    database.write_sync(lambda tx: dkim.rotate(tx, actor, id_, SECOND))
    keep(database, dns, id_)
    assert states(database, id_) == {"s1": "signing", "s2": "next"}
    assert signer(database, "rotates.test") == ("s1", "secret 1")
    dns.publish("s2._domainkey.rotates.test", "TXT", "k=rsa;v=DKIM1;p=ke y2")
    keep(database, dns, id_)
    assert states(database, id_) == {"s1": "retiring", "s2": "signing"}
    assert signer(database, "rotates.test") == ("s2", "secret 2")
    left = database.write_sync(lambda tx: tx.all("SELECT private_key FROM dkim_keys WHERE selector = 's1'"))
    assert {row[0] for row in left} == {None}, "a retired private key must be erased"
    keep(database, dns, id_)
    assert states(database, id_) == {"s2": "signing"}


@pytest.mark.parametrize("published", ["v=DKIM1; k=rsa; p=key1", "v=DKIM1; p=", "p=key2; k=ed25519", ""])
def test_another_record_switches_nothing(database: Database, dns: DnsServer, published: str) -> None:
    name = f"other-{abs(hash(published))}.test"
    id_ = new_domain(database, name)
    database.write_sync(lambda tx: dkim.rotate(tx, Actor(1), id_, SECOND))
    dns.publish(f"s2._domainkey.{name}", "TXT", published)
    keep(database, dns, id_)
    assert states(database, id_) == {"s1": "signing", "s2": "next"}


def test_silence_proves_nothing(database: Database, dns: DnsServer) -> None:
    id_ = new_domain(database, "silent.test")
    database.write_sync(lambda tx: dkim.rotate(tx, Actor(1), id_, SECOND))
    dns.rcodes["s2._domainkey.silent.test"] = "SERVFAIL"
    keep(database, dns, id_)
    assert states(database, id_) == {"s1": "signing", "s2": "next"}


def test_it_is_asked_less_and_less(database: Database) -> None:
    id_ = new_domain(database, "patient.test")
    database.write_sync(lambda tx: dkim.rotate(tx, Actor(1), id_, SECOND))

    def pause(tx: Tx, age: int) -> int:
        tx.run("UPDATE dkim_keys SET due_at = 1 WHERE domain_id = :id AND state = 'next'", id=id_)
        key = next(key for key in dkim.due(tx, 1000) if key.domain_id == id_)
        tx.now = key.created_at + age
        dkim.reschedule(tx, key)
        row = tx.one("SELECT due_at FROM dkim_keys WHERE domain_id = :id AND state = 'next'", id=id_)
        assert row
        return int(row[0]) - tx.now

    pauses = [database.write_sync(lambda tx, age=age: pause(tx, age)) for age in (0, 10 * 60_000, 90 * DAY_MS)]
    assert pauses == [30_000, 5 * 60_000, 6 * 3_600_000]


def test_a_rotation_under_way_is_the_only_one(database: Database) -> None:
    id_ = new_domain(database, "twice.test")
    for key in (SECOND, THIRD):
        database.write_sync(lambda tx, key=key: dkim.rotate(tx, Actor(1), id_, key))
    assert states(database, id_) == {"s1": "signing", "s2": "next"}
    assert not database.write_sync(lambda tx: dkim.switch(tx, id_, "s3"))
    assert not database.write_sync(lambda tx: dkim.switch(tx, id_, "s1"))
    assert database.write_sync(lambda tx: dkim.switch(tx, id_, "s2"))
    assert not database.write_sync(lambda tx: dkim.switch(tx, id_, "s2"))
    assert states(database, id_) == {"s1": "retiring", "s2": "signing"}


def test_the_records_to_publish(database: Database) -> None:
    id_ = new_domain(database, "records.test")

    def published() -> list[tuple[str, bool]]:
        return [(r.selector, r.required) for r in database.write_sync(lambda tx: dkim.records(tx, id_))]

    assert published() == [("s1", True)]
    database.write_sync(lambda tx: dkim.rotate(tx, Actor(1), id_, SECOND))
    assert published() == [("s1", True), ("s2", False)]
    database.write_sync(lambda tx: dkim.switch(tx, id_, "s2"))
    assert published() == [("s2", True)]


def test_the_worker_makes_missing_keys(database: Database, dns: DnsServer) -> None:
    id_ = new_domain(database, "wanted.test", None)
    assert states(database, id_) == {}
    # A round makes ten keys, and other tests left domains without keys.
    while not states(database, id_):
        keep(database, dns, id_)
    found = signer(database, "wanted.test")
    assert found
    key = serialization.load_pem_private_key(found[1].encode(), None)
    assert isinstance(key, RSAPrivateKey)
    assert key.key_size == 2048


def test_a_pending_domain_is_not_signed_for(database: Database) -> None:
    database.write_sync(lambda tx: bootstrap.create_domain(tx, "claimant", "pending.test", None, "pending", FIRST))
    assert signer(database, "pending.test") is None


def test_a_key_shows_no_secret_and_fits_a_name() -> None:
    key = dkim.generate()
    assert "PRIVATE" in key.private_key
    assert "PRIVATE" not in repr(key)
    assert key.selector.isalnum()
    assert key.selector == key.selector.lower()
    assert len(key.selector) <= 63
    assert dkim.generate().selector != key.selector


def test_the_queue_of_the_generator_is_short() -> None:
    async def run() -> None:
        generator = dkim.Generator(waiting=2, waiting_of_one=1)
        first = asyncio.create_task(generator.generate(1))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await generator.generate(1)
        second = asyncio.create_task(generator.generate(2))
        await asyncio.sleep(0)
        with pytest.raises(Busy):
            await generator.generate(3)
        assert (await second).selector != (await first).selector
        assert (await first).value.startswith("v=DKIM1")
        generator.close()

    asyncio.run(run())
