"""Send limits: to how many recipients an account may write, in an hour, in a day and in a message.

An account, its user and its organization each have such limits. The narrowest of the three applies
(docs/outbound.md).
"""

import msgspec
from msgspec import UNSET, UnsetType

Number = int | None
NumberToSet = int | UnsetType | None


class SendLimits(msgspec.Struct, frozen=True):
    """The limits of each account; None: no limit of this kind."""

    recipients_per_hour: Number = None
    recipients_per_day: Number = None
    new_recipients_per_day: Number = None
    recipients_per_message: Number = None

    def words(self) -> str:
        """Returns the limits of an hour and a day as a person reads them; empty without any."""
        pairs = ((self.recipients_per_hour, "an hour"), (self.recipients_per_day, "a day"))
        return " and ".join(f"{number:,} recipients {what}" for number, what in pairs if number is not None)


class SendTotals(msgspec.Struct, frozen=True):
    """The limits of the sum over all accounts; None: no limit."""

    recipients_per_hour: Number = None
    recipients_per_day: Number = None


class SetSendLimits(msgspec.Struct, frozen=True):
    """The limits to change; UNSET leaves a limit as it is, None removes the limit."""

    recipients_per_hour: NumberToSet = UNSET
    recipients_per_day: NumberToSet = UNSET
    new_recipients_per_day: NumberToSet = UNSET
    recipients_per_message: NumberToSet = UNSET

    def of(self, old: SendLimits) -> SendLimits:
        """Returns the limits after the change."""
        return msgspec.structs.replace(old, **_given(self))


class SetSendTotals(msgspec.Struct, frozen=True):
    """As SetSendLimits, for the sum over all accounts."""

    recipients_per_hour: NumberToSet = UNSET
    recipients_per_day: NumberToSet = UNSET

    def of(self, old: SendTotals) -> SendTotals:
        """Returns the limits after the change."""
        return msgspec.structs.replace(old, **_given(self))


def narrowest(*limits: SendLimits) -> SendLimits:
    """Returns the smallest limit of each kind."""
    kinds = zip(*map(msgspec.structs.astuple, limits), strict=True)
    return SendLimits(*(min((one for one in kind if one is not None), default=None) for kind in kinds))


def _given(command: msgspec.Struct) -> dict[str, Number]:
    return {name: number for name, number in msgspec.structs.asdict(command).items() if number is not UNSET}
