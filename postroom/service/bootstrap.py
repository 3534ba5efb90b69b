"""What the first start makes: the mail host's own domain with its postmaster account, and a demo
organization with an active domain and a key.

Nobody knows the postmaster's first password; it is reset like any other (docs/operations.md). Mail
to postmaster@ and abuse@ of platform domains goes to this account (decision 0019). The worker makes
the DKIM keys of both domains, so that a start does not wait for them.
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
from postroom.tenants import limits, organizations
from postroom.tenants.send_limits import SendLimits

NONE = SendLimits()
ORGANIZATION = organizations.OPERATOR
DEMO_ORGANIZATION = "demo"
DEMO_DOMAIN = "demo.test"

SET_HOST = """
INSERT INTO mail_host (id, name) VALUES (1, :name)
ON CONFLICT (id) DO UPDATE SET name = excluded.name"""
HAS_STARTED = "SELECT 1 FROM mail_host WHERE id = 1"


@dataclass(frozen=True, slots=True)
class FirstStart:
    """The result of a start. `api_key` is set until a start has shown it, because a key cannot be
    read again. `console_link` is set while the demo organization has a key. `send_limits` are those
    of each account of the demo organization."""

    api_key: str | None
    demo_domain: str | None
    console_link: str | None = None
    send_limits: SendLimits = NONE


def prepare(database: Database, hostname: str, unshown: Path, *, shows_key: bool) -> FirstStart:
    """Makes what is missing; at any later start nothing is missing. Raises Refused if the host name
    is taken.

    The file `unshown` exists from the first start until a start has shown the first key and removes
    the file. It holds the id of the key that was made last. A start with `shows_key` makes the key
    while the file exists, and revokes the key of an earlier start that failed. The other parts of
    a service make no key: nobody would see it.
    """
    return database.write_sync(lambda tx: _prepare(tx, hostname, unshown, shows_key=shows_key))


def create_key(tx: Tx, organization: str, command: CreateKey) -> str:
    """Makes a key for the operator, and the organization if it is new. Returns the key."""
    return keys.create(tx, Actor(organizations.ensure(tx, organization)), command)[1]


def begin_organization(tx: Tx, name: str) -> bool:
    """Makes an organization with the limits of a new one, unless it exists. Returns whether it was
    made."""
    if organizations.exists(tx, name):
        return False
    limits.begin(tx, organizations.ensure(tx, name))
    return True


def create_domain(
    tx: Tx, organization: str, name: str, user_id: str | None, status: Status, key: NewKey | None = None
) -> domains.Domain:
    """Makes a domain for the operator, and the organization if it is new. Returns the domain.
    Raises `domain_exists`."""
    return domains.create(tx, Actor(organizations.ensure(tx, organization)), name, user_id, status, key)


def create_link(tx: Tx, organization: str, key_id: int | None = None) -> str:
    """Returns the token of a link that signs in to the console once. The link uses the key
    `key_id`, or the oldest unrestricted key. Raises not_found, or invalid_request if the
    organization has no unrestricted key."""
    organization_id = organizations.get(tx, organization)
    found = keys.widest(tx, organization_id) if key_id is None else keys.get(tx, organization_id, key_id).id
    if found is None:
        raise Refused("invalid_request", "This organization has no key that is bound to nothing: name one of its keys.")
    return console_sessions.make_link(tx, organization_id, found)


def _demo_link(tx: Tx) -> str | None:
    found = keys.widest(tx, organization := organizations.ensure(tx, DEMO_ORGANIZATION))
    return console_sessions.make_link(tx, organization, found) if found else None


def delete_domain(tx: Tx, organization: str, name: str, user_id: str | None) -> None:
    """Deletes a domain for the operator. Raises not_found, `domain_not_empty`."""
    actor = Actor(organizations.get(tx, organization))
    domains.delete(tx, actor, domains.get(tx, actor, name, user_id))


def _prepare(tx: Tx, hostname: str, unshown: Path, *, shows_key: bool) -> FirstStart:
    started = tx.one(HAS_STARTED)
    domains.give_tokens(tx)
    spellings.fill(tx)
    begin_organization(tx, ORGANIZATION)
    begin_organization(tx, DEMO_ORGANIZATION)
    _own_host(tx, hostname)
    demo = Actor(organizations.ensure(tx, DEMO_ORGANIZATION))
    demo_domain: str | None = DEMO_DOMAIN
    if not started:
        unshown.touch()
        demo_domain = _make_demo_domain(tx, demo)
    key = _make_first_key(tx, demo, unshown) if shows_key and unshown.exists() else None
    return FirstStart(key, demo_domain, _demo_link(tx), limits.get(tx, demo.organization_id, None).send_limits)


def _make_demo_domain(tx: Tx, demo: Actor) -> str | None:
    if domains.find(tx, demo, DEMO_DOMAIN, None) is None:
        try:
            domains.create(tx, demo, DEMO_DOMAIN, None, "active")
        except Refused:  # the name belongs to another organization or the mail host: no demo domain
            return None
    return DEMO_DOMAIN


def _make_first_key(tx: Tx, demo: Actor, unshown: Path) -> str:
    with suppress(Refused, ValueError):  # no key was made yet, or the operator has revoked it
        keys.revoke(tx, demo, int(unshown.read_text()))
    made, key = keys.create(tx, demo, CreateKey())
    unshown.write_text(str(made.id))
    return key


def _own_host(tx: Tx, hostname: str) -> None:
    """Makes the mail host's domain and its postmaster account. Raises `domain_exists`."""
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
