"""The bodies of the requests that make, reset, restore and delete accounts, and the switches of an
account in a body."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.accounts.protocols import PROTOCOLS
from postroom.accounts.switches import SetSwitches
from postroom.api.endpoints.account_password import CREDENTIALS
from postroom.parameters import (
    AllowReserved,
    Credential,
    DisableScripts,
    DisplayName,
    DomainName,
    Id,
    LocalPart,
    MainPassword,
    Password,
    PasswordHash,
    ProtocolSwitches,
    Purge,
    QuotaBytes,
    QuotaMessages,
    QuotaNumber,
    RevokeAppPasswords,
    UserId,
)

Switch = Annotated[bool, Meta(description="True: on. False: off, for every password.", examples=[False])]


class SwitchesBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The protocols to switch on (true) or off (false); absent ones stay as they are."""

    imap: Switch | UnsetType = UNSET
    pop3: Switch | UnsetType = UNSET
    smtp: Switch | UnsetType = UNSET
    sieve: Switch | UnsetType = UNSET


class CreateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    domain: DomainName
    local_part: LocalPart
    user_id: UserId | UnsetType = UNSET
    display_name: DisplayName | None = None
    password: Password | UnsetType = UNSET
    password_hash: PasswordHash | UnsetType = UNSET
    allow_reserved: AllowReserved = False
    quota_bytes: QuotaBytes[QuotaNumber] | UnsetType | None = UNSET
    quota_messages: QuotaMessages[QuotaNumber] | None = None
    credential: Annotated[Credential[str], Meta(extra_json_schema={"enum": list(CREDENTIALS)})] = "password"
    protocols: ProtocolSwitches[SwitchesBody] | UnsetType = UNSET
    main_password: MainPassword = True


class DeleteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Id
    user_id: UserId | UnsetType = UNSET
    purge: Purge = False


class RestoreBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class SignOutBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class ResetBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET
    password: Password | UnsetType = UNSET
    password_hash: PasswordHash | UnsetType = UNSET
    disable_scripts: DisableScripts = False
    revoke_app_passwords: RevokeAppPasswords = False


def switches(protocols: SwitchesBody | UnsetType, main_password: bool | UnsetType) -> SetSwitches:
    """The switches that a request sets."""
    sent = {} if protocols is UNSET else {name: getattr(protocols, name) for name in PROTOCOLS}
    return SetSwitches({name: is_on for name, is_on in sent.items() if is_on is not UNSET}, main_password)
