"""The struct of an account: the only place that declares the fields of an account.

The columns in SQL, the projections of the API (`api/endpoints/account_views.py`) and the client's
struct are derived from it (decision 0193).
"""

from typing import Literal

import msgspec

from postroom.accounts.password_hashes import PasswordScheme
from postroom.accounts.protocols import Protocols, of_column
from postroom.db import Row
from postroom.tenants.send_limits import SendLimits

Status = Literal["active", "suspended", "disabled"]


class Account(msgspec.Struct, frozen=True):
    """One account. Times are in milliseconds since 1970 UTC."""

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
    quota_bytes: int | None = None
    quota_messages: int | None = None
    over_quota_at: int | None = None  # since when the mailbox is full
    password_scheme: PasswordScheme | None = None
    protocols_off: str = ""  # separated by commas
    main_password: bool = True
    may_send: bool = True
    recipients_per_hour: int | None = None
    recipients_per_day: int | None = None
    new_recipients_per_day: int | None = None
    recipients_per_message: int | None = None
    send_blocked_at: int | None = None  # since when a limit that was reached for too long stops all mail
    aliases: tuple[str, ...] = ()  # the first addresses, only where alias_pages.py adds them
    aliases_more: bool = False
    sessions_ended: bool | None = None  # by the change just made; None if no session had to end

    @property
    def local_part(self) -> str:
        return self.address.rpartition("@")[0]

    @property
    def domain(self) -> str:
        return self.address.rpartition("@")[2]

    @property
    def protocols(self) -> Protocols:
        return of_column(self.protocols_off)

    @property
    def send_limits(self) -> SendLimits:
        return SendLimits(
            self.recipients_per_hour, self.recipients_per_day, self.new_recipients_per_day, self.recipients_per_message
        )


# The fields of `?fields=*`, in this order. The API never returns a field that is missing here.
SHOWN = (
    *("id", "user_id", "domain", "local_part", "address", "display_name", "status", "is_default"),
    *("created_at", "updated_at", "deleted_at", "purge_at", "last_login_at", "quota_bytes", "quota_messages"),
    *("password_scheme", "protocols", "main_password", "may_send", "send_limits", "send_blocked_at"),
    *("aliases", "aliases_more", "sessions_ended"),
)
COLUMNS = ", ".join(name for name in Account.__struct_fields__ if name not in SHOWN[-3:])


def from_row(row: Row) -> Account:
    """Returns an account from a row of COLUMNS, which its aliases may follow."""
    account = Account(*row)
    # Both engines store 0 or 1. Copying the struct would take twice as long.
    msgspec.structs.force_setattr(account, "is_default", account.is_default == 1)
    msgspec.structs.force_setattr(account, "main_password", account.main_password == 1)
    msgspec.structs.force_setattr(account, "may_send", account.may_send == 1)
    return account
