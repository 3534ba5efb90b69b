"""What happens to mail that comes to an account: forwarding and vacation. A PUT replaces the whole
rule."""

import unicodedata
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.accounts import forwarding, vacation
from postroom.accounts.delivery_rules import Forwarding, Vacation
from postroom.accounts.forwarding import MOST_TARGETS, parse_target
from postroom.accounts.model import Account
from postroom.accounts.vacation import LONGEST_TEXT
from postroom.actor import OWNER_SCOPE
from postroom.address import BadAddress
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.decoding import NoQuery, check_display_name
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_ACCOUNT
from postroom.api.projections import timestamp
from postroom.api.route import route
from postroom.db import Tx
from postroom.errors import FieldError
from postroom.parameters import (
    ForwardTo,
    KeepCopy,
    RuleEnabled,
    UserId,
    VacationDays,
    VacationFrom,
    VacationSubject,
    VacationText,
    VacationUntil,
)

EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)

Target = Annotated[str, Meta(extra_json_schema={"format": "email", "minLength": 3, "maxLength": 254})]
Targets = Annotated[ForwardTo[list[Target]], Meta(max_length=MOST_TARGETS)]
From = Annotated[VacationFrom, Meta(tz=True)]
Until = Annotated[VacationUntil, Meta(tz=True)]


class RuleQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class ForwardingBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: RuleEnabled
    to: Targets = []
    keep_copy: KeepCopy = True
    user_id: UserId | UnsetType = UNSET


class NewVacation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: RuleEnabled
    text: VacationText = ""
    subject: VacationSubject | None = None
    from_at: From | None = None
    until_at: Until | None = None
    days: VacationDays = 7


class VacationBody(NewVacation, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class RuleAccount(msgspec.Struct, frozen=True):
    """The account of a rule."""

    id: int
    domain: str
    address: str


class ShownForwarding(msgspec.Struct, frozen=True):
    """To whom mail is forwarded, and whether a copy stays in the mailbox."""

    enabled: bool
    to: list[str]
    keep_copy: bool
    updated_at: str | None


class ShownVacation(msgspec.Struct, frozen=True):
    """The reply to mail. `active_now` says whether mail is replied to at the moment."""

    enabled: bool
    subject: str | None
    text: str
    from_at: str | None
    until_at: str | None
    days: int
    active_now: bool
    updated_at: str | None


class ForwardingAnswer(msgspec.Struct, frozen=True):
    account: RuleAccount
    forwarding: ShownForwarding


class VacationAnswer(msgspec.Struct, frozen=True):
    account: RuleAccount
    vacation: ShownVacation


@route(
    "GET", "/v2/email-accounts/:id/forwarding", "accounts:read", "Get forwarding", ForwardingAnswer, missing=NO_ACCOUNT
)
async def get_forwarding(context: RequestContext, query: RuleQuery) -> Result:
    """Shows to whom the mail of an account is forwarded."""
    raise_if_any(text_problems(query.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    found = await context.services.database.read(lambda tx: forwarding.get(tx, context.actor, id_, user_id))
    return Result(_forwarding(*found))


@route(
    "PUT",
    "/v2/email-accounts/:id/forwarding",
    "accounts:write",
    "Set forwarding",
    ForwardingAnswer,
    missing=NO_ACCOUNT,
)
async def put_forwarding(context: RequestContext, query: RuleQuery, body: ForwardingBody) -> Result:
    """Replaces the forwarding of an account. The next message is forwarded by the new rule."""
    problems = text_problems(query.user_id, body.user_id)
    if body.enabled and not body.to:
        problems.append(FieldError("to", "required", "Name at least one address to forward to."))
    targets = _targets(body.to, problems)
    raise_if_any(problems)
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    rule = Forwarding(body.enabled, targets, body.keep_copy)
    return await context.write(lambda tx: Result(_forwarding(*forwarding.put(tx, context.actor, id_, user_id, rule))))


@route("GET", "/v2/email-accounts/:id/vacation", "accounts:read", "Get vacation", VacationAnswer, missing=NO_ACCOUNT)
async def get_vacation(context: RequestContext, query: RuleQuery) -> Result:
    """Shows the reply that senders get while the owner of an account is away."""
    raise_if_any(text_problems(query.user_id))
    return await _get_vacation(context, path_id(context), resolve_user(context.actor, query.user_id))


@route("PUT", "/v2/email-accounts/:id/vacation", "accounts:write", "Set vacation", VacationAnswer, missing=NO_ACCOUNT)
async def put_vacation(context: RequestContext, query: RuleQuery, body: VacationBody) -> Result:
    """Replaces the reply of an account. The next message is answered by the new rule."""
    rule = _rule(body, text_problems(query.user_id, body.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    return await _put_vacation(context, id_, user_id, rule)


@route("GET", "/v2/me/vacation", OWNER_SCOPE, "Get own vacation", VacationAnswer)
async def get_own_vacation(context: RequestContext, _query: NoQuery) -> Result:
    """Shows the reply that senders get while the owner of the session's account is away."""
    return await _get_vacation(context, context.actor.account_id or 0, None)


@route("PUT", "/v2/me/vacation", OWNER_SCOPE, "Set own vacation", VacationAnswer, is_kept=False)
async def put_own_vacation(context: RequestContext, _query: NoQuery, body: NewVacation) -> Result:
    """Replaces the reply of the session's account. The next message is answered by the new rule."""
    return await _put_vacation(context, context.actor.account_id or 0, None, _rule(body, []))


async def _get_vacation(context: RequestContext, id_: int, user_id: str | None) -> Result:
    def work(tx: Tx) -> VacationAnswer:
        return _vacation(*vacation.get(tx, context.actor, id_, user_id), tx.now)

    return Result(await context.services.database.read(work))


async def _put_vacation(context: RequestContext, id_: int, user_id: str | None, rule: Vacation) -> Result:
    return await context.write(
        lambda tx: Result(_vacation(*vacation.put(tx, context.actor, id_, user_id, rule), tx.now))
    )


def _rule(body: NewVacation, problems: list[FieldError]) -> Vacation:
    """The parsed request. Raises the error that names its problems and those already found."""
    if body.subject is not None and (problem := check_display_name(body.subject, "subject")):
        problems.append(problem)
    problems += _text_problems(body)
    from_at = _milliseconds("from_at", body.from_at, problems)
    until_at = _milliseconds("until_at", body.until_at, problems)
    if from_at is not None and until_at is not None and until_at <= from_at:
        problems.append(FieldError("until_at", "invalid", "The end must be later than the beginning."))
    raise_if_any(problems)
    return Vacation(body.enabled, body.subject, body.text, from_at, until_at, body.days)


def _targets(sent: list[str], problems: list[FieldError]) -> tuple[str, ...]:
    """The distinct addresses. A problem with one is added to `problems`."""
    found: dict[str, str] = {}
    for place, text in enumerate(sent, 1):
        try:
            target = parse_target(text)
            found.setdefault(target.lower(), target)
        except BadAddress as error:
            problems.append(FieldError("to", error.code, f"Address {place}: {error.message}"))
    return tuple(found.values())


def _text_problems(body: NewVacation) -> list[FieldError]:
    if body.enabled and not body.text.strip():
        return [FieldError("text", "required", "Write the text of the reply.")]
    if len(body.text.encode(errors="replace")) > LONGEST_TEXT:
        return [FieldError("text", "too_long", f"A text must have at most {LONGEST_TEXT} bytes.")]
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\r\n" for c in body.text):
        return [FieldError("text", "control_character", "A text must not have control characters, except new lines.")]
    return []


def _milliseconds(name: str, moment: datetime | None, problems: list[FieldError]) -> int | None:
    """The time in whole seconds, as milliseconds since 1970 UTC. The year 9999 is a problem,
    because its last hours cannot be shown in UTC."""
    if moment is None:
        return None
    if not EARLIEST <= moment < LATEST:
        problems.append(FieldError(name, "invalid", "A time must be from 1970 on and before the year 9999."))
        return None
    return int(moment.timestamp()) * 1000


def _account(account: Account) -> RuleAccount:
    return RuleAccount(account.id, account.domain, account.address)


def _forwarding(account: Account, rule: Forwarding) -> ForwardingAnswer:
    shown = ShownForwarding(rule.enabled, list(rule.to), rule.keep_copy, _time(rule.updated_at))
    return ForwardingAnswer(_account(account), shown)


def _vacation(account: Account, rule: Vacation, now: int) -> VacationAnswer:
    shown = ShownVacation(
        enabled=rule.enabled,
        subject=rule.subject,
        text=rule.text,
        from_at=_time(rule.from_at),
        until_at=_time(rule.until_at),
        days=rule.days,
        active_now=account.status == "active" and rule.is_active(now),
        updated_at=_time(rule.updated_at),
    )
    return VacationAnswer(_account(account), shown)


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else timestamp(milliseconds)
