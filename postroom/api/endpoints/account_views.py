"""The shapes of an account in answers: by default exactly the keys of each endpoint's
documentation, with `?fields=` the full resource in snake_case.

Create answers with `userId` and `isDefault` by default, because the specification does.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from postroom.accounts import alias_pages
from postroom.accounts.model import COLUMNS, SHOWN, Account, from_row
from postroom.actor import Actor
from postroom.api.fields import projection as fields_projection
from postroom.api.projections import derive, filler, readers
from postroom.db import Row, Tx

NOTE = "Save this password now. It will not be shown again."
SETUP_NOTE = "The link works once, until setup_expires_at. Send it to the owner alone, who sets the password with it."
NOBODY_NOTE = "Nobody can log in until a password is set: reset it, or make a setup link."
IMPORTED_NOTE = "The password is the one that the hash was made of. Postroom does not know it."

CreatedAccount = derive(
    "CreatedAccount",
    Account,
    ("id", "user_id", "domain", "local_part", "address", "display_name", "status", "is_default"),
    rename={"user_id": "userId", "is_default": "isDefault"},
)
ListedAccount: Any = derive("ListedAccount", Account, ("id", "user_id", "domain", "address"))
DomainsAccount: Any = derive("DomainsAccount", Account, ("id", "domain", "local_part", "address"))
UpdatedAccount = derive("UpdatedAccount", Account, ("id", "domain", "address", "status"))
ResetAccount = derive("ResetAccount", Account, ("id", "domain", "address"))
DeletedAccount = derive("DeletedAccount", Account, ("id", "address"))
FullAccount = derive("FullAccount", Account, SHOWN, doc="Every field that `?fields=` knows.")

created, listed = filler(CreatedAccount), filler(ListedAccount)
updated, reset, deleted = filler(UpdatedAccount), filler(ResetAccount), filler(DeletedAccount)
FIELDS = readers(FullAccount)


def projection(
    actor: Actor, fields: str | msgspec.UnsetType, default: Callable[[Account], Any]
) -> Callable[[Tx, Account], Any]:
    """The function that shows an account for this `?fields=`: in the default shape, with all fields
    (`*`) or with the named ones. Raises `invalid_request`."""
    show = fields_projection(fields, default, FIELDS)
    if not _names_aliases(fields):
        return lambda _tx, account: show(account)
    return lambda tx, account: show(alias_pages.of_account(tx, actor, account))


def _names_aliases(fields: str | msgspec.UnsetType) -> bool:
    return fields is not msgspec.UNSET and (fields == "*" or "aliases" in fields)


class ShownRows(NamedTuple):
    """How a list shows its accounts: the columns that it reads, of which `id` is the first, and the
    items that it makes of the rows. A struct of each whole account would take half of the time of a
    list (decision 0244)."""

    columns: str
    show: Callable[[list[Row]], list[Any]]
    has_aliases: bool = False


listed_rows = ShownRows(
    "id, user_id, address",
    lambda rows: [ListedAccount(id_, user, text.rpartition("@")[2], text) for id_, user, text in rows],
)
domain_rows = ShownRows(
    "id, address",
    lambda rows: [
        DomainsAccount(id_, domain, local_part, text)
        for id_, text in rows
        for local_part, _, domain in (text.rpartition("@"),)
    ],
)


def shown_rows(fields: str | msgspec.UnsetType, default: ShownRows) -> ShownRows:
    """How a list shows its accounts for this `?fields=`. Raises `invalid_request`."""
    if fields is msgspec.UNSET:
        return default
    show = fields_projection(fields, listed, FIELDS)
    return ShownRows(COLUMNS, lambda rows: [show(from_row(row)) for row in rows], _names_aliases(fields))
