"""The methods of both clients, one for each route. tests/client/test_operations.py compares them
with the table of routes.

`fields` is not a parameter, because the client always asks for the whole account or domain. The
type of a parameter says what the parameter means (postroom/parameters.py).
"""

from collections.abc import Mapping
from typing import Literal

from msgspec import UNSET, UnsetType

from postroom import parameters as p
from postroom.client import answers, shapes
from postroom.client.alias_operations import AliasOperations
from postroom.client.credential_operations import CredentialOperations, Protocol
from postroom.client.key_operations import KeyOperations
from postroom.client.limit_operations import LimitOperations, SendLimit
from postroom.client.mail_token_operations import MailTokenOperations
from postroom.client.message_edit_operations import MessageEditOperations
from postroom.client.message_operations import MessageOperations
from postroom.client.methods import listing, operation
from postroom.client.request import Request, changed, given
from postroom.client.rule_operations import RuleOperations
from postroom.client.setup_operations import SetupOperations
from postroom.client.shape import Page
from postroom.client.webhook_delivery_operations import WebhookDeliveryOperations
from postroom.client.webhook_operations import WebhookOperations

Status = Literal["active", "suspended", "disabled"]
PasswordScheme = Literal["generated", "chosen", "imported"]
Order = Literal["oldest", "newest"]
WHOLE = {"fields": "*"}


class Operations(
    AliasOperations,
    CredentialOperations,
    KeyOperations,
    LimitOperations,
    MailTokenOperations,
    MessageEditOperations,
    MessageOperations,
    RuleOperations,
    SetupOperations,
    WebhookDeliveryOperations,
    WebhookOperations,
):
    """The operations of the API."""

    @operation("POST", "/v2/email-accounts/create")
    def create_account(
        self,
        domain: p.DomainName,
        local_part: p.LocalPart,
        *,
        user_id: p.UserId | None = None,
        display_name: p.DisplayName | None = None,
        password: p.Password | None = None,
        password_hash: p.PasswordHash | None = None,
        allow_reserved: p.AllowReserved | None = None,
        quota_bytes: p.QuotaBytes[int] | UnsetType | None = UNSET,
        quota_messages: p.QuotaMessages[int] | None = None,
        credential: p.Credential[Literal["password", "setup_link", "none"]] | None = None,
        protocols: p.ProtocolSwitches[Mapping[Protocol, bool]] | None = None,
        main_password: p.MainPassword | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.AccountWithPassword]:
        """Makes an account. Its mailbox works by the time of the answer, which is the only one that
        contains the password. With `password_hash` the password is one of another system."""
        body = given(domain=domain, local_part=local_part, user_id=user_id, display_name=display_name)
        body |= given(password=password, password_hash=password_hash, allow_reserved=allow_reserved)
        body |= given(quota_messages=quota_messages, credential=credential, protocols=protocols)
        body |= given(main_password=main_password) | changed(quota_bytes=quota_bytes)
        return Request(answers.account_with_password, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("GET", "/v2/email-accounts/available")
    def get_availability(
        self, domain: p.DomainName, local_part: p.LocalPart, *, user_id: p.UserId | None = None
    ) -> Request[shapes.Availability]:
        """Says whether an address can be taken; `reason` is the code with which a create would be
        refused."""
        return Request(answers.availability, query=given(domain=domain, local_part=local_part, user_id=user_id))

    @operation("POST", "/v2/users/suspend")
    def suspend_user(
        self, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.UserProgress]:
        """Suspends the active accounts of a user, up to 20 in a call: repeat it until `done`."""
        return Request(answers.user_progress, body=given(user_id=user_id), idempotency_key=idempotency_key)

    @operation("POST", "/v2/users/resume")
    def resume_user(
        self, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.UserProgress]:
        """Makes a user's suspended accounts active, up to 20 in a call: repeat it until `done`."""
        return Request(answers.user_progress, body=given(user_id=user_id), idempotency_key=idempotency_key)

    @operation("POST", "/v2/users/delete")
    def delete_user(
        self,
        *,
        user_id: p.UserId | None = None,
        purge: p.Purge | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.UserProgress]:
        """Deletes the accounts of a user and then the user's own domains, up to 20 in a call:
        repeat it until `done`."""
        body = given(user_id=user_id, purge=purge)
        return Request(answers.user_progress, body=body, idempotency_key=idempotency_key)

    @operation("GET", "/v2/email-accounts/:id")
    def get_account(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.Account]:
        """Returns one account."""
        return Request(answers.account, path={"id": id}, query=WHOLE | given(user_id=user_id))

    @operation("GET", "/v2/email-accounts/:id/client-settings")
    def get_client_settings(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.ClientSettings]:
        """Shows which servers a mail client of the account uses."""
        return Request(answers.client_settings, path={"id": id}, query=given(user_id=user_id))

    @operation("GET", "/v2/email-accounts/:id/client-settings.mobileconfig")
    def get_client_profile(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[str]:
        """Makes a configuration profile for iPhone, iPad and Mac, without the password."""
        return Request(bytes.decode, path={"id": id}, query=given(user_id=user_id))

    @listing("/v2/email-accounts")
    def list_accounts(
        self,
        *,
        domain: p.DomainName | None = None,
        user_id: p.UserId | None = None,
        status: p.StatusName[Status] | None = None,
        password_scheme: p.PasswordSchemeName[PasswordScheme] | None = None,
        q: p.AddressPrefix | None = None,
        deleted: p.Deleted[bool] | None = None,
        order: p.ListOrder[Order] | None = None,
        limit: p.Limit | None = None,
        offset: p.Offset | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Account]]:
        """Lists accounts. `q` is the beginning of the address; `deleted` lists those that can be
        restored."""
        query = given(domain=domain, user_id=user_id, status=status, password_scheme=password_scheme, q=q)
        query |= given(order=order, deleted=_flag(deleted), limit=limit, offset=offset, after=after)
        return Request(answers.accounts, query=WHOLE | query)

    @listing("/v2/domains/:domain/email-accounts")
    def list_domain_accounts(
        self,
        domain: p.DomainName,
        *,
        user_id: p.UserId | None = None,
        status: p.StatusName[Status] | None = None,
        password_scheme: p.PasswordSchemeName[PasswordScheme] | None = None,
        q: p.AddressPrefix | None = None,
        order: p.ListOrder[Order] | None = None,
        limit: p.Limit | None = None,
        offset: p.Offset | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Account]]:
        """Lists the accounts of one domain, which must exist."""
        query = given(user_id=user_id, status=status, password_scheme=password_scheme, q=q, order=order)
        query |= given(limit=limit, offset=offset, after=after)
        return Request(answers.accounts, path={"domain": domain}, query=WHOLE | query)

    @operation("PUT", "/v2/email-accounts/:id")
    def update_account(
        self,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        display_name: p.DisplayName | UnsetType | None = UNSET,
        status: p.StatusName[Status] | None = None,
        is_default: p.IsDefault | None = None,
        local_part: p.LocalPart | None = None,
        domain: p.DomainName | None = None,
        keep_former: p.KeepFormer | None = None,
        former_days: p.FormerDays | None = None,
        allow_reserved: p.AllowReserved | None = None,
        quota_bytes: p.QuotaBytes[int] | UnsetType | None = UNSET,
        quota_messages: p.QuotaMessages[int] | UnsetType | None = UNSET,
        protocols: p.ProtocolSwitches[Mapping[Protocol, bool]] | None = None,
        main_password: p.MainPassword | None = None,
        may_send: p.MaySendMail | None = None,
        send_limits: p.SendLimitsToSet[Mapping[SendLimit, int | None]] | None = None,
        send_blocked: p.SendBlocked | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Account]:
        """Changes the given fields and leaves the rest as it is. A new address changes neither
        password nor mail, and ends no session. Sessions of what is switched off have ended by the
        time of the answer."""
        body = given(user_id=user_id, status=status, is_default=is_default)
        body |= given(local_part=local_part, domain=domain, keep_former=keep_former, former_days=former_days)
        body |= given(allow_reserved=allow_reserved, protocols=protocols, main_password=main_password)
        body |= given(may_send=may_send, send_limits=send_limits, send_blocked=send_blocked)
        body |= changed(display_name=display_name, quota_bytes=quota_bytes, quota_messages=quota_messages)
        return Request(answers.account, path={"id": id}, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/email-accounts/delete")
    def delete_account(
        self,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        purge: p.Purge | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Account]:
        """Deletes an account. It can be restored until `purge_at`, unless `purge` has its mail
        erased at once."""
        body = given(id=id, user_id=user_id, purge=purge)
        return Request(answers.deleted_account, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/email-accounts/:id/restore")
    def restore_account(
        self, id: p.Id, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.Account]:
        """Restores a deleted account with its password, mail and status."""
        body = given(user_id=user_id)
        return Request(answers.account, path={"id": id}, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/email-accounts/:id/password/reset")
    def reset_password(
        self,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        password: p.Password | None = None,
        password_hash: p.PasswordHash | None = None,
        disable_scripts: p.DisableScripts | None = None,
        revoke_app_passwords: p.RevokeAppPasswords | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.AccountWithPassword]:
        """Replaces the password. The old password no longer works and every open session has ended
        by the time of the answer. With `disable_scripts` no Sieve script runs until the owner
        activates one. App passwords stay, unless `revoke_app_passwords` deletes them."""
        body = given(user_id=user_id, password=password, password_hash=password_hash, disable_scripts=disable_scripts)
        body |= given(revoke_app_passwords=revoke_app_passwords)
        path = {"id": id}
        return Request(
            answers.account_with_password, path=path, query=WHOLE, body=body, idempotency_key=idempotency_key
        )

    @operation("GET", "/v2/email-accounts/:id/usage")
    def get_usage(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.Usage]:
        """Shows the size of an account's mailbox, and whether a Sieve script forwards its mail."""
        return Request(answers.usage, path={"id": id}, query=given(user_id=user_id))

    @operation("GET", "/v2/email-accounts/:id/sessions")
    def get_sessions(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[list[shapes.OpenSession]]:
        """Lists the open sessions of an account."""
        return Request(answers.sessions, path={"id": id}, query=given(user_id=user_id))

    @operation("POST", "/v2/email-accounts/:id/sessions/end")
    def end_sessions(
        self, id: p.Id, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.Account]:
        """Ends every open session of an account. The password stays valid, so a client may log in
        again."""
        body = given(user_id=user_id)
        return Request(answers.account, path={"id": id}, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/domain")
    def create_domain(
        self,
        domain: p.DomainName,
        *,
        user_id: p.UserId | None = None,
        organization_id: p.OrganizationId[int | str] | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.DomainInfo]:
        """Claims a domain, which is pending until its DNS holds the records of this answer."""
        body = given(domain=domain, user_id=user_id, organization_id=organization_id)
        return Request(answers.created_domain, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @listing("/v2/domains")
    def list_domains(
        self,
        *,
        user_id: p.UserId | None = None,
        status: p.StatusName[str] | None = None,
        every_user: p.EveryUser[bool] | None = None,
        limit: p.Limit | None = None,
        offset: p.Offset | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Domain]]:
        """Lists the domains of a user, or of all users with `every_user`."""
        query = given(user_id=user_id, status=status, every_user=_flag(every_user))
        return Request(answers.domains, query=WHOLE | query | given(limit=limit, offset=offset, after=after))

    @operation("GET", "/v2/domains/:domain/info")
    def get_domain(self, domain: p.DomainName, *, user_id: p.UserId | None = None) -> Request[shapes.DomainInfo]:
        """Returns a domain and the records that its DNS must hold."""
        return Request(answers.domain, path={"domain": domain}, query=WHOLE | given(user_id=user_id))

    @operation("POST", "/v2/domains/:domain/verify")
    def verify_domain(self, domain: p.DomainName, *, user_id: p.UserId | None = None) -> Request[shapes.DomainChecked]:
        """Checks the DNS of a domain now. A claim becomes active if all its required records are
        right."""
        return Request(answers.checked, path={"domain": domain}, body=given(user_id=user_id))

    @operation("POST", "/v2/domains/delete")
    def delete_domain(
        self, domain: p.DomainName, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[str]:
        """Deletes a domain that has no accounts, and returns its name."""
        body = given(domain=domain, user_id=user_id)
        return Request(answers.deleted_domain, body=body, idempotency_key=idempotency_key)

    @operation("PUT", "/v2/domains/:domain/route")
    def set_route(
        self,
        domain: p.DomainName,
        forward_mode: p.InboundMode[Literal["store", "webhook", "webhook_then_store"]],
        *,
        user_id: p.UserId | None = None,
        webhook_url: p.WebhookUrl | None = None,
        webhook_secret: p.WebhookSecret | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.RouteSet]:
        """Sets how mail to a domain is handled. With `webhook_then_store` each message is sent to a
        URL too, and with `webhook` it then leaves its mailbox; `webhook_secret` is in the answer if
        this call made one."""
        body = given(forward_mode=forward_mode, user_id=user_id, webhook_url=webhook_url, webhook_secret=webhook_secret)
        return Request(answers.route, path={"domain": domain}, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/domains/:domain/consent")
    def consent_subdomain(
        self,
        domain: p.DomainName,
        subdomain: p.Subdomain,
        *,
        user_id: p.UserId | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[str]:
        """Lets another organization claim a name below a domain, and returns that name."""
        body = given(subdomain=subdomain, user_id=user_id)
        return Request(answers.consent, path={"domain": domain}, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/domains/:domain/dkim/rotate")
    def rotate_dkim(
        self, domain: p.DomainName, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.DomainKeys]:
        """Makes a new DKIM key. The old key signs until the DNS shows the new one."""
        return Request(
            answers.dkim, path={"domain": domain}, body=given(user_id=user_id), idempotency_key=idempotency_key
        )

    @listing("/v2/events")
    def list_events(
        self,
        *,
        account_id: p.AccountId | None = None,
        domain: p.DomainName | None = None,
        user_id: p.UserId | None = None,
        type: p.EventTypeName[str] | None = None,
        key_id: p.EventKeyId | None = None,
        since: p.Since | None = None,
        until: p.Until | None = None,
        order: p.ListOrder[Order] | None = None,
        limit: p.Limit | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Event]]:
        """Lists the events."""
        query = given(account_id=account_id, domain=domain, user_id=user_id, type=type, key_id=key_id)
        query |= given(since=since, until=until, order=order, limit=limit, after=after)
        return Request(answers.events, query=query)

    @operation("GET", "/v2/stats")
    def get_stats(
        self, *, user_id: p.UserId | None = None, limit: p.Limit | None = None, offset: p.Offset | None = None
    ) -> Request[shapes.Stats]:
        """Counts accounts by status, in total and for a page of domains."""
        return Request(answers.stats, query=given(user_id=user_id, limit=limit, offset=offset))

    @operation("GET", "/metrics")
    def get_metrics(self) -> Request[str]:
        """Returns metrics in Prometheus' text format: a key of the operator's organization gets all
        of them."""
        return Request(bytes.decode)

    @operation("GET", "/.well-known/mta-sts.txt")
    def get_mta_sts_policy(self, domain: p.DomainName) -> Request[str]:
        """Returns the MTA-STS policy of an active domain, as another mail server gets it."""
        return Request(bytes.decode, headers={"host": f"mta-sts.{domain}"})

    @operation("GET", "/healthz")
    def get_health(self) -> Request[str]:
        """Returns `ok` if the process answers."""
        return Request(answers.alive)

    @operation("GET", "/readyz")
    def get_readiness(self) -> Request[shapes.Readiness]:
        """Says which parts of the installation answer. If some do not, that is an answer, not an
        exception."""
        return Request(answers.readiness, accepts=(503,))


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()
