"""How a domain looks on the wire: by default its name and status, with `?fields=` the full
resource."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from postroom.api.endpoints.account_views import timestamp
from postroom.domains import dns_records as dns
from postroom.domains.commands import Domain, Status
from postroom.mail_host import MailHost

ForwardMode = Literal["store", "webhook", "webhook_then_store"]
# Either of two types, which msgspec's unions cannot say.
Shown = Annotated[
    Any,
    Meta(
        extra_json_schema={
            "anyOf": [{"$ref": "#/components/schemas/ShownDomain"}, {"$ref": "#/components/schemas/FullDomain"}]
        }
    ),
]


class ShownDomain(msgspec.Struct, frozen=True):
    domain: str
    status: Status


class FullDomain(msgspec.Struct, frozen=True):
    """Every field that `?fields=` knows."""

    id: int
    domain: str
    user_id: str | None
    status: Status
    activated_by: Literal["operator", "dns"] | None
    degraded_at: str | None
    degraded_reason: str | None
    expires_at: str | None
    created_at: str
    updated_at: str


class InboundRoute(msgspec.Struct, frozen=True):
    """How mail to the domain is handled."""

    domain: str
    forward_mode: ForwardMode


class MailExchanger(msgspec.Struct, frozen=True):
    host: str
    priority: int


class DomainInfo(msgspec.Struct, frozen=True):
    """A domain and what its DNS must hold."""

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


def _time(milliseconds: int | None) -> str | None:
    return None if milliseconds is None else timestamp(milliseconds)


FIELDS: dict[str, Callable[[Domain], Any]] = {
    "id": lambda d: d.id,
    "domain": lambda d: d.name,
    "user_id": lambda d: d.user_id,
    "status": lambda d: d.status,
    "activated_by": lambda d: d.activated_by,
    "degraded_at": lambda d: _time(d.degraded_at),
    "degraded_reason": lambda d: d.degraded_reason,
    "expires_at": lambda d: _time(d.expires_at),
    "created_at": lambda d: timestamp(d.created_at),
    "updated_at": lambda d: timestamp(d.updated_at),
}
