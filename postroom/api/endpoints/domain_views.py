"""The shapes of a domain in answers: by default its name and status, with `?fields=` the full
resource."""

from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from postroom.actor import Actor
from postroom.api.projections import derive, readers
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.domains import dns_records as dns
from postroom.domains.commands import Domain, Status
from postroom.mail_host import MailHost
from postroom.webhooks import routes
from postroom.webhooks.routes import ForwardMode, Route

# A domain whose fields `?fields=` chooses: openapi_schemas.py describes it.
Shown = Annotated[
    Any,
    Meta(
        extra_json_schema={
            "$ref": "#/components/schemas/Domain",
            "description": "Without `fields`: `domain` and `status`. With it, the fields that it names; `*` names all.",
        }
    ),
]


class ShownDomain(msgspec.Struct, frozen=True):
    domain: str
    status: Status


FullDomain = derive(
    "FullDomain",
    Domain,
    (
        *("id", "name", "user_id", "status", "activated_by", "degraded_at", "degraded_reason"),
        *("expires_at", "created_at", "updated_at"),
    ),
    rename={"name": "domain"},
    doc="Every field that `?fields=` knows.",
)


class InboundRoute(msgspec.Struct, frozen=True, omit_defaults=True):
    """How mail to the domain is handled. `webhook_url` is there unless mail is only stored, or the
    key is bound to a user and the domain is the platform's."""

    domain: str
    forward_mode: ForwardMode
    webhook_url: str | None = None


class MailExchanger(msgspec.Struct, frozen=True):
    host: str
    priority: int


class DomainInfo(msgspec.Struct, frozen=True):
    """A domain and the records that its DNS must hold."""

    domain: Shown
    dns: list[dns.Record]
    route: InboundRoute
    mx: MailExchanger


def shown(domain: Domain) -> ShownDomain:
    return ShownDomain(domain.name, domain.status)


def inbound_route(actor: Actor, domain: Domain, route: Route) -> InboundRoute:
    """The route as the actor sees it: a URL may hold a token, which no user of a platform domain
    reads."""
    is_hidden = actor.user_id is not None and domain.user_id is None
    return InboundRoute(domain.name, route.forward_mode, None if is_hidden else route.webhook_url)


def info(tx: Tx, actor: Actor, domain: Domain, host: MailHost, show: Callable[[Domain], Any]) -> DomainInfo:
    """The domain with its records and its route."""
    route = inbound_route(actor, domain, routes.get(tx, domain))
    return DomainInfo(show(domain), domains.records(tx, domain, host), route, MailExchanger(host.name, dns.PRIORITY))


FIELDS = readers(FullDomain)
