"""What the operator has from the first start: the mail host's own domain with its postmaster, and a
demo organization with an active domain and a key.

Nobody knows the postmaster's password at first; it is reset like any other (docs/operations.md).
Mail to postmaster@ and abuse@ of platform domains is kept there (decision 0019). The worker
makes the DKIM keys of both domains: a start does not wait for them.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from postroom.accounts import commands as accounts
from postroom.accounts import passwords
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.auth import console_sessions, keys
from postroom.auth.keys import CreateKey
from postroom.db import Database, Tx
from postroom.domains import commands as domains
from postroom.domains import spellings
from postroom.domains.commands import Status
from postroom.domains.dkim import NewKey
from postroom.errors import Refused
from postroom.tenants import organizations

ORGANIZATION = organizations.OPERATOR
DEMO_ORGANIZATION = "demo"
DEMO_DOMAIN = "demo.test"

SET_HOST = """
INSERT INTO mail_host (id, name) VALUES (1, :name)
ON CONFLICT (id) DO UPDATE SET name = excluded.name"""
HAS_STARTED = "SELECT 1 FROM mail_host WHERE id = 1"


@dataclass(frozen=True, slots=True)
class FirstStart:
    """`api_key` is there until a start has shown it: it cannot be read again. `console_link` is
    there while the demo organization has a key."""

    api_key: str | None
    demo_domain: str | None
    console_link: str | None = None


def prepare(database: Database, hostname: str, unshown: Path) -> FirstStart:
    """Makes what is missing; at any later start that is nothing. Raises Refused for a host name
    that is taken. The file `unshown` holds the id of the first key until a start has shown the
    key and removes the file; while the file exists, the next start makes another key instead."""
    return database.write_sync(lambda tx: _prepare(tx, hostname, unshown))


def create_key(tx: Tx, organization: str, command: CreateKey) -> str:
    """The operator's way to a key; the organization is made when it is new."""
    return keys.create(tx, Actor(organizations.ensure(tx, organization)), command)[1]


def create_domain(
    tx: Tx, organization: str, name: str, user_id: str | None, status: Status, key: NewKey | None = None
) -> domains.Domain:
    """The operator's way to a domain. Raises `domain_exists`."""
    return domains.create(tx, Actor(organizations.ensure(tx, organization)), name, user_id, status, key)


def create_link(tx: Tx, organization: str, key_id: int | None = None) -> str:
    """The token of a link that signs in to the console once, with this key or with the oldest
    that is bound to nothing. Raises not_found, and invalid_request where there is no such key."""
    organization_id = organizations.get(tx, organization)
    found = keys.widest(tx, organization_id) if key_id is None else keys.get(tx, organization_id, key_id).id
    if found is None:
        raise Refused("invalid_request", "This organization has no key that is bound to nothing: name one of its keys.")
    return console_sessions.make_link(tx, organization_id, found)


def _demo_link(tx: Tx) -> str | None:
    found = keys.widest(tx, organization := organizations.ensure(tx, DEMO_ORGANIZATION))
    return console_sessions.make_link(tx, organization, found) if found else None


def delete_domain(tx: Tx, organization: str, name: str, user_id: str | None) -> None:
    """The operator's way to end a domain. Raises not_found, `domain_not_empty`."""
    actor = Actor(organizations.get(tx, organization))
    domains.delete(tx, actor, domains.get(tx, actor, name, user_id))


def _prepare(tx: Tx, hostname: str, unshown: Path) -> FirstStart:
    started = tx.one(HAS_STARTED)
    domains.give_tokens(tx)
    spellings.fill(tx)
    _own_host(tx, hostname)
    demo = Actor(organizations.ensure(tx, DEMO_ORGANIZATION))
    if started:
        return FirstStart(_replace_unshown_key(tx, demo, unshown), DEMO_DOMAIN, _demo_link(tx))
    key = _first_key(tx, demo, unshown)
    if domains.find(tx, demo, DEMO_DOMAIN, None) is None:
        try:
            domains.create(tx, demo, DEMO_DOMAIN, None, "active")
        except Refused:  # the operator has given the name away, or to the mail host: then there is no demo
            return FirstStart(key, None, _demo_link(tx))
    return FirstStart(key, DEMO_DOMAIN, _demo_link(tx))


def _first_key(tx: Tx, demo: Actor, unshown: Path) -> str:
    made, key = keys.create(tx, demo, CreateKey())
    unshown.write_text(str(made.id))
    return key


def _replace_unshown_key(tx: Tx, demo: Actor, unshown: Path) -> str | None:
    """The key that an earlier start made and did not come to show is nobody's."""
    if not unshown.exists():
        return None
    with suppress(Refused, ValueError):  # the operator has revoked the key; the file was cut
        keys.revoke(tx, demo, int(unshown.read_text()))
    return _first_key(tx, demo, unshown)


def _own_host(tx: Tx, hostname: str) -> None:
    """The mail host's domain and the account that gets its postmaster's mail."""
    actor = Actor(organizations.ensure(tx, ORGANIZATION))
    tx.run(SET_HOST, name=hostname)
    domain = domains.find(tx, actor, hostname, None)
    if domain is None:
        try:
            domains.add(tx, actor, hostname, ORGANIZATION, "active")
        except Refused:
            detail = "POSTROOM_HOSTNAME is a managed domain already: choose another name."
            raise Refused("domain_exists", detail) from None
        command = CreateAccount(
            domain=hostname,
            local_part="postmaster",
            user_id=ORGANIZATION,
            display_name="Postmaster",
            password=passwords.hash_generated(passwords.generate()),
            allow_reserved=True,
        )
        accounts.create(tx, actor, command)
