"""What the tests read and change directly in the database: rows before and after a request, stored
passwords, times."""

import base64
import hashlib
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from postroom.db import Tx
from tests.harness.server import Tenant

DAY_MS = 24 * 3600 * 1000
OF_ORGANIZATION = {
    "accounts": "organization_id = :o",
    "account_users": "organization_id = :o",
    "addresses": "domain_id IN (SELECT id FROM domains WHERE organization_id = :o)",
    "aliases": "organization_id = :o",
    "alias_members": "alias_id IN (SELECT id FROM aliases WHERE organization_id = :o)",
    "app_passwords": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "forwardings": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "vacations": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "delivery_scripts": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "setup_links": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "outgoing_messages": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "sent_messages": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "sent_recipients": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "sent_handovers": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "sent_days": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "owner_sessions": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "mail_tokens": "organization_id = :o",
    "mail_token_accounts": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
    "webhooks": "organization_id = :o",
    "webhook_deliveries": "organization_id = :o",
    "webhook_lanes": "webhook_id IN (SELECT id FROM webhooks WHERE organization_id = :o)",
    "account_counts": "organization_id = :o",
    "domains": "organization_id = :o",
    "domain_consents": "parent_id IN (SELECT id FROM domains WHERE organization_id = :o)",
    "domain_checks": "domain_id IN (SELECT id FROM domains WHERE organization_id = :o)",
    "events": "organization_id = :o",
    "limits": "organization_id = :o",
    "api_keys": "organization_id = :o",
    "dkim_keys": "domain_id IN (SELECT id FROM domains WHERE organization_id = :o)",
    "api_key_domains": "key_id IN (SELECT id FROM api_keys WHERE organization_id = :o)",
    "idempotent_answers": "organization_id = :o",
    "console_sessions": "organization_id = :o",
    "console_links": "organization_id = :o",
    "session_endings": "account_id IN (SELECT id FROM accounts WHERE organization_id = :o)",
}
# Without last_used_at, which is written outside of requests.
COLUMNS = {"api_keys": "id, digest, name, user_id, scopes, domain_bound, networks, parent_id, expires_at, revoked_at"}


def rows(tenant: Tenant, table: str | None = None) -> Any:
    """Every row of the organization, by table. Equal rows before and after mean that a request
    changed nothing."""

    def work(tx: Tx) -> Any:
        found = {}
        for name, where in OF_ORGANIZATION.items():
            columns = COLUMNS.get(name, "*")
            every = tx.all(f"SELECT {columns} FROM {name} WHERE {where}", o=tenant.organization_id)
            found[name] = sorted(every, key=lambda row: [(value is None, value) for value in row])
        return found[table] if table else found

    return tenant.api.database.write_sync(work)


def age_addresses(tenant: Tenant, milliseconds: int) -> None:
    """Ages the organization's quarantined addresses by this many milliseconds."""
    sql = f"UPDATE addresses SET rests_until = rests_until - :by WHERE {OF_ORGANIZATION['addresses']}"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, by=milliseconds, o=tenant.organization_id))


def age_deletions(tenant: Tenant, milliseconds: int) -> None:
    """Ages the organization's deleted accounts by this many milliseconds."""
    sql = f"UPDATE accounts SET purge_at = purge_at - :by WHERE {OF_ORGANIZATION['accounts']}"
    tenant.api.database.write_sync(lambda tx: tx.run(sql, by=milliseconds, o=tenant.organization_id))


def stored_password(tenant: Tenant, id_: int) -> str:
    row = tenant.api.database.write_sync(lambda tx: tx.one("SELECT password FROM accounts WHERE id = :id", id=id_))
    assert row
    return str(row[0])


def opens(tenant: Tenant, id_: int, password: str) -> bool:
    """Whether this is the account's password, checked as Dovecot checks it."""
    scheme, _, hashed = stored_password(tenant, id_).removeprefix("{").partition("}")
    if scheme == "SSHA512":
        raw = base64.b64decode(hashed)
        return hashlib.sha512(password.encode() + raw[64:]).digest() == raw[:64]
    assert scheme == "ARGON2ID"
    try:
        return PasswordHasher().verify(hashed, password)
    except VerifyMismatchError:
        return False


def new_events(tenant: Tenant, before: int = 0) -> list[str]:
    """The types of the events about accounts after a cursor."""
    return [event["type"] for event in tenant.events(after=before) if event["account_id"]]


def last_event(tenant: Tenant) -> int:
    """The id of the newest event, as a cursor."""
    found: int = tenant.events()[-1]["id"]
    return found
