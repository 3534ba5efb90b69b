"""How an account looks on the wire: by default exactly the keys of each endpoint's documentation,
with `?fields=` the full resource in snake_case.

Create answers `userId` and `isDefault` by default, because the specification does.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from postroom.accounts.model import Account, Status
from postroom.api.fields import shape as fields_shape

NOTE = "Save this password now. It will not be shown again."


class CreatedAccount(msgspec.Struct, frozen=True):
    id: int
    userId: str
    domain: str
    local_part: str
    address: str
    display_name: str | None
    status: Status
    isDefault: bool


class ListedAccount(msgspec.Struct, frozen=True):
    id: int
    user_id: str
    domain: str
    address: str


class DomainsAccount(msgspec.Struct, frozen=True):
    id: int
    domain: str
    local_part: str
    address: str


class UpdatedAccount(msgspec.Struct, frozen=True):
    id: int
    domain: str
    address: str
    status: Status


class ResetAccount(msgspec.Struct, frozen=True):
    id: int
    domain: str
    address: str


class DeletedAccount(msgspec.Struct, frozen=True):
    id: int
    address: str


class FullAccount(msgspec.Struct, frozen=True):
    """Every field that `?fields=` knows."""

    id: int
    user_id: str
    domain: str
    local_part: str
    address: str
    display_name: str | None
    status: Status
    is_default: bool
    created_at: str
    updated_at: str
    deleted_at: str | None
    purge_at: str | None
    last_login_at: str | None
    sessions_ended: bool | None


def created(account: Account) -> CreatedAccount:
    return CreatedAccount(
        account.id,
        account.user_id,
        account.domain,
        account.local_part,
        account.address,
        account.display_name,
        account.status,
        account.is_default,
    )


def listed(account: Account) -> ListedAccount:
    address = account.address
    return ListedAccount(account.id, account.user_id, address.rpartition("@")[2], address)


def of_domain(account: Account) -> DomainsAccount:
    return DomainsAccount(account.id, account.domain, account.local_part, account.address)


def updated(account: Account) -> UpdatedAccount:
    return UpdatedAccount(account.id, account.domain, account.address, account.status)


def reset(account: Account) -> ResetAccount:
    return ResetAccount(account.id, account.domain, account.address)


def deleted(account: Account) -> DeletedAccount:
    return DeletedAccount(account.id, account.address)


def timestamp(milliseconds: int) -> str:
    """RFC 3339 in UTC, with milliseconds."""
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


FIELDS: dict[str, Callable[[Account], Any]] = {
    "id": lambda a: a.id,
    "user_id": lambda a: a.user_id,
    "domain": lambda a: a.domain,
    "local_part": lambda a: a.local_part,
    "address": lambda a: a.address,
    "display_name": lambda a: a.display_name,
    "status": lambda a: a.status,
    "is_default": lambda a: a.is_default,
    "created_at": lambda a: timestamp(a.created_at),
    "updated_at": lambda a: timestamp(a.updated_at),
    "deleted_at": lambda a: a.deleted_at and timestamp(a.deleted_at),
    "purge_at": lambda a: a.purge_at and timestamp(a.purge_at),
    "last_login_at": lambda a: a.last_login_at and timestamp(a.last_login_at),
    "sessions_ended": lambda a: a.sessions_ended,
}


def shape(fields: str | msgspec.UnsetType, default: Callable[[Account], Any]) -> Callable[[Account], Any]:
    """How to show an account for this `?fields=`: the default shape, all fields (`*`) or the
    named ones."""
    return fields_shape(fields, default, FIELDS)
