"""Limits: how many domains and accounts an organization, or one of its users, may have.

Only the operator sets the limits of a whole organization (user `''`); a key sets the limits of
single users. A limit below the present number removes nothing and refuses anything new.
"""

import msgspec
from msgspec import UNSET, UnsetType

from postroom import events
from postroom.actor import Actor
from postroom.db import Tx
from postroom.errors import LimitReached
from postroom.tenants import organizations, usage
from postroom.tenants.send_limits import SendLimits, SendTotals, SetSendLimits, SetSendTotals

ORGANIZATION = ""
# Maximum number of pending claims of an organization and of a user, where no limit on domains is
# set. Each claim costs a DKIM key and DNS checks.
PENDING, PENDING_OF_USER = 5000, 500
# Maximum number of aliases of one account, where no limit is set.
ALIASES_PER_ACCOUNT = 50

# What each account of a new organization may send, unless the operator says otherwise.
NEW_ORGANIZATION = SetSendLimits(recipients_per_hour=200, recipients_per_day=1000)

NUMBERS = ("domains", "accounts", "accounts_per_domain", "aliases_per_account", "quota_bytes", "storage_bytes")
# The columns of the send limits: of each account, and of all accounts together.
SEND = "recipients_per_hour, recipients_per_day, new_recipients_per_day, recipients_per_message"
SEND_TOTALS = "total_recipients_per_hour, total_recipients_per_day"
GET = f"""
SELECT domains, accounts, accounts_per_domain, aliases_per_account, quota_bytes, storage_bytes, {SEND}, {SEND_TOTALS}
FROM limits WHERE organization_id = :organization AND user_id = :user_id"""
SET = f"""
INSERT INTO limits (
  organization_id, user_id, domains, accounts, accounts_per_domain, aliases_per_account, quota_bytes, storage_bytes,
  {SEND}, {SEND_TOTALS})
VALUES (
  :organization, :user_id, :domains, :accounts, :accounts_per_domain, :aliases_per_account, :quota_bytes,
  :storage_bytes, :recipients_per_hour, :recipients_per_day, :new_recipients_per_day, :recipients_per_message,
  :total_recipients_per_hour, :total_recipients_per_day)
ON CONFLICT (organization_id, user_id) DO UPDATE
SET domains = excluded.domains, accounts = excluded.accounts, accounts_per_domain = excluded.accounts_per_domain,
  aliases_per_account = excluded.aliases_per_account, quota_bytes = excluded.quota_bytes,
  storage_bytes = excluded.storage_bytes, recipients_per_hour = excluded.recipients_per_hour,
  recipients_per_day = excluded.recipients_per_day, new_recipients_per_day = excluded.new_recipients_per_day,
  recipients_per_message = excluded.recipients_per_message,
  total_recipients_per_hour = excluded.total_recipients_per_hour,
  total_recipients_per_day = excluded.total_recipients_per_day"""
APPLY = """
SELECT user_id, domains, accounts, accounts_per_domain, aliases_per_account, quota_bytes, storage_bytes FROM limits
WHERE organization_id = :organization AND user_id IN ('', :user_id)"""
SENDING = f"""
SELECT user_id, {SEND}, {SEND_TOTALS} FROM limits
WHERE organization_id = :organization AND user_id IN ('', :user_id) ORDER BY user_id DESC"""
APPLICABLE = """
limits.organization_id = :organization AND limits.user_id IN ('', :user_id)
  AND (limits.domains IS NOT NULL OR limits.accounts IS NOT NULL OR limits.accounts_per_domain IS NOT NULL
    OR limits.quota_bytes IS NOT NULL OR limits.storage_bytes IS NOT NULL)"""
LIMITS_EXIST = f"EXISTS (SELECT 1 FROM limits WHERE {APPLICABLE})"
# An update that changes nothing: where there is a limit, one transaction at a time counts. Without
# a limit no transaction waits (decision 0106).
LOCK = f"""
UPDATE limits SET domains = domains WHERE {APPLICABLE}
RETURNING user_id, domains, accounts, accounts_per_domain, aliases_per_account, quota_bytes, storage_bytes"""
COUNT_DOMAINS = """
SELECT COUNT(*) FROM domains
WHERE organization_id = :organization AND deleted_at IS NULL
  AND COALESCE(user_id, '') = COALESCE(:user_id, user_id, '')"""

COUNT_PENDING = """
SELECT COUNT(*), COUNT(CASE WHEN user_id = :user_id THEN 1 END) FROM domains
WHERE organization_id = :organization AND deleted_at IS NULL AND status = 'pending'"""


class Limits(msgspec.Struct, frozen=True):
    """The limits of a user or an organization; None means no limit. `quota_bytes` is the quota of
    accounts that are made without one, `storage_bytes` the largest sum of all quotas. `send_limits`
    is for each account, `send_limits_total` for all accounts together."""

    domains: int | None = None
    accounts: int | None = None
    accounts_per_domain: int | None = None
    aliases_per_account: int | None = None
    quota_bytes: int | None = None
    storage_bytes: int | None = None
    send_limits: SendLimits = SendLimits()
    send_limits_total: SendTotals = SendTotals()


class SetLimits(msgspec.Struct, frozen=True):
    """The limits to change; UNSET leaves a limit as it is, None removes the limit."""

    domains: int | UnsetType | None = UNSET
    accounts: int | UnsetType | None = UNSET
    accounts_per_domain: int | UnsetType | None = UNSET
    aliases_per_account: int | UnsetType | None = UNSET
    quota_bytes: int | UnsetType | None = UNSET
    storage_bytes: int | UnsetType | None = UNSET
    send_limits: SetSendLimits = SetSendLimits()
    send_limits_total: SetSendTotals = SetSendTotals()

    def of(self, old: Limits) -> Limits:
        """Returns the limits after the change."""
        given = {name: number for name, number in msgspec.structs.asdict(self).items() if number is not UNSET}
        given["send_limits"] = self.send_limits.of(old.send_limits)
        given["send_limits_total"] = self.send_limits_total.of(old.send_limits_total)
        return msgspec.structs.replace(old, **given)


def get(tx: Tx, organization_id: int, user_id: str | None) -> Limits:
    """Returns the limits of a user, or of the organization as a whole."""
    row = tx.one(GET, organization=organization_id, user_id=user_id or ORGANIZATION)
    if row is None:
        return Limits()
    numbers = dict(zip(NUMBERS, row, strict=False))
    return Limits(**numbers, send_limits=SendLimits(*row[6:10]), send_limits_total=SendTotals(*row[10:]))


def change(tx: Tx, actor: Actor, user_id: str | None, command: SetLimits) -> Limits:
    """Sets the given limits and returns all limits. Values that are already set change nothing."""
    old = get(tx, actor.organization_id, user_id)
    new = command.of(old)
    if new != old:
        data = msgspec.structs.asdict(new)
        tx.run(SET, organization=actor.organization_id, user_id=user_id or ORGANIZATION, **_columns(new))
        events.record(tx, actor, "limits.changed", user_id=user_id, data=data)
    return new


def begin(tx: Tx, organization_id: int) -> None:
    """Sets the limits of an organization that was just made."""
    change(tx, Actor(organization_id), None, SetLimits(send_limits=NEW_ORGANIZATION))


def check_account(
    tx: Tx, organization_id: int, user_id: str, domain_id: int, quota_bytes: int | UnsetType | None
) -> int | None:
    """Returns the quota of one more account in bytes: the given one, or for UNSET the default of
    the user, else of the organization. Raises LimitReached if the account would be too many, or its
    quota too large. Where there is a limit, the result holds until the commit."""
    applying = _applying(tx, LOCK, organization_id, user_id)
    if quota_bytes is UNSET:
        defaults = {who: limits.quota_bytes for who, limits in applying if limits.quota_bytes is not None}
        quota_bytes = defaults.get(user_id, defaults.get(None))
    for who, limits in applying:
        _check_storage(tx, organization_id, who, limits, 0, quota_bytes)
        if limits.accounts is not None and usage.totals(tx, Actor(organization_id), who).total >= limits.accounts:
            raise LimitReached("accounts", limits.accounts)
        _check_domain(tx, organization_id, who, domain_id, limits.accounts_per_domain)
    return quota_bytes


def check_place(tx: Tx, organization_id: int, user_id: str, domain_id: int) -> None:
    """Raises LimitReached if one more account on the domain would be too many. Where there is a
    limit, the result holds until the commit."""
    for who, limits in _applying(tx, LOCK, organization_id, user_id):
        _check_domain(tx, organization_id, who, domain_id, limits.accounts_per_domain)


def lock(tx: Tx, organization_id: int, user_id: str) -> None:
    """Locks the limits of a user and of the organization until the end of the transaction."""
    tx.run(LOCK, organization=organization_id, user_id=user_id)


def check_quota(tx: Tx, organization_id: int, user_id: str, old: int | None, new: int | None) -> None:
    """Raises LimitReached if a live account may not have the quota `new` (bytes) in place of
    `old`. Where there is a limit, the result holds until the commit."""
    for who, limits in _applying(tx, LOCK, organization_id, user_id):
        _check_storage(tx, organization_id, who, limits, old, new)


def check_domain(tx: Tx, organization_id: int, user_id: str | None, *, looks: bool = False) -> None:
    """Raises LimitReached if one more domain would be too many. With `looks`, nothing is locked, so
    the result is only a hint."""
    for who, limits in _applying(tx, APPLY if looks else LOCK, organization_id, user_id or ORGANIZATION):
        if limits.domains is not None:
            row = tx.one(COUNT_DOMAINS, organization=organization_id, user_id=who)
            if row and row[0] >= limits.domains:
                raise LimitReached("domains", limits.domains)


def check_claim(tx: Tx, organization_id: int, user_id: str, *, looks: bool = False) -> None:
    """Raises LimitReached if one more claim would be too many. Where a limit on domains is set,
    only that limit applies. An organization's claims always have a bound, so its claims are made
    one at a time."""
    if not looks:
        organizations.lock(tx, organization_id)
    limited = {who for who, limits in _applying(tx, APPLY, organization_id, user_id) if limits.domains is not None}
    counted = tx.one(COUNT_PENDING, organization=organization_id, user_id=user_id) or (0, 0)
    for who, pending, most in zip((None, user_id), counted, (PENDING, PENDING_OF_USER), strict=True):
        if who not in limited and pending >= most:
            raise LimitReached("pending_domains", most)


def aliases_per_account(tx: Tx, organization_id: int, user_id: str) -> int:
    """Returns how many aliases each account of the user may have."""
    applying = _applying(tx, APPLY, organization_id, user_id)
    found = [one.aliases_per_account for _, one in applying if one.aliases_per_account is not None]
    return min(found, default=ALIASES_PER_ACCOUNT)


def of_sending(tx: Tx, organization_id: int, user_id: str) -> list[tuple[str, Limits]]:
    """Returns the send limits of a user and of the organization (user `''`), with no other
    limits."""
    rows = tx.all(SENDING, organization=organization_id, user_id=user_id)
    return [(row[0], Limits(send_limits=SendLimits(*row[1:5]), send_limits_total=SendTotals(*row[5:]))) for row in rows]


def check_aliases(most: int, present: int) -> None:
    """Raises LimitReached if an account with `present` aliases may not have one more."""
    if present >= most:
        raise LimitReached("aliases_per_account", most)


def _columns(limits: Limits) -> dict[str, int | None]:
    """Returns the values of the columns."""
    columns = msgspec.structs.asdict(limits)
    each, totals = columns.pop("send_limits"), columns.pop("send_limits_total")
    sums = {f"total_{name}": number for name, number in msgspec.structs.asdict(totals).items()}
    return columns | msgspec.structs.asdict(each) | sums


def _check_domain(tx: Tx, organization_id: int, user_id: str | None, domain_id: int, most: int | None) -> None:
    if most is not None and usage.of_domain(tx, organization_id, user_id, domain_id) >= most:
        raise LimitReached("accounts_per_domain", most)


def _check_storage(
    tx: Tx, organization_id: int, who: str | None, limits: Limits, old: int | None, new: int | None
) -> None:
    most = limits.storage_bytes
    if most is None or new == old:
        return
    if new is None:
        raise LimitReached("storage_bytes", most, "give the account a quota_bytes, or have it raised (PUT /v2/limits)")
    added = new - (old or 0)
    if added > 0 and usage.promised(tx, organization_id, who) + added > most:
        raise LimitReached("storage_bytes", most, "choose a smaller quota_bytes, or have it raised (PUT /v2/limits)")


def _applying(tx: Tx, sql: str, organization_id: int, user_id: str) -> list[tuple[str | None, Limits]]:
    """Returns the limits that apply, each with its user (None: the organization). Usually there are
    none, at the cost of one look-up."""
    rows = tx.all(sql, organization=organization_id, user_id=user_id)
    return [(row[0] or None, Limits(*row[1:])) for row in rows]
