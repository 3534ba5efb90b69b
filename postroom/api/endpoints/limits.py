"""The limits endpoints: what a user may have. A restricted key may read them, never set them."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.api.context import RequestContext, Result, require_user, resolve_user
from postroom.api.endpoints.send_limit_bodies import SendLimitsBody, SendTotalsBody
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_USER
from postroom.api.route import route
from postroom.errors import Refused
from postroom.parameters import (
    AccountsLimit,
    AccountsPerDomainLimit,
    AliasesPerAccountLimit,
    DomainsLimit,
    LimitNumber,
    QuotaBytesLimit,
    QuotaNumber,
    SendLimitsOfEach,
    SendLimitsTotal,
    StorageBytesLimit,
    UserId,
)
from postroom.tenants import limits
from postroom.tenants.limits import Limits, SetLimits


class LimitsQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class LimitsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET
    domains: DomainsLimit[LimitNumber] | UnsetType | None = UNSET
    accounts: AccountsLimit[LimitNumber] | UnsetType | None = UNSET
    accounts_per_domain: AccountsPerDomainLimit[LimitNumber] | UnsetType | None = UNSET
    aliases_per_account: AliasesPerAccountLimit[LimitNumber] | UnsetType | None = UNSET
    quota_bytes: QuotaBytesLimit[QuotaNumber] | UnsetType | None = UNSET
    storage_bytes: StorageBytesLimit[LimitNumber] | UnsetType | None = UNSET
    send_limits: SendLimitsOfEach[SendLimitsBody] | UnsetType = UNSET
    send_limits_total: SendLimitsTotal[SendTotalsBody] | UnsetType = UNSET


class LimitsAnswer(msgspec.Struct, frozen=True):
    user_id: str | None
    limits: Limits


@route("GET", "/v2/limits", "stats:read", "Show limits", LimitsAnswer, missing=NO_USER)
async def get(context: RequestContext, query: LimitsQuery) -> Result:
    """Shows the limits of a user or, without `user_id`, of the whole organization. Null means no
    limit."""
    raise_if_any(text_problems(query.user_id))
    user_id = resolve_user(context.actor, query.user_id)
    found = await context.services.database.read(lambda tx: limits.get(tx, context.actor.organization_id, user_id))
    return Result(LimitsAnswer(user_id, found))


@route("PUT", "/v2/limits", "limits:write", "Set limits", LimitsAnswer, missing=NO_USER)
async def change(context: RequestContext, query: LimitsQuery, body: LimitsBody) -> Result:
    """Sets the limits of a user. Absent limits stay; null removes a limit."""
    problems = text_problems(query.user_id, body.user_id)
    user_id = require_user(context.actor, problems, query.user_id, body.user_id)
    raise_if_any(problems)
    if context.actor.user_id is not None or context.actor.restricted_key_id is not None:
        raise Refused(
            "forbidden",
            "A key that is bound to a user or to domains cannot set limits: use an unrestricted key.",
        )
    command = SetLimits(
        body.domains,
        body.accounts,
        body.accounts_per_domain,
        body.aliases_per_account,
        body.quota_bytes,
        body.storage_bytes,
        (SendLimitsBody() if body.send_limits is UNSET else body.send_limits).command(),
        (SendTotalsBody() if body.send_limits_total is UNSET else body.send_limits_total).command(),
    )
    return await context.write(
        lambda tx: Result(LimitsAnswer(user_id, limits.change(tx, context.actor, user_id, command)))
    )
