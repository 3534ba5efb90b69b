"""The limits endpoints: what a user may have. A bound key may read them, never set them."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.api.context import Answer, Call, required_user, sent_user
from postroom.api.decoding import Cap
from postroom.api.fields import raise_for, text_problems
from postroom.errors import Refused
from postroom.tenants import limits
from postroom.tenants.limits import Limits, SetLimits


class LimitsQuery(msgspec.Struct, frozen=True):
    user_id: str | UnsetType = UNSET


class LimitsBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: str | UnsetType = UNSET
    domains: Cap | UnsetType | None = UNSET
    accounts: Cap | UnsetType | None = UNSET
    accounts_per_domain: Cap | UnsetType | None = UNSET


class LimitsAnswer(msgspec.Struct, frozen=True):
    user_id: str | None
    limits: Limits


async def get(call: Call, query: LimitsQuery) -> Answer:
    """Shows how much a user may have; without `user_id`, the organization as a whole. Null is no cap."""
    raise_for(text_problems(query.user_id))
    user_id = sent_user(call.actor, query.user_id)
    found = await call.services.database.read(lambda tx: limits.get(tx, call.actor.organization_id, user_id))
    return Answer(LimitsAnswer(user_id, found))


async def change(call: Call, query: LimitsQuery, body: LimitsBody) -> Answer:
    """Sets how much a user may have; what is absent stays, null lifts the cap."""
    problems = text_problems(query.user_id, body.user_id)
    user_id = required_user(call.actor, problems, query.user_id, body.user_id)
    raise_for(problems)
    if call.actor.user_id is not None or call.actor.bound is not None:
        raise Refused(
            "forbidden",
            "A key that is bound to a user or to domains sets no limits: use one that is bound to nothing.",
        )
    command = SetLimits(body.domains, body.accounts, body.accounts_per_domain)
    return await call.write(lambda tx: Answer(LimitsAnswer(user_id, limits.change(tx, call.actor, user_id, command))))
