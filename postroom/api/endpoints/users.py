"""The endpoints about all accounts and domains of one user. A call does one bounded step; repeat it
until the answer says `done`."""

import functools

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import users
from postroom.accounts.users import Step
from postroom.api.context import RequestContext, Result, require_user
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_USER
from postroom.api.route import route
from postroom.db import Tx
from postroom.errors import Refused
from postroom.parameters import Purge, UserId

DAY_MS = 24 * 3600 * 1000


class UserQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class UserBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class DeleteUserBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET
    purge: Purge = False


class UserAnswer(msgspec.Struct, frozen=True):
    """What this call has done, and what is left for the next one."""

    user_id: str
    done: bool
    accounts: int
    accounts_left: int
    domains: int
    domains_left: int
    sessions_ended: bool | None


@route("POST", "/v2/users/suspend", "accounts:write", "Suspend user", UserAnswer, missing=NO_USER)
async def suspend(context: RequestContext, query: UserQuery, body: UserBody) -> Result:
    """Suspends the active accounts of a user, up to 20 in a call: repeat it until `done`."""
    user_id = _user(context, query, body)
    return await context.write(
        lambda tx: _result(context, user_id, users.set_status(tx, context.actor, user_id, "active", "suspended"))
    )


@route("POST", "/v2/users/resume", "accounts:write", "Resume user", UserAnswer, missing=NO_USER)
async def resume(context: RequestContext, query: UserQuery, body: UserBody) -> Result:
    """Makes the suspended accounts of a user active again, up to 20 in a call: repeat it until
    `done`."""
    user_id = _user(context, query, body)
    return await context.write(
        lambda tx: _result(context, user_id, users.set_status(tx, context.actor, user_id, "suspended", "active"))
    )


@route("POST", "/v2/users/delete", "accounts:write", "Delete user", UserAnswer, missing=NO_USER)
async def delete(context: RequestContext, query: UserQuery, body: DeleteUserBody) -> Result:
    """Deletes the accounts of a user and then the user's own domains, up to 20 in a call: repeat it
    until `done`. The key needs the scope `domains:write` too."""
    user_id = _user(context, query, body)
    if "domains:write" not in context.actor.scopes:
        raise Refused("forbidden", "This key lacks the scope domains:write: send a key that has it.")
    grace_ms = context.services.purge_days * DAY_MS

    def work(tx: Tx) -> Result:
        step = users.delete(tx, context.actor, user_id, grace_ms=grace_ms, purge=body.purge)
        return _result(context, user_id, step)

    return await context.write(work)


def _user(context: RequestContext, query: UserQuery, body: UserBody | DeleteUserBody) -> str:
    problems = text_problems(query.user_id, body.user_id)
    user_id = require_user(context.actor, problems, query.user_id, body.user_id)
    raise_if_any(problems)
    return user_id


def _result(context: RequestContext, user_id: str, step: Step) -> Result:
    """The result of a step, with an answer for ended sessions and one for sessions that could not
    be ended."""
    done = not step.accounts_left and not step.domains_left
    answer = UserAnswer(
        user_id, done, step.accounts, step.accounts_left, step.domains, step.domains_left, True if step.ended else None
    )
    if not step.ended:
        return Result(answer)
    pending = msgspec.structs.replace(answer, sessions_ended=False)
    record = functools.partial(users.record_pending_revocations, actor=context.actor, ended=step.ended)
    revoked = tuple(ended for _, ended in step.ended)
    return Result(answer, revoked_sessions=revoked, payload_if_pending=pending, record_pending=record)
