"""Pages of accounts: filtered lists ordered by id. With `after`, a page costs the same at any
depth.

Each set of filters has its own statement, built from fixed pieces. A unary `+` keeps SQLite from
choosing the wrong index; tests/test_plans.py checks that every statement uses an index.
"""

import functools
from typing import Any

import msgspec

from postroom.accounts.model import COLUMNS, Account, from_row
from postroom.actor import Actor
from postroom.db import Row, Tx

# Greater than every id.
NO_END = 2**62
# Dovecot 2.4 calls this scheme weak.
WEAK = """
SELECT COUNT(*) FROM accounts
WHERE password_scheme = 'imported' AND password_scheme <> 'generated' AND deleted_at IS NULL
  AND password LIKE '{MD5-CRYPT}%'"""
# Accounts that are not active are few and have their own indexes (decision 0188). A database
# uses these only for a statement that itself excludes active accounts.
STATUSES = {"active": " AND status = 'active'", "inactive": " AND status = :status AND status <> 'active'"}
FILTERS = {
    "user_id": " AND user_id = :user_id",
    "domain_id": " AND domain_id = :domain_id",
    "bound": " AND domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)",
    **STATUSES,
    "generated": " AND password_scheme = 'generated'",
}
# Passwords that were not generated have indexes of their own (decision 0256). These pieces keep the
# planner from preferring another one.
SCHEME_FILTERS = FILTERS | {
    "inactive": " AND COALESCE(status, '') = :status",
    "other_scheme": " AND password_scheme = :password_scheme AND password_scheme <> 'generated'",
}
SCHEME_OF_DOMAIN_FILTERS = SCHEME_FILTERS | {"user_id": " AND COALESCE(user_id, '') = :user_id"}
# A search finds its matches in the index of addresses and sorts them. These pieces keep the planner
# from preferring another index.
SEARCH_FILTERS = {
    "user_id": " AND COALESCE(user_id, '') = :user_id",
    "domain_id": " AND +domain_id = :domain_id",
    "bound": " AND +domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)",
    **STATUSES,
    "generated": " AND password_scheme = 'generated'",
    "other_scheme": " AND COALESCE(password_scheme, '') = :password_scheme",
    "q": " AND address >= :q AND address < :q_end",
}


class AccountFilter(msgspec.Struct, frozen=True):
    """The filters of a list; None filters nothing. `q` is a prefix of the address in lower case.
    `deleted` selects the accounts that can be restored, always oldest first."""

    user_id: str | None = None
    domain_id: int | None = None
    status: str | None = None
    password_scheme: str | None = None
    q: str | None = None
    deleted: bool = False
    newest: bool = False


EVERY = AccountFilter()


@functools.cache
def page_sql(filters: frozenset[str], offset: bool, newest: bool = False, columns: str = COLUMNS) -> str:
    """Returns the statement for a page with these filters, oldest or newest first."""
    by_domain = "q" not in filters and not filters.isdisjoint({"domain_id", "bound"})
    pieces = FILTERS
    if "q" in filters:
        pieces = SEARCH_FILTERS
    elif "other_scheme" in filters:
        pieces = SCHEME_OF_DOMAIN_FILTERS if by_domain else SCHEME_FILTERS
    where = "".join(text for name, text in pieces.items() if name in filters)
    organization = "+organization_id" if by_domain else "organization_id"
    id_ = "+id" if "q" in filters else "id"
    beyond, order = ("<", f"{id_} DESC") if newest else (">", id_)
    rest = (
        f" FROM accounts WHERE {organization} = :organization{where} AND {id_} {beyond} :after"
        f" AND deleted_at IS NULL ORDER BY {order} LIMIT :limit"
    )
    if not offset:
        return f"SELECT {columns}{rest}"
    # The inner query counts the skipped rows in the index; without it PostgreSQL would read each
    # row.
    return (
        f"SELECT {columns} FROM accounts WHERE organization_id = :organization"
        f" AND id IN (SELECT id{rest} OFFSET :offset) ORDER BY {order.removeprefix('+')}"
    )


@functools.cache
def deleted_sql(filters: frozenset[str], offset: bool, columns: str = COLUMNS) -> str:
    """Returns the statement for a page of deleted accounts that can still be restored. These are
    few and have an index of their own."""
    where = "".join(
        text
        for name, text in (FILTERS | {name: SEARCH_FILTERS[name] for name in ("other_scheme", "q")}).items()
        if name in filters
    )
    return (
        f"SELECT {columns} FROM accounts WHERE organization_id = :organization{where} AND id > :after"
        " AND purge_at IS NOT NULL AND +purge_at > :now AND purged_at IS NULL ORDER BY id"
        " LIMIT :limit" + (" OFFSET :offset" if offset else "")
    )


def page(tx: Tx, actor: Actor, wanted: AccountFilter = EVERY, **cut: Any) -> list[Account]:
    """As `rows`, as accounts."""
    return [from_row(row) for row in rows(tx, actor, wanted, **cut)]


def rows(
    tx: Tx,
    actor: Actor,
    wanted: AccountFilter,
    columns: str = COLUMNS,
    *,
    limit: int,
    offset: int = 0,
    after: int = 0,
) -> list[Row]:
    """Returns these columns of accounts ordered by id after a cursor (0: from the start), oldest or
    newest first. Each column costs about 5 % of a page."""
    sql, given = statement(tx, actor, wanted, columns, limit=limit, offset=offset, after=after)
    return tx.all(sql, **given)


def count_weak(tx: Tx) -> int:
    """Returns how many accounts of all organizations log in with an imported MD5-CRYPT hash."""
    row = tx.one(WEAK)
    return int(row[0]) if row else 0


def statement(
    tx: Tx, actor: Actor, wanted: AccountFilter, columns: str, *, limit: int, offset: int = 0, after: int = 0
) -> tuple[str, dict[str, Any]]:
    """Returns the statement of `rows` and its parameters."""
    filters = {name: getattr(wanted, name) for name in ("user_id", "domain_id", "status", "password_scheme", "q")}
    filters |= {"bound": actor.restricted_key_id}
    given = {name: value for name, value in filters.items() if value is not None}
    names = frozenset(_kind(name, value) for name, value in given.items())
    newest = wanted.newest and not wanted.deleted
    deep = offset > 0
    sql = deleted_sql(names, deep, columns) if wanted.deleted else page_sql(names, deep, newest, columns)
    if "q" in given:
        given["q_end"] = f"{given['q']}\x7f"  # addresses are ASCII: this sorts after every address that begins with q
    if offset:
        given["offset"] = offset
    if wanted.deleted:
        given["now"] = tx.now
    start = after or (NO_END if newest else 0)
    return sql, {"organization": actor.organization_id, "after": start, "limit": limit, **given}


def _kind(name: str, value: object) -> str:
    """Returns the key of the piece of SQL for a filter with this value."""
    if name == "status":
        return "active" if value == "active" else "inactive"
    if name == "password_scheme":
        return "generated" if value == "generated" else "other_scheme"
    return name
