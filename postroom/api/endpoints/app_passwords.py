"""The app password endpoints: further passwords of an account, which can be deleted one by one."""

import functools
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from postroom.accounts import app_passwords
from postroom.accounts import commands as accounts
from postroom.accounts.app_passwords import AppPassword, CreateAppPassword
from postroom.accounts.protocols import PROTOCOLS, Protocol
from postroom.actor import OWNER_SCOPE
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.decoding import NoQuery, check_display_name
from postroom.api.endpoints.account_views import NOTE
from postroom.api.fields import parse_expiry, parse_networks, raise_if_any, text_problems
from postroom.api.problems import NO_ACCOUNT, NO_CREDENTIAL, NO_OWN_CREDENTIAL
from postroom.api.projections import filler
from postroom.api.route import route
from postroom.db import Tx
from postroom.errors import FieldError
from postroom.parameters import (
    AppPasswordName,
    AppPasswordNetworks,
    AppPasswordScopes,
    ExpiresAt,
    Id,
    UserId,
)

Scope = Annotated[str, Meta(extra_json_schema={"enum": list(PROTOCOLS)})]
SomeScopes = Annotated[AppPasswordScopes[list[Scope]], Meta(min_length=1, max_length=50)]
SomeNetworks = Annotated[AppPasswordNetworks[list[str]], Meta(min_length=1, max_length=50)]
Moment = Annotated[ExpiresAt, Meta(tz=True)]


class AppPasswordQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class NewAppPassword(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: AppPasswordName
    scopes: SomeScopes
    networks: SomeNetworks | UnsetType = UNSET
    expires_at: Moment | UnsetType = UNSET


class CreateAppPasswordBody(NewAppPassword, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class DeleteOwnBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: Id


class DeleteAppPasswordBody(DeleteOwnBody, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class ShownAppPassword(msgspec.Struct, frozen=True):
    """An app password, without its secret."""

    id: int
    name: str
    scopes: tuple[Protocol, ...]
    networks: tuple[str, ...] | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None
    last_used_protocol: str | None


class CreatedAppPasswordAnswer(msgspec.Struct, frozen=True):
    app_password: ShownAppPassword
    password: str
    note: str = NOTE


class AppPasswordsAnswer(msgspec.Struct, frozen=True):
    """The app passwords of an account, the oldest first."""

    id: int
    address: str
    app_passwords: list[ShownAppPassword]


class DeletedAppPassword(msgspec.Struct, frozen=True):
    id: int
    name: str
    sessions_ended: bool


class DeletedAppPasswordAnswer(msgspec.Struct, frozen=True):
    ok: bool
    deleted: DeletedAppPassword


show = filler(ShownAppPassword)


@route(
    "POST",
    "/v2/email-accounts/:account_id/app-passwords/create",
    "credentials:write",
    "Create app password",
    CreatedAppPasswordAnswer,
    status=201,
    missing=NO_ACCOUNT,
    refuses=("limit_reached", "not_available"),
)
async def create(context: RequestContext, query: AppPasswordQuery, body: CreateAppPasswordBody) -> Result:
    """Makes a further password of an account, for one program or device. It works by the time of
    the answer, and only this answer shows it."""
    problems = text_problems(query.user_id, body.user_id)
    command = _command(body, problems)
    id_, user_id = path_id(context, "account_id"), resolve_user(context.actor, query.user_id, body.user_id)
    return await _create(context, id_, user_id, command)


@route(
    "GET",
    "/v2/email-accounts/:account_id/app-passwords",
    "accounts:read",
    "List app passwords",
    AppPasswordsAnswer,
    missing=NO_ACCOUNT,
)
async def get_all(context: RequestContext, query: AppPasswordQuery) -> Result:
    """Lists the app passwords of an account, without their secrets."""
    raise_if_any(text_problems(query.user_id))
    return await _all(context, path_id(context, "account_id"), resolve_user(context.actor, query.user_id))


@route(
    "POST",
    "/v2/email-accounts/:account_id/app-passwords/delete",
    "credentials:write",
    "Delete app password",
    DeletedAppPasswordAnswer,
    missing=NO_CREDENTIAL,
)
async def delete(context: RequestContext, query: AppPasswordQuery, body: DeleteAppPasswordBody) -> Result:
    """Deletes an app password. By the time of the answer its sessions have ended, and no others."""
    raise_if_any(text_problems(query.user_id, body.user_id))
    id_, user_id = path_id(context, "account_id"), resolve_user(context.actor, query.user_id, body.user_id)
    return await _delete(context, id_, user_id, body.id)


@route("GET", "/v2/me/app-passwords", OWNER_SCOPE, "List own app passwords", AppPasswordsAnswer)
async def get_own(context: RequestContext, _query: NoQuery) -> Result:
    """Lists the app passwords of the session's account, without their secrets."""
    return await _all(context, context.actor.account_id or 0, None)


@route(
    "POST",
    "/v2/me/app-passwords",
    OWNER_SCOPE,
    "Create own app password",
    CreatedAppPasswordAnswer,
    status=201,
    refuses=("limit_reached", "not_available"),
    is_kept=False,
)
async def create_own(context: RequestContext, _query: NoQuery, body: NewAppPassword) -> Result:
    """Makes an app password of the session's account. Only this answer shows it."""
    return await _create(context, context.actor.account_id or 0, None, _command(body, []))


@route(
    "POST",
    "/v2/me/app-passwords/delete",
    OWNER_SCOPE,
    "Delete own app password",
    DeletedAppPasswordAnswer,
    missing=NO_OWN_CREDENTIAL,
    is_kept=False,
)
async def delete_own(context: RequestContext, _query: NoQuery, body: DeleteOwnBody) -> Result:
    """Deletes an app password of the session's account, whose sessions end."""
    return await _delete(context, context.actor.account_id or 0, None, body.id)


async def _create(context: RequestContext, id_: int, user_id: str | None, command: CreateAppPassword) -> Result:
    key = context.services.digest_key

    def work(tx: Tx) -> Result:
        made, secret = app_passwords.create(tx, context.actor, id_, user_id, command, key)
        return Result(CreatedAppPasswordAnswer(show(made), secret), 201)

    return await context.write(work)


async def _all(context: RequestContext, id_: int, user_id: str | None) -> Result:
    account, found = await context.services.database.read(
        lambda tx: app_passwords.get_all(tx, context.actor, id_, user_id)
    )
    return Result(AppPasswordsAnswer(account.id, account.address, [show(one) for one in found]))


async def _delete(context: RequestContext, id_: int, user_id: str | None, credential_id: int) -> Result:
    def work(tx: Tx) -> Result:
        account, gone, ended = app_passwords.delete(tx, context.actor, id_, user_id, credential_id)
        done, pending = (_deleted(gone, is_ended) for is_ended in (True, False))
        record_pending = functools.partial(
            accounts.record_pending_revocations, actor=context.actor, account=account, ended=[ended]
        )
        return Result(done, revoked_sessions=(ended,), payload_if_pending=pending, record_pending=record_pending)

    return await context.write(work)


def _deleted(gone: AppPassword, is_ended: bool) -> DeletedAppPasswordAnswer:
    return DeletedAppPasswordAnswer(True, DeletedAppPassword(gone.id, gone.name, is_ended))


def _command(body: NewAppPassword, problems: list[FieldError]) -> CreateAppPassword:
    """The parsed request. Raises the error that names its problems and those already found."""
    if problem := check_display_name(body.name, "name"):
        problems.append(problem)
    command = CreateAppPassword(
        name=body.name,
        scopes=_scopes(body.scopes, problems),
        networks=parse_networks(body.networks, problems),
        expires_at=parse_expiry(body.expires_at, problems, "An app password"),
    )
    raise_if_any(problems)
    return command


def _scopes(sent: list[str], problems: list[FieldError]) -> tuple[Protocol, ...]:
    if not set(sent) <= set(PROTOCOLS):
        problems.append(FieldError("scopes", "invalid", f"Use these: {', '.join(PROTOCOLS)}."))
    return tuple(protocol for protocol in PROTOCOLS if protocol in sent)
