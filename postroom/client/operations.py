"""The methods of both clients, one for each route. tests/client/test_operations.py compares them
with the table of routes.

`fields` is not a parameter, because the client always asks for the whole account or domain. The
type of a parameter says what the parameter means (postroom/parameters.py).
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, UnsetType

from postroom import parameters as p
from postroom.client import shapes
from postroom.client.alias_operations import AliasOperations
from postroom.client.methods import listing, operation
from postroom.client.request import Request, changed, given, part_of, shape_of
from postroom.client.shape import Page

Status = Literal["active", "suspended", "disabled"]
Order = Literal["oldest", "newest"]
WHOLE = {"fields": "*"}

_account = part_of(shapes.ShownAccount, lambda answer: answer.account)
_deleted_account = part_of(shapes.DeletedAccount, lambda answer: answer.deleted)
_account_with_password = shape_of(shapes.AccountWithPassword)
_accounts = shape_of(Page[shapes.Account])
_client_settings = shape_of(shapes.ClientSettings)
_domain = shape_of(shapes.DomainInfo)
_usage = shape_of(shapes.Usage)
_sessions = part_of(shapes.OpenSessions, lambda answer: answer.sessions)
_created_domain = part_of(shapes.CreatedDomain, lambda answer: answer.domain)
_deleted_domain = part_of(shapes.DeletedDomain, lambda answer: answer.deleted)
_domains = shape_of(Page[shapes.Domain])
_checked = shape_of(shapes.DomainChecked)
_route = part_of(shapes.RouteSet, lambda answer: answer.route)
_consent = part_of(shapes.Consent, lambda answer: answer.subdomain)
_dkim = shape_of(shapes.DomainKeys)
_key = shape_of(shapes.KeyWithSecret)
_keys = shape_of(Page[shapes.Key])
_deleted_key = part_of(shapes.DeletedKey, lambda answer: answer.deleted)
_events = shape_of(Page[shapes.Event])
_limits = shape_of(shapes.Limits)
_stats = shape_of(shapes.Stats)
_alive = part_of(shapes.Alive, lambda answer: answer.status)
_readiness = shape_of(shapes.Readiness)


class Operations(AliasOperations):
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
        allow_reserved: p.AllowReserved | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.AccountWithPassword]:
        """Makes an account. Its mailbox works by the time of the answer, which is the only one that
        contains the password."""
        body = given(
            domain=domain,
            local_part=local_part,
            user_id=user_id,
            display_name=display_name,
            password=password,
            allow_reserved=allow_reserved,
        )
        return Request(_account_with_password, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("GET", "/v2/email-accounts/:id")
    def get_account(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.Account]:
        """Returns one account."""
        return Request(_account, path={"id": id}, query=WHOLE | given(user_id=user_id))

    @operation("GET", "/v2/email-accounts/:id/client-settings")
    def get_client_settings(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.ClientSettings]:
        """Shows which servers a mail client of the account uses."""
        return Request(_client_settings, path={"id": id}, query=given(user_id=user_id))

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
        q: p.AddressPrefix | None = None,
        deleted: p.Deleted[bool] | None = None,
        order: p.ListOrder[Order] | None = None,
        limit: p.Limit | None = None,
        offset: p.Offset | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Account]]:
        """Lists accounts. `q` is the beginning of the address; `deleted` lists those that can be
        restored."""
        query = given(domain=domain, user_id=user_id, status=status, q=q, order=order)
        query |= given(deleted=_flag(deleted), limit=limit, offset=offset, after=after)
        return Request(_accounts, query=WHOLE | query)

    @listing("/v2/domains/:domain/email-accounts")
    def list_domain_accounts(
        self,
        domain: p.DomainName,
        *,
        user_id: p.UserId | None = None,
        status: p.StatusName[Status] | None = None,
        q: p.AddressPrefix | None = None,
        order: p.ListOrder[Order] | None = None,
        limit: p.Limit | None = None,
        offset: p.Offset | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Account]]:
        """Lists the accounts of one domain, which must exist."""
        query = given(user_id=user_id, status=status, q=q, order=order, limit=limit, offset=offset, after=after)
        return Request(_accounts, path={"domain": domain}, query=WHOLE | query)

    @operation("PUT", "/v2/email-accounts/:id")
    def update_account(
        self,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        display_name: p.DisplayName | UnsetType | None = UNSET,
        status: p.StatusName[Status] | None = None,
        is_default: p.IsDefault | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Account]:
        """Changes the given fields and leaves the rest as it is."""
        body = given(user_id=user_id, status=status, is_default=is_default) | changed(display_name=display_name)
        return Request(_account, path={"id": id}, query=WHOLE, body=body, idempotency_key=idempotency_key)

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
        return Request(_deleted_account, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/email-accounts/:id/restore")
    def restore_account(
        self, id: p.Id, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.Account]:
        """Restores a deleted account with its password, mail and status."""
        body = given(user_id=user_id)
        return Request(_account, path={"id": id}, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/email-accounts/:id/password/reset")
    def reset_password(
        self,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        password: p.Password | None = None,
        disable_scripts: p.DisableScripts | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.AccountWithPassword]:
        """Replaces the password. The old password no longer works and every open session has ended
        by the time of the answer. With `disable_scripts` no Sieve script runs until the owner
        activates one."""
        body = given(user_id=user_id, password=password, disable_scripts=disable_scripts)
        path = {"id": id}
        return Request(_account_with_password, path=path, query=WHOLE, body=body, idempotency_key=idempotency_key)

    @operation("GET", "/v2/email-accounts/:id/usage")
    def get_usage(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.Usage]:
        """Shows the size of an account's mailbox, and whether a Sieve script forwards its mail."""
        return Request(_usage, path={"id": id}, query=given(user_id=user_id))

    @operation("GET", "/v2/email-accounts/:id/sessions")
    def get_sessions(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[list[shapes.OpenSession]]:
        """Lists the open sessions of an account."""
        return Request(_sessions, path={"id": id}, query=given(user_id=user_id))

    @operation("POST", "/v2/email-accounts/:id/sessions/end")
    def end_sessions(
        self, id: p.Id, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.Account]:
        """Ends every open session of an account. The password stays valid, so a client may log in
        again."""
        body = given(user_id=user_id)
        return Request(_account, path={"id": id}, query=WHOLE, body=body, idempotency_key=idempotency_key)

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
        return Request(_created_domain, query=WHOLE, body=body, idempotency_key=idempotency_key)

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
        return Request(_domains, query=WHOLE | query | given(limit=limit, offset=offset, after=after))

    @operation("GET", "/v2/domains/:domain/info")
    def get_domain(self, domain: p.DomainName, *, user_id: p.UserId | None = None) -> Request[shapes.DomainInfo]:
        """Returns a domain and the records that its DNS must hold."""
        return Request(_domain, path={"domain": domain}, query=WHOLE | given(user_id=user_id))

    @operation("POST", "/v2/domains/:domain/verify")
    def verify_domain(self, domain: p.DomainName, *, user_id: p.UserId | None = None) -> Request[shapes.DomainChecked]:
        """Checks the DNS of a domain now. A claim becomes active if all its required records are
        right."""
        return Request(_checked, path={"domain": domain}, body=given(user_id=user_id))

    @operation("POST", "/v2/domains/delete")
    def delete_domain(
        self, domain: p.DomainName, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[str]:
        """Deletes a domain that has no accounts, and returns its name."""
        body = given(domain=domain, user_id=user_id)
        return Request(_deleted_domain, body=body, idempotency_key=idempotency_key)

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
    ) -> Request[shapes.InboundRoute]:
        """Sets how mail to a domain is handled."""
        body = given(forward_mode=forward_mode, user_id=user_id, webhook_url=webhook_url, webhook_secret=webhook_secret)
        return Request(_route, path={"domain": domain}, query=WHOLE, body=body, idempotency_key=idempotency_key)

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
        return Request(_consent, path={"domain": domain}, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/domains/:domain/dkim/rotate")
    def rotate_dkim(
        self, domain: p.DomainName, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.DomainKeys]:
        """Makes a new DKIM key. The old key signs until the DNS shows the new one."""
        return Request(_dkim, path={"domain": domain}, body=given(user_id=user_id), idempotency_key=idempotency_key)

    @operation("POST", "/v2/keys")
    def create_key(
        self,
        *,
        name: p.KeyName | None = None,
        user_id: p.UserId | None = None,
        scopes: p.Scopes[Sequence[str]] | None = None,
        domains: p.KeyDomains[Sequence[str]] | None = None,
        networks: p.Networks[Sequence[str]] | None = None,
        expires_at: p.ExpiresAt | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.KeyWithSecret]:
        """Makes a key that is no wider than the key in use and is revoked with it. Only this answer
        contains `api_key`."""
        body = given(
            name=name, user_id=user_id, scopes=scopes, domains=domains, networks=networks, expires_at=expires_at
        )
        return Request(_key, body=body, idempotency_key=idempotency_key)

    @listing("/v2/keys")
    def list_keys(
        self,
        *,
        user_id: p.UserId | None = None,
        limit: p.Limit | None = None,
        offset: p.Offset | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Key]]:
        """Lists the keys, without their secrets."""
        return Request(_keys, query=given(user_id=user_id, limit=limit, offset=offset, after=after))

    @operation("POST", "/v2/keys/delete")
    def delete_key(
        self, id: p.Id, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.KeyName]:
        """Revokes a key and every key that was made with it."""
        return Request(_deleted_key, body=given(id=id, user_id=user_id), idempotency_key=idempotency_key)

    @listing("/v2/events")
    def list_events(
        self,
        *,
        account_id: p.AccountId | None = None,
        domain: p.DomainName | None = None,
        user_id: p.UserId | None = None,
        order: p.ListOrder[Order] | None = None,
        limit: p.Limit | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Event]]:
        """Lists the events."""
        query = given(account_id=account_id, domain=domain, user_id=user_id, order=order, limit=limit, after=after)
        return Request(_events, query=query)

    @operation("GET", "/v2/limits")
    def get_limits(self, *, user_id: p.UserId | None = None) -> Request[shapes.Limits]:
        """Shows the limits of a user or, without `user_id`, of the organization."""
        return Request(_limits, query=given(user_id=user_id))

    @operation("PUT", "/v2/limits")
    def set_limits(
        self,
        *,
        user_id: p.UserId | None = None,
        domains: p.DomainsLimit[int] | UnsetType | None = UNSET,
        accounts: p.AccountsLimit[int] | UnsetType | None = UNSET,
        accounts_per_domain: p.AccountsPerDomainLimit[int] | UnsetType | None = UNSET,
        aliases_per_account: p.AliasesPerAccountLimit[int] | UnsetType | None = UNSET,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Limits]:
        """Sets the limits of a user; None removes a limit."""
        limits = changed(domains=domains, accounts=accounts, accounts_per_domain=accounts_per_domain)
        limits |= changed(aliases_per_account=aliases_per_account)
        return Request(_limits, body=given(user_id=user_id) | limits, idempotency_key=idempotency_key)

    @operation("GET", "/v2/stats")
    def get_stats(
        self, *, user_id: p.UserId | None = None, limit: p.Limit | None = None, offset: p.Offset | None = None
    ) -> Request[shapes.Stats]:
        """Counts accounts by status, in total and for a page of domains."""
        return Request(_stats, query=given(user_id=user_id, limit=limit, offset=offset))

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
        return Request(_alive)

    @operation("GET", "/readyz")
    def get_readiness(self) -> Request[shapes.Readiness]:
        """Says which parts of the installation answer. If some do not, that is an answer, not an
        exception."""
        return Request(_readiness, accepts=(503,))


def _flag(value: bool | None) -> str | None:
    return None if value is None else str(value).lower()
