"""Send limits in a body: of an account, of each account of a user, and of all accounts together."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.parameters import SendNumber
from postroom.tenants.send_limits import SetSendLimits, SetSendTotals

PerHour = Annotated[SendNumber, Meta(description="To how many recipients in an hour.", examples=[200])]
PerDay = Annotated[SendNumber, Meta(description="To how many recipients in a day (UTC).", examples=[1000])]
NewPerDay = Annotated[
    SendNumber, Meta(description="To how many recipients in a day that were not written to for 60 days.", examples=[50])
]
PerMessage = Annotated[SendNumber, Meta(description="How many recipients one message may have.", examples=[100])]


class SendLimitsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits to set; absent ones stay as they are, null removes one."""

    recipients_per_hour: PerHour | UnsetType | None = UNSET
    recipients_per_day: PerDay | UnsetType | None = UNSET
    new_recipients_per_day: NewPerDay | UnsetType | None = UNSET
    recipients_per_message: PerMessage | UnsetType | None = UNSET

    def command(self) -> SetSendLimits:
        return SetSendLimits(*msgspec.structs.astuple(self))


class SendTotalsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits of all accounts together; absent ones stay as they are, null removes one."""

    recipients_per_hour: PerHour | UnsetType | None = UNSET
    recipients_per_day: PerDay | UnsetType | None = UNSET

    def command(self) -> SetSendTotals:
        return SetSendTotals(*msgspec.structs.astuple(self))
