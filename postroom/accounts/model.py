"""An account as a row. Who lists accounts reads the same columns as who changes them."""

from typing import Literal

import msgspec

from postroom.db import Row

Status = Literal["active", "suspended", "disabled"]

COLUMNS = """id, organization_id, domain_id, user_id, address, display_name, status, generation, created_at,
  updated_at, is_default, deleted_at, purge_at, last_login_at"""


class Account(msgspec.Struct, frozen=True):
    """A mailbox account. Times are in milliseconds since 1970 UTC."""

    id: int
    organization_id: int
    domain_id: int
    user_id: str
    address: str
    display_name: str | None
    status: Status
    generation: int
    created_at: int
    updated_at: int
    is_default: bool
    deleted_at: int | None = None
    purge_at: int | None = None
    last_login_at: int | None = None
    sessions_ended: bool | None = None  # of the change just made; None where none had to end

    @property
    def local_part(self) -> str:
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]


def from_row(row: Row) -> Account:
    """An account from a row of COLUMNS."""
    # Spelled out: with slices and stars it takes twice as long, and a page has fifty.
    id_, org, domain, user, address, name, status, generation, created, updated, default, deleted, purge, login = row
    is_default = default == 1
    return Account(
        id_, org, domain, user, address, name, status, generation, created, updated, is_default, deleted, purge, login
    )
