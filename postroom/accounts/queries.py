"""Pages of accounts: filtered lists in the order of their ids, the same cost at any depth with
`after`.

The statements are put together from fixed pieces, one for each set of filters; a unary `+` keeps
SQLite from an index that would be the wrong one. tests/test_plans.py holds every one of them to
an index.
"""

import functools

import msgspec

from postroom.accounts.model import COLUMNS, Account, from_row
from postroom.actor import Actor
from postroom.db import Tx

# Past every id.
NO_END = 2**62
FILTERS = {
    "user_id": " AND user_id = :user_id",
    "domain_id": " AND domain_id = :domain_id",
    "bound": " AND domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)",
    "status": " AND status = :status",
}
# A search finds its matches in the index of addresses and sorts them; no other index may look
# better.
SEARCH_FILTERS = {
    "user_id": " AND COALESCE(user_id, '') = :user_id",
    "domain_id": " AND +domain_id = :domain_id",
    "bound": " AND +domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)",
    "status": " AND status = :status",
    "q": " AND address >= :q AND address < :q_end",
}


class AccountFilter(msgspec.Struct, frozen=True):
    """Which accounts a list holds; None does not count. `q` is a prefix of the address in lower
    case. `deleted` ones are those that can be restored, always the oldest first."""

    user_id: str | None = None
    domain_id: int | None = None
    status: str | None = None
    q: str | None = None
    deleted: bool = False
    newest: bool = False


EVERY = AccountFilter()


@functools.cache
def page_sql(filters: frozenset[str], offset: bool, newest: bool = False) -> str:
    """The statement of a page with these filters, oldest or newest first."""
    pieces = SEARCH_FILTERS if "q" in filters else FILTERS
    where = "".join(text for name, text in pieces.items() if name in filters)
    by_domain = "q" not in filters and not filters.isdisjoint({"domain_id", "bound"})
    organization = "+organization_id" if by_domain else "organization_id"
    id_ = "+id" if "q" in filters else "id"
    beyond, order = ("<", f"{id_} DESC") if newest else (">", id_)
    rest = (
        f" FROM accounts WHERE {organization} = :organization{where} AND {id_} {beyond} :after"
        f" AND deleted_at IS NULL ORDER BY {order} LIMIT :limit"
    )
    if not offset:
        return f"SELECT {COLUMNS}{rest}"
    # What is skipped is counted in the index; PostgreSQL would look at the row of each.
    return (
        f"SELECT {COLUMNS} FROM accounts WHERE organization_id = :organization"
        f" AND id IN (SELECT id{rest} OFFSET :offset) ORDER BY {order.removeprefix('+')}"
    )


@functools.cache
def deleted_sql(filters: frozenset[str], offset: bool) -> str:
    """The statement of a page of deleted accounts that can still be restored: few, in an index
    of their own."""
    where = "".join(text for name, text in (FILTERS | {"q": SEARCH_FILTERS["q"]}).items() if name in filters)
    return (
        f"SELECT {COLUMNS} FROM accounts WHERE organization_id = :organization{where} AND id > :after"
        " AND purge_at IS NOT NULL AND +purge_at > :now AND purged_at IS NULL ORDER BY id"
        " LIMIT :limit" + (" OFFSET :offset" if offset else "")
    )


def page(
    tx: Tx, actor: Actor, wanted: AccountFilter = EVERY, *, limit: int, offset: int = 0, after: int = 0
) -> list[Account]:
    """Accounts by id after a cursor (0: from the start), oldest or newest first."""
    filters = {name: getattr(wanted, name) for name in SEARCH_FILTERS if name != "bound"}
    filters |= {"bound": actor.restricted_key_id}
    given = {name: value for name, value in filters.items() if value is not None}
    names, newest = frozenset(given), wanted.newest and not wanted.deleted
    sql = deleted_sql(names, offset > 0) if wanted.deleted else page_sql(names, offset > 0, newest)
    if "q" in given:
        given["q_end"] = f"{given['q']}\x7f"  # addresses are ASCII: this is past every one that begins with q
    if offset:
        given["offset"] = offset
    if wanted.deleted:
        given["now"] = tx.now
    start = after or (NO_END if newest else 0)
    rows = tx.all(sql, organization=actor.organization_id, after=start, limit=limit, **given)
    return [from_row(row) for row in rows]
