"""One page of a list of accounts. The query is checked once and becomes an AccountFilter."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.accounts import alias_pages, queries
from postroom.accounts.password_hashes import SCHEMES
from postroom.accounts.queries import AccountFilter
from postroom.api.context import RequestContext, resolve_user
from postroom.api.endpoints.account_views import ShownRows
from postroom.api.fields import FLAG, Order, is_newest, raise_if_any
from postroom.api.pagination import DEEP, next_link, read_page
from postroom.db import Row, Tx
from postroom.errors import FieldError
from postroom.parameters import (
    AddressPrefix,
    After,
    Deleted,
    DomainName,
    Fields,
    Limit,
    Offset,
    PasswordSchemeName,
    StatusName,
    UserId,
)
from postroom.tenants import usage

T = TypeVar("T")
STATUSES = ("active", "suspended", "disabled")


class DomainPageQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET
    status: Annotated[StatusName[str], Meta(extra_json_schema={"enum": list(STATUSES)})] | UnsetType = UNSET
    password_scheme: Annotated[PasswordSchemeName[str], Meta(extra_json_schema={"enum": list(SCHEMES)})] | UnsetType = (
        UNSET
    )
    q: AddressPrefix | UnsetType = UNSET
    order: Order = "oldest"
    limit: Limit = 50
    offset: Offset = 0
    after: After = 0
    fields: Fields | UnsetType = UNSET


class PageQuery(DomainPageQuery, frozen=True):
    domain: DomainName | UnsetType = UNSET
    deleted: Annotated[Deleted[str], FLAG] | UnsetType = UNSET


class AccountPage:
    """The page that a query asks for. Raises `invalid_request` with the problems of the query and
    those already in `problems`."""

    def __init__(
        self,
        context: RequestContext,
        query: DomainPageQuery,
        rows: ShownRows,
        problems: list[FieldError],
        deleted: str | UnsetType = UNSET,
    ) -> None:
        if deleted not in (UNSET, "true", "false"):
            problems.append(FieldError("deleted", "invalid", "Use true or false."))
        if query.status not in (UNSET, *STATUSES):
            problems.append(FieldError("status", "invalid", f"Use one of: {', '.join(STATUSES)}."))
        if query.password_scheme not in (UNSET, *SCHEMES):
            problems.append(FieldError("password_scheme", "invalid", f"Use one of: {', '.join(SCHEMES)}."))
        newest = is_newest(query.order, problems)
        raise_if_any(problems)
        self._context, self._query, self._rows = context, query, rows
        self.wanted = AccountFilter(
            user_id=resolve_user(context.actor, query.user_id),
            status=None if query.status is UNSET else query.status,
            password_scheme=None if query.password_scheme is UNSET else query.password_scheme,
            q=None if query.q is UNSET else query.q.lower(),
            deleted=deleted == "true",
            newest=newest,
        )

    async def read(self, work: Callable[[Tx], T]) -> T:
        """Runs the transaction that finds the page, outside the event loop if it may take long."""
        wanted, query = self.wanted, self._query
        is_filtered = wanted.deleted or (wanted.q, wanted.status, wanted.password_scheme) != (None, None, None)
        sums_all = self.wants_total and wanted.user_id is None  # a row for each domain of the organization
        slow = is_filtered or sums_all or query.offset > DEEP or self._context.actor.restricted_key_id is not None
        slow = slow or self._rows.has_aliases
        return await read_page(self._context, work, limit=query.limit, slow=slow)

    def find(self, tx: Tx, domain_id: int | None = None) -> list[Row]:
        """The rows of accounts of one domain or of all domains, and one more than the page holds if
        there is a next page."""
        wanted = self.wanted if domain_id is None else msgspec.structs.replace(self.wanted, domain_id=domain_id)
        page, actor = self._query, self._context.actor
        cut = {"limit": page.limit + 1, "offset": page.offset, "after": page.after}
        if self._rows.has_aliases:
            return alias_pages.of_rows(tx, actor, wanted, **cut)
        return queries.rows(tx, actor, wanted, self._rows.columns, **cut)

    @property
    def wants_total(self) -> bool:
        wanted = self.wanted
        uncounted = wanted.deleted or wanted.q is not None or wanted.password_scheme is not None
        return self._query.fields is not UNSET and not uncounted

    def total(self, tx: Tx, domain_id: int | None = None) -> int | UnsetType:
        """The length of the whole list, with `?fields=` and where a counter has it. Without
        `?fields=` an answer has the keys of the specification alone."""
        if not self.wants_total:
            return UNSET
        wanted = self.wanted
        return usage.of_list(tx, self._context.actor, wanted.user_id, domain_id, wanted.status)

    def shown(self, found: list[Row]) -> tuple[list[Any], tuple[tuple[bytes, bytes], ...]]:
        """The items of the answer, and the header that leads to the next page."""
        limit, rows = self._query.limit, found[: self._query.limit]
        headers = tuple(next_link(self._context, rows[-1][0], limit).items()) if len(found) > limit else ()
        return self._rows.show(rows), headers
