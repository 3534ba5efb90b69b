"""The rule for senders, on both engines: an account sends from its own addresses in their canonical
spelling, and from no other."""

from collections.abc import Iterator

import pytest

from postroom.accounts import commands as accounts
from postroom.accounts import senders
from postroom.accounts.commands import CreateAccount, UpdateAccount
from postroom.accounts.senders import Account
from postroom.actor import Actor
from postroom.address import Address, BadAddress
from postroom.db import Database, Tx
from postroom.mailplane.internal_addresses import login_name
from postroom.service import bootstrap
from postroom.tenants import organizations
from tests.harness.kept import KeptDatabase

REFUSED = (
    "",
    "me",
    "@d.test",
    "me@",
    "me@@d.test",
    "me@d.test@d.test",
    "@x:me@d.test",
    "@x,@y:me@d.test",
    '"me"@d.test',
    '"me+@x"@d.test',
    "me(x)@d.test",
    "me@(x)d.test",
    "me @d.test",
    "me@ d.test",
    " me@d.test",
    "me@d.test ",
    "me@d.test\n",
    "me@d.test.",
    "me@.d.test",
    "me@d..test",
    "me@[127.0.0.1]",
    "me@d",
    "me@127.0.0.1",
    "me@ｄ.test",
    "me@bücher.test",
    "mé@d.test",
    "me\0@d.test",
    "+tag@d.test",
    ".me@d.test",
    "me.@d.test",
    "m..e@d.test",
    "me+a@b@d.test",
    "me+a b@d.test",
    "me!x@d.test",
    "<me@d.test>",
    "=?utf-8?q?me?=@d.test",
    "m" * 65 + "@d.test",
    "me@" + "d" * 64 + ".test",
)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = KeptDatabase(database_url)
    yield opened
    opened.close()


def make(tx: Tx, domain: str, local_part: str, user: str) -> Account:
    actor = Actor(organizations.ensure(tx, domain.rpartition("x.")[2]))
    made = accounts.create(tx, actor, CreateAccount(domain, local_part, user, None, "{SSHA512}x"))
    return Account(made.id, login_name(made.id, made.generation))


@pytest.mark.parametrize("text", REFUSED)
def test_an_address_that_is_not_certain_is_refused(text: str) -> None:
    with pytest.raises(BadAddress):
        senders.parse(text)


@pytest.mark.parametrize("text", ["me@d.test", "ME@D.TEST", "me+tag@d.test", "me+a.b+c@d.test", "me+@d.test"])
def test_an_address_of_any_case_and_tag_is_the_mailbox(text: str) -> None:
    assert senders.parse(text) == Address("me", "d.test")


def test_who_may_use_what(database: Database) -> None:
    def work(tx: Tx) -> None:
        bootstrap.create_domain(tx, "rule.test", "rule.test", None, "active")
        bootstrap.create_domain(tx, "rule.test", "x.rule.test", "b", "active")
        alice, bob = make(tx, "rule.test", "alice", "a"), make(tx, "rule.test", "bob", "b")
        below = make(tx, "x.rule.test", "alice", "b")
        own = {
            alice: Address("alice", "rule.test"),
            bob: Address("bob", "rule.test"),
            below: Address("alice", "x.rule.test"),
        }
        for account in own:
            for owner, address in own.items():
                for asks in (account, Account(account.id)):
                    assert senders.may_use(tx, asks, address) == (owner == account)
                assert senders.poses_as_another(tx, account, address.local_part, address.domain) == (owner != account)
        assert senders.poses_as_another(tx, alice, "nobody", "rule.test")
        assert not senders.poses_as_another(tx, alice, "alice", "elsewhere.example")
        assert not senders.may_use(tx, alice, Address("alice", "elsewhere.example"))

    database.write_sync(work)


def test_a_login_before_a_reset_may_use_nothing(database: Database) -> None:
    def work(tx: Tx) -> None:
        bootstrap.create_domain(tx, "reset.test", "reset.test", None, "active")
        account, address = make(tx, "reset.test", "me", "u"), Address("me", "reset.test")
        assert senders.may_use(tx, account, address)
        assert not senders.may_use(tx, Account(account.id, login_name(account.id, 7)), address)
        actor = Actor(organizations.ensure(tx, "reset.test"))
        accounts.update(tx, actor, account.id, None, UpdateAccount(status="suspended"))
        assert not senders.may_use(tx, account, address)
        assert not senders.may_use(tx, Account(account.id), address)

    database.write_sync(work)


@pytest.mark.parametrize(
    "login", ["", "7", "7@acct.internal", "7@1.acct.internal.x", "x@1.acct.internal", "me@d.test", "7@1@acct.internal"]
)
def test_an_invalid_login_has_no_account(login: str) -> None:
    assert Account.of_login(login) is None


def test_a_closed_address(database: Database) -> None:
    def work(tx: Tx) -> None:
        bootstrap.create_domain(tx, "closed.test", "closed.test", None, "active")
        account, address = make(tx, "closed.test", "me", "u"), Address("me", "closed.test")
        assert not senders.is_closed(tx, address)
        actor = Actor(organizations.ensure(tx, "closed.test"))
        accounts.update(tx, actor, account.id, None, UpdateAccount(status="disabled"))
        assert senders.is_closed(tx, address)

    database.write_sync(work)
