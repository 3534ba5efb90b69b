"""Mail tokens: the route that makes one. What a token opens, the routes say (route.py)."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.accounts import mail_tokens
from postroom.accounts.mail_tokens import MARK, SCOPES, CreateMailToken
from postroom.api.context import RequestContext, Result, require_user
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.projections import timestamp
from postroom.api.route import route
from postroom.auth.tokens import new_token
from postroom.db import Tx
from postroom.errors import FieldError
from postroom.parameters import TokenAccountId, TokenExpiresIn, TokenScopes, UserId

QUARTER_OF_AN_HOUR = 900
NO_USER = (
    "The user has no account of this id, or no account, that your key sees: GET /v2/email-accounts lists yours. "
    "Send the user_id that the account was made with."
)
Scope = Annotated[str, Meta(extra_json_schema={"enum": list(SCOPES)})]
MailScopes = Annotated[TokenScopes[list[Scope]], Meta(min_length=1, max_length=50)]


class UserQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class CreateMailTokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET
    account_id: TokenAccountId | UnsetType = UNSET
    expires_in: TokenExpiresIn = QUARTER_OF_AN_HOUR
    scopes: MailScopes | UnsetType = UNSET


class MailTokenAnswer(msgspec.Struct, frozen=True):
    """Only this answer has the token."""

    token: str
    scopes: tuple[str, ...]
    expires_at: str


@route(
    "POST",
    "/v2/mail-tokens",
    "messages:read",
    "Create mail token",
    MailTokenAnswer,
    status=201,
    missing=NO_USER,
    refuses=("account_suspended", "account_disabled"),
)
async def create(context: RequestContext, query: UserQuery, body: CreateMailTokenBody) -> Result:
    """Makes a token with which a browser or an agent reads and changes the mail of one user,
    without an API key. It is never wider than the key, and ends with it."""
    problems = text_problems(query.user_id, body.user_id)
    user_id = require_user(context.actor, problems, query.user_id, body.user_id)
    scopes = _scopes(body.scopes, problems)
    raise_if_any(problems)
    account_id = None if body.account_id is UNSET else body.account_id
    command, token = CreateMailToken(user_id, account_id, scopes, body.expires_in), MARK + new_token()

    def work(tx: Tx) -> Result:
        made = mail_tokens.create(tx, context.actor, command, token)
        return Result(MailTokenAnswer(token, made.scopes, timestamp(made.expires_at)), 201)

    return await context.write(work)


def _scopes(sent: list[str] | UnsetType, problems: list[FieldError]) -> tuple[str, ...] | None:
    if sent is UNSET:
        return None
    if not set(sent) <= set(SCOPES):
        problems.append(FieldError("scopes", "invalid", f"Use these: {', '.join(SCOPES)}."))
    return tuple(scope for scope in SCOPES if scope in sent)
