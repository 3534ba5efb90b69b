"""The body of the request that changes an account."""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts.commands import UpdateAccount
from postroom.accounts.model import Status
from postroom.accounts.renames import Rename
from postroom.accounts.send_rights import SetSendRights
from postroom.api.decoding import check_display_name
from postroom.api.endpoints.account_bodies import SwitchesBody, switches
from postroom.api.endpoints.send_limit_bodies import SendLimitsBody
from postroom.api.fields import parse_address
from postroom.errors import FieldError
from postroom.parameters import (
    AllowReserved,
    DisplayName,
    DomainName,
    FormerDays,
    IsDefault,
    KeepFormer,
    LocalPart,
    MainPassword,
    MaySendMail,
    ProtocolSwitches,
    QuotaBytes,
    QuotaMessages,
    QuotaNumber,
    SendBlocked,
    SendLimitsToSet,
    StatusName,
    UserId,
)


class UpdateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET
    display_name: DisplayName | UnsetType | None = UNSET
    status: StatusName[Status] | UnsetType = UNSET
    is_default: IsDefault | UnsetType = UNSET
    local_part: LocalPart | UnsetType = UNSET
    domain: DomainName | UnsetType = UNSET
    keep_former: KeepFormer | UnsetType = UNSET
    former_days: FormerDays | None = None
    allow_reserved: AllowReserved = False
    quota_bytes: QuotaBytes[QuotaNumber] | UnsetType | None = UNSET
    quota_messages: QuotaMessages[QuotaNumber] | UnsetType | None = UNSET
    protocols: ProtocolSwitches[SwitchesBody] | UnsetType = UNSET
    main_password: MainPassword | UnsetType = UNSET
    may_send: MaySendMail | UnsetType = UNSET
    send_limits: SendLimitsToSet[SendLimitsBody] | UnsetType = UNSET
    send_blocked: SendBlocked | UnsetType = UNSET


def parse(body: UpdateBody, problems: list[FieldError]) -> tuple[Rename | None, UpdateAccount]:
    """The rename that the request asks for, if any, and the other changes."""
    name = body.display_name
    if isinstance(name, str) and (problem := check_display_name(name)):
        problems.append(problem)
    if body.is_default is False:
        problems.append(FieldError("is_default", "invalid", "Make another account the default instead."))
    if body.send_blocked is True:
        problems.append(FieldError("send_blocked", "invalid", "Send may_send: false instead."))
    default: Literal[True] | UnsetType = True if body.is_default is True else UNSET
    command = UpdateAccount(name, body.status, default, switches=switches(body.protocols, body.main_password))
    return _rename(body, problems), command


def send_rights(body: UpdateBody) -> SetSendRights:
    """The send rights that the request sets."""
    limits = (SendLimitsBody() if body.send_limits is UNSET else body.send_limits).command()
    return SetSendRights(body.may_send, limits, body.send_blocked is False)


def _rename(body: UpdateBody, problems: list[FieldError]) -> Rename | None:
    local_part, domain = body.local_part, body.domain
    is_renamed = local_part is not UNSET or domain is not UNSET
    if body.former_days is not None and (body.keep_former is False or not is_renamed):
        problems.append(FieldError("former_days", "invalid", "Send it with a new address whose old one is kept."))
    if not is_renamed:
        return None
    address = parse_address(
        "x.test" if domain is UNSET else domain, "x" if local_part is UNSET else local_part, problems
    )
    return Rename(
        local_part=None if local_part is UNSET else address.local_part,
        domain=None if domain is UNSET else address.domain,
        keep_former=body.keep_former is not False,
        former_days=body.former_days,
        allow_reserved=body.allow_reserved,
    )
