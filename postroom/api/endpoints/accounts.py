"""The account endpoints: each parses, hashes, runs one transaction, ends sessions and answers."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import app_passwords, renames, send_rights, setup_links
from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount
from postroom.accounts.model import Account
from postroom.accounts.quotas import SetQuota
from postroom.api.context import RequestContext, Result, path_id, require_user, resolve_user
from postroom.api.endpoints import account_password, account_update, account_views
from postroom.api.endpoints.account_bodies import CreateBody, DeleteBody, ResetBody, RestoreBody, SignOutBody, switches
from postroom.api.endpoints.account_page import AccountPage, DomainPageQuery, PageQuery
from postroom.api.endpoints.account_quota import with_size
from postroom.api.endpoints.account_update import UpdateBody
from postroom.api.endpoints.account_views import projection, shown_rows
from postroom.api.endpoints.domain_views import ShownDomain
from postroom.api.endpoints.setup_links import DAY, url_of
from postroom.api.fields import (
    parse_address,
    parse_domain_field,
    parse_password,
    raise_if_any,
    text_problems,
)
from postroom.api.problems import NO_ACCOUNT, NO_DOMAIN, NO_USER
from postroom.api.projections import timestamp
from postroom.api.route import route
from postroom.auth.tokens import new_token
from postroom.db import Row, Tx
from postroom.domains import commands as domains
from postroom.errors import FieldError, not_found
from postroom.mailboxes.session_revocations import Ended
from postroom.parameters import (
    Fields,
    UserId,
)

DAY_MS = 24 * 3600 * 1000
NO_DELETED = f"{NO_ACCOUNT} Deleted accounts are in GET /v2/email-accounts?deleted=true."
NO_RESTORABLE = (
    "No account of yours that can be restored has this id, for this user_id: "
    "GET /v2/email-accounts?deleted=true lists those whose mail is not erased yet."
)


class FieldsQuery(msgspec.Struct, frozen=True):
    """The query parameters that every account endpoint takes."""

    user_id: UserId | UnsetType = UNSET
    fields: Fields | UnsetType = UNSET


class AccountAnswer(msgspec.Struct, frozen=True):
    account: Any


class SecretAnswer(msgspec.Struct, frozen=True):
    account: Any
    password: str | None
    note: str
    setup_url: str | UnsetType = UNSET
    setup_expires_at: str | UnsetType = UNSET


class PageAnswer(msgspec.Struct, frozen=True):
    items: Any
    limit: int
    offset: int
    total: int | UnsetType = UNSET


class DomainPageAnswer(msgspec.Struct, frozen=True):
    domain: ShownDomain
    items: Any
    limit: int
    offset: int
    total: int | UnsetType = UNSET


class DeletedAnswer(msgspec.Struct, frozen=True):
    ok: bool
    deleted: Any


@route(
    "POST",
    "/v2/email-accounts/create",
    "accounts:write",
    "Create account",
    SecretAnswer,
    shows=account_views.CreatedAccount,
    status=201,
    missing=NO_DOMAIN,
    refuses=("domain_not_active", "reserved_local_part", "address_exists", "limit_reached"),
)
async def create(context: RequestContext, query: FieldsQuery, body: CreateBody) -> Result:
    """Makes an account. Its mailbox works by the time of the answer."""
    show = projection(context.actor, query.fields, account_views.created)
    problems = text_problems(query.user_id, body.user_id, body.display_name)
    user_id = require_user(context.actor, problems, query.user_id, body.user_id)
    address = parse_address(body.domain, body.local_part, problems)
    password = parse_password(body.password, address, problems)
    hashed = account_password.parse_hash(body.password_hash, body.password, problems)
    account_password.check_credential(body.credential, body.password, body.password_hash, problems)
    raise_if_any(problems)
    secret = await account_password.secret(context, password, hashed, body.credential)
    token = new_token() if body.credential == "setup_link" else None
    command = CreateAccount(
        domain=address.domain,
        local_part=address.local_part,
        user_id=user_id,
        display_name=body.display_name,
        password=secret.stored,
        password_scheme=secret.scheme,
        allow_reserved=body.allow_reserved,
        quota_bytes=body.quota_bytes,
        quota_messages=body.quota_messages,
        switches=switches(body.protocols, body.main_password),
    )

    def work(tx: Tx) -> Result:
        account = accounts.create(tx, context.actor, command)
        location = (b"location", b"/v2/email-accounts/%d" % account.id)
        answer = SecretAnswer(show(tx, account), secret.shown, secret.note)
        if token:
            expires_at = timestamp(setup_links.make(tx, context.actor, account, token, DAY))
            url = url_of(context.services, token)
            answer = msgspec.structs.replace(answer, setup_url=url, setup_expires_at=expires_at)
        return Result(answer, 201, (location,))

    return await context.write(work)


@route(
    "GET",
    "/v2/email-accounts/:id",
    "accounts:read",
    "Get account",
    AccountAnswer,
    shows=account_views.ListedAccount,
    missing=NO_ACCOUNT,
)
async def get(context: RequestContext, query: FieldsQuery) -> Result:
    """Returns one account."""
    show = projection(context.actor, query.fields, account_views.listed)
    raise_if_any(text_problems(query.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id)
    shown = await context.services.database.read(lambda tx: show(tx, accounts.get(tx, context.actor, id_, user_id)))
    return Result(AccountAnswer(shown))


@route(
    "GET",
    "/v2/email-accounts",
    "accounts:read",
    "List accounts",
    PageAnswer,
    shows=account_views.ListedAccount,
    missing=NO_USER,
)
async def get_page(context: RequestContext, query: PageQuery) -> Result:
    """Lists the organization's accounts, filtered and paged."""
    rows = shown_rows(query.fields, account_views.listed_rows)
    problems = text_problems(query.user_id)
    name = UNSET if query.domain is UNSET else parse_domain_field(query.domain, problems)
    page = AccountPage(context, query, rows, problems, query.deleted)

    def work(tx: Tx) -> tuple[list[Row], int | UnsetType]:
        if name is UNSET:
            return page.find(tx), page.total(tx)
        domain = domains.find(tx, context.actor, name, page.wanted.user_id)
        if domain is None:
            return [], 0 if page.wants_total else UNSET
        return page.find(tx, domain.id), page.total(tx, domain.id)

    found, total = await page.read(work)
    items, headers = page.shown(found)
    return Result(PageAnswer(items, query.limit, query.offset, total), headers=headers)


@route(
    "GET",
    "/v2/domains/:domain/email-accounts",
    "accounts:read",
    "List by domain",
    DomainPageAnswer,
    shows=account_views.DomainsAccount,
    missing=NO_DOMAIN,
)
async def get_domain_page(context: RequestContext, query: DomainPageQuery) -> Result:
    """Lists the accounts of one domain, filtered and paged."""
    rows = shown_rows(query.fields, account_views.domain_rows)
    raise_if_any(text_problems(query.user_id))
    problems: list[FieldError] = []
    name = parse_domain_field(context.path["domain"], problems)
    if problems:
        raise not_found()

    page = AccountPage(context, query, rows, problems)

    def work(tx: Tx) -> tuple[domains.Domain, list[Row], int | UnsetType]:
        domain = domains.get(tx, context.actor, name, page.wanted.user_id)
        return domain, page.find(tx, domain.id), page.total(tx, domain.id)

    domain, found, total = await page.read(work)
    items, headers = page.shown(found)
    shown = ShownDomain(domain.name, domain.status)
    return Result(DomainPageAnswer(shown, items, query.limit, query.offset, total), headers=headers)


@route(
    "PUT",
    "/v2/email-accounts/:id",
    "accounts:write",
    "Update account",
    AccountAnswer,
    shows=account_views.UpdatedAccount,
    missing=NO_ACCOUNT,
    refuses=("account_disabled", "domain_not_active", "reserved_local_part", "address_exists", "limit_reached"),
)
async def update(context: RequestContext, query: FieldsQuery, body: UpdateBody) -> Result:
    """Changes the address, the display name, the status, the default account, the quotas, the
    switches or what the account may send; absent fields stay as they are. Quotas and send limits
    are in force for the next message. Sessions of what is switched off have ended by the time of
    the answer."""
    show = projection(context.actor, query.fields, account_views.updated)
    problems = text_problems(query.user_id, body.user_id)
    rename, command = account_update.parse(body, problems)
    raise_if_any(problems)
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    quota = await with_size(context, id_, user_id, SetQuota(body.quota_bytes, body.quota_messages))
    command = msgspec.structs.replace(command, quota=quota)
    rights = account_update.send_rights(body)

    def work(tx: Tx) -> Result:
        if rename is not None:
            renames.rename(tx, context.actor, id_, user_id, rename)
        account, ended = accounts.update(tx, context.actor, id_, user_id, command)
        account = send_rights.change(tx, context.actor, account, rights)
        return _revoking(context, account, ended, lambda account: AccountAnswer(show(tx, account)))

    return await context.write(work)


@route(
    "POST",
    "/v2/email-accounts/delete",
    "accounts:write",
    "Delete account",
    DeletedAnswer,
    shows=account_views.DeletedAccount,
    missing=NO_DELETED,
)
async def delete(context: RequestContext, query: FieldsQuery, body: DeleteBody) -> Result:
    """Deletes an account: it can no longer log in or receive mail."""
    show = projection(context.actor, query.fields, account_views.deleted)
    raise_if_any(text_problems(query.user_id, body.user_id))
    user_id = resolve_user(context.actor, query.user_id, body.user_id)
    grace_ms = context.services.purge_days * DAY_MS

    def work(tx: Tx) -> Result:
        account, ended = accounts.delete(tx, context.actor, body.id, user_id, grace_ms=grace_ms, purge=body.purge)
        return _revoking(context, account, ended, lambda account: DeletedAnswer(True, show(tx, account)))

    return await context.write(work)


@route(
    "POST",
    "/v2/email-accounts/:id/restore",
    "accounts:write",
    "Restore account",
    AccountAnswer,
    shows=account_views.UpdatedAccount,
    missing=NO_RESTORABLE,
    refuses=("domain_gone", "address_exists", "limit_reached"),
)
async def restore(context: RequestContext, query: FieldsQuery, body: RestoreBody) -> Result:
    """Restores a deleted account whose mail is not erased yet, with its password, mail and
    status."""
    show = projection(context.actor, query.fields, account_views.updated)
    raise_if_any(text_problems(query.user_id, body.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    return await context.write(
        lambda tx: Result(AccountAnswer(show(tx, accounts.restore(tx, context.actor, id_, user_id))))
    )


@route(
    "POST",
    "/v2/email-accounts/:id/sessions/end",
    "accounts:write",
    "End sessions",
    AccountAnswer,
    shows=account_views.ResetAccount,
    missing=NO_ACCOUNT,
)
async def sign_out(context: RequestContext, query: FieldsQuery, body: SignOutBody) -> Result:
    """Ends every open session; the password stays valid."""
    show = projection(context.actor, query.fields, account_views.reset)
    raise_if_any(text_problems(query.user_id, body.user_id))
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)

    def work(tx: Tx) -> Result:
        account, ended = accounts.sign_out(tx, context.actor, id_, user_id)
        return _revoking(context, account, [ended], lambda account: AccountAnswer(show(tx, account)))

    return await context.write(work)


@route(
    "POST",
    "/v2/email-accounts/:id/password/reset",
    "accounts:write",
    "Reset password",
    SecretAnswer,
    shows=account_views.ResetAccount,
    missing=NO_ACCOUNT,
)
async def reset(context: RequestContext, query: FieldsQuery, body: ResetBody) -> Result:
    """Replaces the password. The old password no longer works and every open session has ended by
    the time of the answer."""
    show = projection(context.actor, query.fields, account_views.reset)
    problems = text_problems(query.user_id, body.user_id)
    hashed = account_password.parse_hash(body.password_hash, body.password, problems)
    raise_if_any(problems)
    id_, user_id = path_id(context), resolve_user(context.actor, query.user_id, body.user_id)
    password = body.password
    if password is not UNSET:
        known = await context.services.database.read(lambda tx: accounts.get(tx, context.actor, id_, user_id))
        password = parse_password(password, known, problems)
        raise_if_any(problems)
    secret = await account_password.secret(context, password, hashed)

    def work(tx: Tx) -> Result:
        account, ended = accounts.reset(
            tx, context.actor, id_, user_id, secret.stored, secret.scheme, disable_scripts=body.disable_scripts
        )
        if body.revoke_app_passwords:
            app_passwords.delete_all(tx, context.actor, account)
        return _revoking(
            context, account, [ended], lambda account: SecretAnswer(show(tx, account), secret.shown, secret.note)
        )

    return await context.write(work)


def _revoking(
    context: RequestContext, account: Account, ended: Sequence[Ended], shown: Callable[[Account], Any]
) -> Result:
    """The result of a change that ends sessions, with an answer for ended sessions and one for
    sessions that could not be ended."""
    if not ended:
        return Result(shown(account))
    done, pending = (shown(msgspec.structs.replace(account, sessions_ended=is_done)) for is_done in (True, False))
    record_pending = functools.partial(
        accounts.record_pending_revocations, actor=context.actor, account=account, ended=ended
    )
    return Result(done, revoked_sessions=tuple(ended), payload_if_pending=pending, record_pending=record_pending)
