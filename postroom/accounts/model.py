"""An account: the one place that declares its fields.

The columns of the SQL, the projections of the API (`api/endpoints/account_views.py`) and the
client's struct follow from here (decision 0193).
"""

from typing import Literal

import msgspec

from postroom.db import Row

Status = Literal["active", "suspended", "disabled"]


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


# What `?fields=*` answers, in this order. A field that is not named here is never answered.
SHOWN = (
    *("id", "user_id", "domain", "local_part", "address", "display_name", "status", "is_default"),
    *("created_at", "updated_at", "deleted_at", "purge_at", "last_login_at", "sessions_ended"),
)
COLUMNS = ", ".join(name for name in Account.__struct_fields__ if name != "sessions_ended")


def from_row(row: Row) -> Account:
    """An account from a row of COLUMNS."""
    account = Account(*row)
    # Both engines store 0 or 1. A copy of the struct would take twice as long.
    msgspec.structs.force_setattr(account, "is_default", account.is_default == 1)
    return account
