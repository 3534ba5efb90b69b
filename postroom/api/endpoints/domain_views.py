"""The shapes of a domain in answers: by default its name and status, with `?fields=` the full
resource."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from postroom.api.projections import derive, readers
from postroom.domains import dns_records as dns
from postroom.domains.commands import Domain, Status
from postroom.mail_host import MailHost

ForwardMode = Literal["store", "webhook", "webhook_then_store"]
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


class InboundRoute(msgspec.Struct, frozen=True):
    """How mail to the domain is handled."""

    domain: str
    forward_mode: ForwardMode


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


def inbound_route(domain: Domain) -> InboundRoute:
    return InboundRoute(domain.name, "store")


def info(domain: Domain, records: list[dns.Record], host: MailHost, show: Callable[[Domain], Any]) -> DomainInfo:
    return DomainInfo(show(domain), records, inbound_route(domain), MailExchanger(host.name, dns.PRIORITY))


FIELDS = readers(FullDomain)
