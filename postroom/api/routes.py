"""The table of routes: dispatch, authorization, parsing, OpenAPI and the documentation tests all read it.

A stranger would get wrong: a route is not written without saying who may call it. PUBLIC is a scope like any other.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import msgspec

from postroom.api import (
    accounts,
    client_settings,
    dkim,
    domains,
    events,
    health,
    keys,
    limits,
    metrics,
    mta_sts,
    stats,
    verification,
)
from postroom.api.account_shapes import (
    CreatedAccount,
    DeletedAccount,
    DomainsAccount,
    ListedAccount,
    ResetAccount,
    UpdatedAccount,
)
from postroom.api.call import Answer
from postroom.api.domain_shapes import DomainInfo
from postroom.api.wire import NoQuery

PUBLIC = "public"
XML = "application/xml; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `gives` is its success body (`str`: a text of the type `media`); `shows` the account in it, by
    default; `refuses` lists codes beside those that every route may answer; `is_kept`: an Idempotency-Key keeps the
    answer of a write; `takes_xml`: the body is an XML document, for a handler without a key."""

    method: str
    path: str
    scope: str
    handler: Callable[..., Awaitable[Answer]]
    summary: str
    gives: type[msgspec.Struct] | type[str]
    query: type[msgspec.Struct] = NoQuery
    body: type[msgspec.Struct] | None = None
    shows: type[msgspec.Struct] | None = None
    status: int = 200
    refuses: tuple[str, ...] = ()
    is_kept: bool = True
    media: str = "text/plain; charset=utf-8"
    takes_xml: bool = False

    @property
    def name(self) -> str:
        """The operation's name, as `accounts.create`."""
        return f"{self.handler.__module__.rpartition('.')[2]}.{self.handler.__name__}"

    @property
    def writes(self) -> bool:
        """Whether it changes something, and so takes an Idempotency-Key."""
        return self.is_kept and self.method not in ("GET", "HEAD")


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/v2/domains/:domain/email-accounts",
        "accounts:read",
        accounts.get_domain_page,
        "List by domain",
        accounts.DomainPageAnswer,
        query=accounts.DomainPageQuery,
        shows=DomainsAccount,
        refuses=("not_found",),
    ),
    Route(
        "POST",
        "/v2/domains/:domain/verify",
        "domains:write",
        verification.verify,
        "Verify domain",
        verification.VerifiedAnswer,
        query=verification.VerifyQuery,
        body=verification.VerifyBody,
        is_kept=False,
        refuses=("not_found", "too_many_requests"),
    ),
    Route(
        "POST",
        "/v2/domains/:domain/dkim/rotate",
        "domains:write",
        dkim.rotate,
        "Rotate DKIM key",
        dkim.RotateAnswer,
        query=dkim.RotateQuery,
        body=dkim.RotateBody,
        refuses=("not_found",),
    ),
    Route(
        "POST",
        "/v2/email-accounts/create",
        "accounts:write",
        accounts.create,
        "Create account",
        accounts.SecretAnswer,
        query=accounts.FieldsQuery,
        body=accounts.CreateBody,
        shows=CreatedAccount,
        status=201,
        refuses=("not_found", "domain_not_active", "reserved_local_part", "address_exists", "limit_reached"),
    ),
    Route(
        "GET",
        "/v2/email-accounts",
        "accounts:read",
        accounts.get_page,
        "List accounts",
        accounts.PageAnswer,
        query=accounts.PageQuery,
        shows=ListedAccount,
        refuses=("not_found",),
    ),
    Route(
        "GET",
        "/v2/email-accounts/:id",
        "accounts:read",
        accounts.get,
        "Get account",
        accounts.AccountAnswer,
        query=accounts.FieldsQuery,
        shows=ListedAccount,
        refuses=("not_found",),
    ),
    Route(
        "GET",
        "/v2/email-accounts/:id/client-settings",
        "accounts:read",
        client_settings.get,
        "Show client settings",
        client_settings.SettingsAnswer,
        query=client_settings.AccountQuery,
        refuses=("not_found",),
    ),
    Route(
        "GET",
        "/v2/email-accounts/:id/client-settings.mobileconfig",
        "accounts:read",
        client_settings.get_profile,
        "Apple profile",
        str,
        query=client_settings.AccountQuery,
        refuses=("not_found",),
        media="application/x-apple-aspen-config",
    ),
    Route(
        "PUT",
        "/v2/email-accounts/:id",
        "accounts:write",
        accounts.update,
        "Update account",
        accounts.AccountAnswer,
        query=accounts.FieldsQuery,
        body=accounts.UpdateBody,
        shows=UpdatedAccount,
        refuses=("not_found", "account_disabled"),
    ),
    Route(
        "POST",
        "/v2/email-accounts/delete",
        "accounts:write",
        accounts.delete,
        "Delete account",
        accounts.DeletedAnswer,
        query=accounts.FieldsQuery,
        body=accounts.DeleteBody,
        shows=DeletedAccount,
        refuses=("not_found",),
    ),
    Route(
        "POST",
        "/v2/email-accounts/:id/password/reset",
        "accounts:write",
        accounts.reset,
        "Reset password",
        accounts.SecretAnswer,
        query=accounts.FieldsQuery,
        body=accounts.ResetBody,
        shows=ResetAccount,
        refuses=("not_found",),
    ),
    Route(
        "POST",
        "/v2/domain",
        "domains:write",
        domains.create,
        "Claim domain",
        domains.CreatedDomainAnswer,
        query=domains.DomainQuery,
        body=domains.CreateDomainBody,
        status=201,
        refuses=("not_found", "domain_exists", "limit_reached"),
    ),
    Route(
        "GET",
        "/v2/domains",
        "domains:read",
        domains.get_page,
        "List domains",
        domains.DomainsAnswer,
        query=domains.DomainsQuery,
    ),
    Route(
        "GET",
        "/v2/domains/:domain/info",
        "domains:read",
        domains.get,
        "Show domain",
        DomainInfo,
        query=domains.DomainQuery,
        refuses=("not_found",),
    ),
    Route(
        "POST",
        "/v2/domains/delete",
        "domains:write",
        domains.delete,
        "Delete domain",
        domains.DeletedDomainAnswer,
        query=domains.DomainUserQuery,
        body=domains.DeleteDomainBody,
        refuses=("not_found", "domain_not_empty"),
    ),
    Route(
        "PUT",
        "/v2/domains/:domain/route",
        "domains:write",
        domains.set_route,
        "Set route of mail",
        domains.RouteAnswer,
        query=domains.DomainQuery,
        body=domains.RouteBody,
        refuses=("not_available", "not_found"),
    ),
    Route(
        "POST",
        "/v2/domains/:domain/consent",
        "domains:write",
        domains.consent,
        "Consent to subdomain",
        domains.ConsentAnswer,
        query=domains.DomainUserQuery,
        body=domains.ConsentBody,
        refuses=("not_found", "domain_not_active"),
    ),
    Route(
        "POST",
        "/v2/email-accounts/:id/restore",
        "accounts:write",
        accounts.restore,
        "Restore account",
        accounts.AccountAnswer,
        query=accounts.FieldsQuery,
        body=accounts.RestoreBody,
        shows=UpdatedAccount,
        refuses=("not_found", "domain_gone", "address_exists", "limit_reached"),
    ),
    Route(
        "POST",
        "/v2/keys",
        "keys:write",
        keys.create,
        "Create key",
        keys.CreatedKeyAnswer,
        query=keys.UserQuery,
        body=keys.CreateKeyBody,
        status=201,
        refuses=("not_found",),
    ),
    Route(
        "GET",
        "/v2/keys",
        "keys:read",
        keys.get_page,
        "List keys",
        keys.KeysAnswer,
        query=keys.KeysQuery,
        refuses=("not_found",),
    ),
    Route(
        "POST",
        "/v2/keys/delete",
        "keys:write",
        keys.delete,
        "Delete key",
        keys.DeletedKeyAnswer,
        query=keys.UserQuery,
        body=keys.DeleteKeyBody,
        refuses=("not_found",),
    ),
    Route(
        "GET",
        "/v2/events",
        "events:read",
        events.get_page,
        "List events",
        events.EventsAnswer,
        query=events.EventsQuery,
        refuses=("not_found",),
    ),
    Route(
        "GET",
        "/v2/limits",
        "stats:read",
        limits.get,
        "Show limits",
        limits.LimitsAnswer,
        query=limits.LimitsQuery,
        refuses=("not_found",),
    ),
    Route(
        "PUT",
        "/v2/limits",
        "limits:write",
        limits.change,
        "Set limits",
        limits.LimitsAnswer,
        query=limits.LimitsQuery,
        body=limits.LimitsBody,
        refuses=("not_found",),
    ),
    Route(
        "GET",
        "/v2/stats",
        "stats:read",
        stats.get,
        "Count accounts",
        stats.StatsAnswer,
        query=stats.StatsQuery,
        refuses=("not_found",),
    ),
    Route("GET", "/metrics", "metrics:read", metrics.get, "Metrics", str, media=metrics.MEDIA),
    Route("GET", "/.well-known/mta-sts.txt", PUBLIC, mta_sts.policy, "MTA-STS policy", str, refuses=("not_found",)),
    Route(
        "GET",
        "/mail/config-v1.1.xml",
        PUBLIC,
        client_settings.autoconfig,
        "Autoconfig",
        str,
        query=client_settings.AutoconfigQuery,
        refuses=("invalid_request", "not_found"),
        media=XML,
    ),
    Route(
        "GET",
        "/.well-known/autoconfig/mail/config-v1.1.xml",
        PUBLIC,
        client_settings.autoconfig_of_site,
        "Autoconfig at the site",
        str,
        query=client_settings.AutoconfigQuery,
        refuses=("invalid_request", "not_found"),
        media=XML,
    ),
    Route(
        "POST",
        "/autodiscover/autodiscover.xml",
        PUBLIC,
        client_settings.autodiscover,
        "Autodiscover",
        str,
        is_kept=False,
        refuses=("invalid_request", "not_found", "payload_too_large", "unsupported_media_type"),
        media=XML,
        takes_xml=True,
    ),
    Route("GET", "/healthz", PUBLIC, health.alive, "Is it alive", health.Alive),
    Route("GET", "/readyz", PUBLIC, health.ready, "Is everything ready", health.Ready, refuses=("busy",)),
)
