"""The answers of the API as the client returns them: accounts and domains with all fields, times as
`datetime`.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import datetime
from typing import Any

from postroom.client.limit_shapes import SendLimits, Sent
from postroom.client.shape import Shape


class Protocols(Shape, frozen=True):
    """Which protocols an account can be used with, by any of its passwords."""

    imap: bool
    pop3: bool
    smtp: bool
    sieve: bool


class Account(Shape, frozen=True):
    id: int
    user_id: str
    domain: str
    local_part: str
    address: str
    display_name: str | None
    status: str
    is_default: bool
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    purge_at: datetime | None
    last_login_at: datetime | None
    quota_bytes: int | None
    quota_messages: int | None
    password_scheme: str | None
    protocols: Protocols
    main_password: bool
    may_send: bool
    send_limits: SendLimits
    send_blocked_at: datetime | None
    aliases: tuple[str, ...]
    aliases_more: bool
    sessions_ended: bool | None


class Availability(Shape, frozen=True):
    """`reason` is the code with which a create would be refused, or null."""

    available: bool
    reason: str | None


class UserProgress(Shape, frozen=True):
    """What this call has done, and what is left for the next one."""

    user_id: str
    done: bool
    accounts: int
    accounts_left: int
    domains: int
    domains_left: int
    sessions_ended: bool | None


class Usage(Shape, frozen=True):
    """The size of the mail in all folders, the quotas, whether the active Sieve script redirects
    mail, and what the account has sent."""

    id: int
    address: str
    used_bytes: int
    messages: int
    forwards_by_script: bool
    quota_bytes: int | None
    quota_messages: int | None
    over_quota: bool
    sent: Sent


class OpenSession(Shape, frozen=True):
    """One connection that has logged in; `protocol` is `imap`, `pop3` or `managesieve`."""

    protocol: str
    client_address: str


class OpenSessions(Shape, frozen=True):
    """The sessions that are open now."""

    id: int
    address: str
    sessions: list[OpenSession]


class MailServer(Shape, frozen=True):
    """One way to reach a service: `tls` uses TLS from the first byte, `starttls` begins in plain
    text and switches to TLS."""

    host: str
    port: int
    security: str
    username: str
    authentication: str


class ClientSettings(Shape, frozen=True):
    """Each service lists its best option first. Only the answers of create and reset contain the
    password."""

    id: int
    address: str
    display_name: str | None
    imap: list[MailServer]
    pop3: list[MailServer]
    submission: list[MailServer]
    managesieve: list[MailServer]


class AccountWithPassword(Shape, frozen=True):
    """Only this call's answer has the password."""

    account: Account
    password: str | None
    note: str
    setup_url: str | None = None
    setup_expires_at: datetime | None = None


class ShownAccount(Shape, frozen=True):
    account: Account


class DeletedAccount(Shape, frozen=True):
    deleted: Account


class Alias(Shape, frozen=True):
    """An alias."""

    id: int
    address: str
    domain: str
    local_part: str
    kind: str
    user_id: str
    account_ids: tuple[int, ...]
    may_send: bool
    expires_at: datetime | None
    name: str | None
    created_at: datetime
    updated_at: datetime


class ShownAliasAnswer(Shape, frozen=True):
    alias: Alias


class AliasName(Shape, frozen=True):
    id: int
    address: str


class DeletedAlias(Shape, frozen=True):
    deleted: AliasName


class Resolution(Shape, frozen=True):
    """Where mail to an address would go. `reason` says why mail is refused; None if it is
    accepted."""

    address: str
    kind: str
    account_ids: tuple[int, ...]
    accepted: bool
    reason: str | None


class Forwarding(Shape, frozen=True):
    """To whom mail is forwarded, and whether a copy stays in the mailbox."""

    enabled: bool
    to: list[str]
    keep_copy: bool
    updated_at: datetime | None


class ForwardingAnswer(Shape, frozen=True):
    forwarding: Forwarding


class Vacation(Shape, frozen=True):
    """The reply to mail. `active_now` says whether mail is replied to at the moment."""

    enabled: bool
    subject: str | None
    text: str
    from_at: datetime | None
    until_at: datetime | None
    days: int
    active_now: bool
    updated_at: datetime | None


class VacationAnswer(Shape, frozen=True):
    vacation: Vacation


class DomainName(Shape, frozen=True):
    domain: str
    status: str


class Domain(Shape, frozen=True):
    id: int
    domain: str
    user_id: str | None
    status: str
    activated_by: str | None
    degraded_at: datetime | None
    degraded_reason: str | None
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime


class Record(Shape, frozen=True):
    """A record that a domain needs. `host` is relative to the domain, `@` is the domain itself;
    `priority` is that of an MX (RFC 5321) or SRV (RFC 2782)."""

    record_type: str
    host: str
    expected_value: str
    required: bool
    purpose: str
    priority: int | None = None


class CheckedRecord(Record, frozen=True, kw_only=True):
    """A required or recommended record, the values that were found, and how to fix it."""

    status: str
    found: tuple[str, ...]
    fix: str | None


class InboundRoute(Shape, frozen=True):
    """How mail to the domain is handled. `webhook_url` is there unless mail is only stored, or the
    key is bound to a user and the domain is the platform's."""

    domain: str
    forward_mode: str
    webhook_url: str | None = None


class MailExchanger(Shape, frozen=True):
    host: str
    priority: int


class DomainInfo(Shape, frozen=True):
    """A domain and the records that its DNS must hold."""

    domain: Domain
    dns: list[Record]
    route: InboundRoute
    mx: MailExchanger


class CreatedDomain(Shape, frozen=True):
    domain: DomainInfo


class DomainChecked(Shape, frozen=True):
    domain: DomainName
    dns: list[CheckedRecord]
    route: InboundRoute
    mx: MailExchanger


class DeletedDomain(Shape, frozen=True):
    deleted: str


class RouteSet(Shape, frozen=True):
    """`webhook_secret` is there only if this call made one."""

    route: InboundRoute
    webhook_secret: str | None = None


class Consent(Shape, frozen=True):
    subdomain: str


class DkimRecord(Shape, frozen=True):
    """The DNS record of a DKIM key, shown like the domain's other records. `state` says what to do
    with it: publish a `next` record, keep a `signing` one, and keep a `retiring` one until
    `remove_after`."""

    host: str
    expected_value: str
    required: bool
    selector: str
    state: str
    remove_after: datetime | None
    record_type: str
    purpose: str


class DomainKeys(Shape, frozen=True):
    domain: str
    dkim: list[DkimRecord]


class Key(Shape, frozen=True):
    id: int
    prefix: str
    name: str | None
    user_id: str | None
    scopes: tuple[str, ...]
    domains: tuple[str, ...] | None
    networks: tuple[str, ...] | None
    parent_id: int | None
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None


class KeyWithSecret(Shape, frozen=True):
    """Only this call's answer has the key itself, `api_key`."""

    key: Key
    api_key: str
    note: str


class KeyName(Shape, frozen=True):
    id: int
    prefix: str


class DeletedKey(Shape, frozen=True):
    deleted: KeyName


class Event(Shape, frozen=True):
    id: int
    type: str
    account_id: int | None
    domain_id: int | None
    user_id: str | None
    key_id: int | None
    request_id: str | None
    client_address: str | None
    data: dict[str, Any]
    created_at: datetime


class AccountCount(Shape, frozen=True):
    """The number of live accounts by status."""

    total: int
    active: int
    suspended: int
    disabled: int


class DomainCount(Shape, frozen=True):
    domain: str
    accounts: AccountCount


class Stats(Shape, frozen=True):
    accounts: AccountCount
    domains: list[DomainCount]


class Alive(Shape, frozen=True):
    status: str


class Readiness(Shape, frozen=True):
    """`parts` gives `ok` for each part, or the reason why not; `instance` is new at every start."""

    status: str
    instance: str
    parts: dict[str, str]
