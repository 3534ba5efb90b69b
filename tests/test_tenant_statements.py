"""Every statement that reads or writes a tenant's table compares the organization, or is on a list
with its reason.

A tenant's table has a column `organization_id`. Tables that depend on such a row (`addresses`,
`dkim_keys`, `leases`, …) are reached by the id of a row that was found with its organization. Each
SELECT of a statement is judged alone: it must compare `organization_id` with `:organization`, or
refer to a row of the statement around it (decision 0183).
"""

import re
from collections.abc import Iterator

import pytest

from postroom.db.migrations import SCHEMA
from tests.test_plans import WHOLE, statements

TABLES = frozenset(
    name
    for path in sorted(SCHEMA.glob("0*.sql"))
    for name, columns in re.findall(r"CREATE TABLE (\w+) \((.*?)\n\)", path.read_text(encoding="utf-8"), re.S)
    if re.search(r"^\s*organization_id\b", columns, re.M)
)

# The statements without a comparison (module and constant), by the reason.
WITHOUT: dict[str, str] = {
    name: reason
    for reason, statements_ in {
        "a secret, or the id of its row, leads to the organization": [
            "auth.keys.FIND",
            "auth.keys.FIND_ID",
            "auth.console_sessions.FIND",
            "auth.console_sessions.END",
            "auth.console_sessions.TAKE_LINK",
            "accounts.setup_links.FIND",
            "accounts.owner_sessions.FIND",
            "accounts.mail_tokens.FIND",
        ],
        "the worker searches every organization for due rows": [
            "accounts.alias_rests.EXPIRED",
            "accounts.purges.DUE_PURGES",
            "accounts.quotas.DUE",
            "domains.check_schedule.DUE",
            "domains.dkim.DUE",
            "domains.proofs.EXPIRED",
            "idempotency.DUE",
            "mailboxes.session_revocations.DUE",
            "accounts.purges.OLDEST_PURGE_DUE",
            *(f"webhooks.fan_out.{name}" for name in ("TOP", "FIRST", "READ")),
            *(f"webhooks.received_messages.{name}" for name in ("IS_WANTED", "SCOPES")),
            *(f"webhooks.received_messages.OF_{name}" for name in ("ACCOUNT", "DOMAIN", "DOMAIN_USER")),
            "webhooks.received_messages.HIDDEN",
            "webhooks.passing_messages.DUE",
            *(f"accounts.hidden_accounts.{name}" for name in ("PAGE", "LIVING", "LOCK_LIVING", "END", "ERASE")),
        ],
        "expired rows of all organizations are deleted": [
            "auth.console_sessions.END_EXPIRED",
            "auth.console_sessions.END_LINKS",
            "accounts.mail_tokens.END_EXPIRED",
        ],
        "old or surplus rows of all organizations are deleted": [
            "auth.console_sessions.END_OLDEST",
            "events.FORGET",
            "events.OLDEST",
            "idempotency.TRIM",
            "auth.keys.EXPIRED_LONG_AGO",
            "auth.keys.FORGET",
            "auth.keys.REVOKED_LONG_AGO",
            *(f"webhooks.deliveries.{name}" for name in ("FORGET", "NEEDED")),
            *(f"webhooks.received_messages.{name}" for name in ("FORGET", "ERASE")),
        ],
        "the worker continues with a row that it found due": [
            "accounts.alias_rests.OWNER",
            "accounts.app_passwords.OWNER",
            "accounts.purges.BEGIN_PURGE",
            "accounts.purges.RESCHEDULE_PURGE",
            "accounts.purges.FINISH_PURGE",
            "accounts.quotas.FINISH",
            "domains.dkim.OWNER",
            "domains.proofs.EXPIRE",
            "idempotency.DELETE",
            "mailboxes.session_revocations.ACCOUNT",
            "mailboxes.session_revocations.INSERT_DOMAIN",
            *(f"webhooks.{name}" for name in ("attempts.DROP", "attempts.ERASE", "fan_out.INSERT")),
            *(f"webhooks.lanes.{name}" for name in ("GET", "NEXT")),
            *(f"webhooks.received_messages.{name}" for name in ("TARGETS", "INSERT", "DELIVER")),
            *(f"webhooks.passing_messages.{name}" for name in ("ADD", "IS_DUE", "GET", "KEEP", "HOLD", "FORGET")),
            *(f"webhooks.passing_messages.{name}" for name in ("CLAIMED", "HASTEN", "ERASE", "ERASE_HIDDEN")),
            "accounts.hidden_accounts.IS_HIDDEN",
        ],
        "a check continues with the domain that it began with": [
            "domains.proofs.OF_ID",
            "domains.proofs.COMES_BACK",
            "domains.proofs.DEGRADE",
            "domains.proofs.GOES_ELSEWHERE",
            "domains.proofs.LOSE",
            "domains.proofs.RECOVER",
        ],
        "a name has one owner, and no caller learns which organization that is": [
            "domains.consents.FOREIGN_PARENT",
            "domains.dkim.RECORD",
            "domains.proofs.CUT_OFF",
            "domains.commands.IS_ACTIVE",
        ],
        "the milter counts what the account of a login sends": ["accounts.sent_counts.GET_ACCOUNT"],
        "the daemons' logs tell of logins, full mailboxes and sent mail by the id of the account": [
            "accounts.owner_sessions.ORGANIZATION",
            "accounts.app_passwords.IS_NEW_USE",
            "accounts.app_passwords.USE",
            "accounts.last_logins.IS_NEW_LOGIN",
            "accounts.last_logins.LOG_IN",
            "accounts.login_attacks.BEGIN",
            "accounts.login_attacks.CLOSE",
            "accounts.login_attacks.OWNER",
            "accounts.login_networks.REMEMBER",
            "accounts.quotas.LEVEL",
            "accounts.quotas.LOCK",
            "accounts.quotas.RECORD",
            "accounts.quotas.POSTPONE",
            "accounts.sent_mail.PUT_MESSAGE",
        ],
        "statements for the operator, over all organizations": [
            "tenants.usage.EVERYTHING",
            "accounts.login_attacks.LIST",
            "backup.diff.ACCOUNTS",
            "backup.diff.KEYS",
            "backup.diff.WEBHOOKS",
            "webhooks.deliveries.PENDING",
            "domains.commands.MAKE_PROVABLE",
            "cluster.moves.ACCOUNT",
            "cluster.moves.LEFT",
            "cluster.nodes.FOUND",
        ],
    }.items()
    for name in statements_
}


def parts(sql: str, around: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The statement without its subqueries, then each subquery, with the statements around it."""
    bare, inner = _split(sql)
    for one in re.split(r"\bUNION ALL\b", bare):
        yield one, around
    for text in inner:
        yield from parts(text, (*around, bare))


def _split(sql: str) -> tuple[str, list[str]]:
    """The text outside of subqueries, and the text of each subquery. Other parentheses stay."""
    bare, inner, depth, start = "", list[str](), 0, 0
    for at, letter in enumerate(sql):
        if letter == "(":
            if depth == 0:
                start = at
            depth += 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                text = sql[start + 1 : at]
                if re.search(r"\bSELECT\b", text):
                    inner.append(text)
                    bare += " () "
                else:
                    bare += f"({text})"
        elif depth == 0:
            bare += letter
    return bare, inner


def tables(part: str) -> list[str]:
    """The tenants' tables that a part reads, changes or inserts into."""
    found = re.findall(r"\b(?:FROM|JOIN|UPDATE(?!\s+SET)|INTO)\s+(\w+)", part)
    return [name for name in found if name in TABLES]


def names(part: str) -> set[str]:
    """The tables of a part, and their aliases."""
    pairs = re.findall(r"\b(?:FROM|JOIN|UPDATE(?!\s+SET)|INTO)\s+(\w+)(?:\s+AS\s+(\w+))?", part)
    return {name for pair in pairs for name in pair if name}


def names_organization(part: str, around: tuple[str, ...]) -> bool:
    if re.search(r"\bINSERT INTO\b", part):
        return ":organization" in part and "organization_id" in part.partition("VALUES")[0].partition("SELECT")[0]
    where = part.partition("WHERE")[2]
    if re.search(r"\borganization_id = :organization\b", where) or re.search(r"organization_id = \w+\.organiz", where):
        return True
    outer = {name for each in around for name in names(each)} - names(part)
    outer |= {name for each in around for name in names(each)} & names(part) if " AS " in part else set()
    return any(re.search(rf"= {name}\.\w+|\b{name}\.\w+ =", part) for name in outer)


def without(sql: str) -> list[str]:
    """The tenants' tables that a statement touches without comparing the organization."""
    return [table for part, around in parts(sql) for table in tables(part) if not names_organization(part, around)]


STATEMENTS = statements()
TOUCHING = {name: sql for name, sql in STATEMENTS.items() if any(tables(part) for part, _ in parts(sql))}


def test_it_works() -> None:
    assert {"accounts", "domains", "events", "api_keys", "limits", "idempotent_answers", "console_sessions"} <= TABLES
    assert {
        "accounts.commands.GET",
        "accounts.commands.RESET",
        "domains.commands.FIND",
        "auth.keys.REVOKE",
        "events.INSERT",
    } <= TOUCHING.keys()
    assert without("SELECT id FROM accounts WHERE id = :id") == ["accounts"]
    assert without("SELECT id FROM accounts WHERE id = :id AND organization_id = :organization") == []
    assert without("SELECT organization_id FROM accounts WHERE id = :id OR 1 = organization_id") == ["accounts"]
    assert without("DELETE FROM domains WHERE id IN (SELECT domain_id FROM accounts WHERE id = :id)") == [
        "domains",
        "accounts",
    ]
    assert without("UPDATE domains SET name = :name WHERE organization_id = :organization AND EXISTS (SELECT 1 FROM "
                   "accounts WHERE domain_id = domains.id)") == []  # fmt: skip


@pytest.mark.parametrize("name", TOUCHING)
def test_a_statement_names_the_organization(name: str) -> None:
    found = without(TOUCHING[name])
    assert (found == []) == (name not in WITHOUT), f"{name}: {found}"


def test_the_list_has_only_statements_that_need_it() -> None:
    assert WITHOUT.keys() <= TOUCHING.keys()
    assert not {".".join(name) for name in WHOLE} & WITHOUT.keys()
