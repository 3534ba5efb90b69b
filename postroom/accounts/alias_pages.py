"""Pages of aliases, ordered by id, each with its accounts from the same statement; and addresses
of the aliases of a page of accounts, from one more statement.

As in queries.py, each set of filters has its own statement, and a unary `+` keeps SQLite from
choosing the wrong index.
"""

import functools
import itertools
from collections.abc import Sequence
from typing import Any

import msgspec

from postroom.accounts import queries
from postroom.accounts.aliases import FIELDS, Alias, from_row
from postroom.accounts.model import Account
from postroom.accounts.queries import AccountFilter
from postroom.actor import Actor
from postroom.db import Row, Tx

BOUND = """ AND {0}domain_id IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound)
  AND NOT EXISTS (
    SELECT 1 FROM alias_members JOIN accounts ON accounts.id = alias_members.account_id
    WHERE alias_members.alias_id = aliases.id
      AND accounts.domain_id NOT IN (SELECT domain_id FROM api_key_domains WHERE key_id = :bound))"""
FILTERS = {
    "user_id": " AND user_id = :user_id",
    "domain_id": " AND domain_id = :domain_id",
    "bound": BOUND.format("+"),
    "account_id": " AND id IN (SELECT alias_id FROM alias_members WHERE account_id = :account_id)",
    "kind": " AND kind = :kind",
    "q": " AND address >= :q AND address < :q_end",
}
# The filter whose index a statement uses, best first; the columns of the others are hidden from the
# planner.
BEST = ("account_id", "q", "domain_id", "user_id")
# The page of one account, as a key that sees the account asks for its aliases.
ONE = "SELECT id FROM accounts WHERE id = :id AND organization_id = :organization AND deleted_at IS NULL"
# Largest number of addresses of aliases in the answer about an account.
MOST_SHOWN = 50
COLUMNS_OF = {"q": "address", "domain_id": "domain_id", "user_id": "user_id"}


class AliasFilter(msgspec.Struct, frozen=True):
    """The filters of a list; None filters nothing. `q` is a prefix of the address in lower case."""

    user_id: str | None = None
    domain_id: int | None = None
    account_id: int | None = None
    kind: str | None = None
    q: str | None = None


@functools.cache
def page_sql(filters: frozenset[str]) -> str:
    """Returns the statement for a page with these filters, oldest first."""
    best = next((name for name in BEST if name in filters), "")
    where = ""
    for name, text in FILTERS.items():
        if name in filters:
            hidden = name in COLUMNS_OF and name != best
            where += _hide(name, text) if hidden else text
    organization = "organization_id = :organization"
    if best in ("account_id", "domain_id"):
        organization = "+organization_id = :organization"
    id_ = "COALESCE(id, 0)" if best == "q" else "id"
    page = (
        f"SELECT {FIELDS} FROM aliases WHERE {organization}{where} AND {id_} > :after"
        f" AND rested_at IS NULL ORDER BY {id_} LIMIT :limit OFFSET :offset"
    )
    return (
        "SELECT page.*, (SELECT accounts.id FROM accounts WHERE accounts.id = alias_members.account_id"
        f" AND accounts.deleted_at IS NULL) AS member FROM ({page}) AS page"
        " LEFT JOIN alias_members ON alias_members.alias_id = page.id ORDER BY page.id, member"
    )


def page(tx: Tx, actor: Actor, wanted: AliasFilter, *, limit: int, offset: int = 0, after: int = 0) -> list[Alias]:
    """Returns aliases ordered by id after a cursor (0: from the start)."""
    filters = msgspec.structs.asdict(wanted) | {"bound": actor.restricted_key_id}
    given = {name: value for name, value in filters.items() if value is not None}
    sql = page_sql(frozenset(given))
    if "q" in given:
        given["q_end"] = f"{given['q']}\x7f"  # addresses are ASCII: this sorts after every address that begins with q
    window = {"organization": actor.organization_id, "after": after, "limit": limit, "offset": offset}
    rows = tx.all(sql, **window, **given)
    groups = (list(group) for _, group in itertools.groupby(rows, key=lambda row: row[0]))
    return [from_row(group[0][:-1], [row[-1] for row in group if row[-1] is not None]) for group in groups]


@functools.cache
def of_accounts_sql(page: str, is_bound: bool) -> str:
    """Returns the statement for the addresses of the aliases of accounts, at most one more than
    MOST_SHOWN of each. The statement `page` returns the ids of the accounts."""
    return (
        "SELECT account_id, address FROM ("
        "SELECT page.id AS account_id, aliases.id AS alias_id, aliases.address,"
        " ROW_NUMBER() OVER (PARTITION BY page.id ORDER BY aliases.id) AS place"
        f" FROM ({page}) AS page JOIN alias_members ON alias_members.account_id = page.id"
        " JOIN aliases ON aliases.id = alias_members.alias_id"
        " WHERE +aliases.organization_id = :organization AND aliases.rested_at IS NULL"
        f"{BOUND.format('aliases.') if is_bound else ''}) AS found"
        f" WHERE place <= {MOST_SHOWN + 1} ORDER BY account_id, alias_id"
    )


def of_account(tx: Tx, actor: Actor, account: Account) -> Account:
    """Returns the account with its aliases, those that the key sees."""
    aliases, more = _shown(_of_accounts(tx, actor, ONE, {"id": account.id}).get(account.id, ()))
    return msgspec.structs.replace(account, aliases=aliases, aliases_more=more)


def of_rows(tx: Tx, actor: Actor, wanted: AccountFilter, **cut: Any) -> list[Row]:
    """Returns the rows of `queries.rows` with the aliases of each account, in two statements."""
    found = queries.rows(tx, actor, wanted, **cut)
    if wanted.deleted:  # their aliases rest
        return [(*row, (), False) for row in found]
    aliases = _of_accounts(tx, actor, *queries.statement(tx, actor, wanted, "id", **cut))
    return [(*row, *_shown(aliases.get(row[0], ()))) for row in found]


def _of_accounts(tx: Tx, actor: Actor, page: str, values: dict[str, Any]) -> dict[int, list[str]]:
    bound = actor.restricted_key_id
    values = {"organization": actor.organization_id, **({} if bound is None else {"bound": bound}), **values}
    sql = of_accounts_sql(page, bound is not None)
    found: dict[int, list[str]] = {}
    for account_id, address in tx.all(sql, **values):
        found.setdefault(account_id, []).append(address)
    return found


def _shown(addresses: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    return tuple(addresses[:MOST_SHOWN]), len(addresses) > MOST_SHOWN


def _hide(name: str, text: str) -> str:
    """Returns a condition that no index can serve. No column is null or needs its other value."""
    column, empty = COLUMNS_OF[name], "0" if name == "domain_id" else "''"
    return text.replace(f"AND {column} ", f"AND COALESCE({column}, {empty}) ")
