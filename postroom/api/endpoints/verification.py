"""The verify endpoint: checks a domain's DNS now and reports the result.

A domain may stay pending although every record is ok, if the operator or another owner must agree.
The answer is the same for each of these reasons.
"""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.address import BadAddress, parse_domain
from postroom.api.context import RequestContext, Result, require_user
from postroom.api.endpoints.domain_views import InboundRoute, MailExchanger, ShownDomain, inbound_route, shown
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.problems import NO_DOMAIN
from postroom.api.route import route
from postroom.domains import dns_records as dns
from postroom.domains.record_checks import RecordCheck, Status
from postroom.errors import not_found
from postroom.parameters import UserId
from postroom.webhooks import routes


class VerifyQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class VerifyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class CheckedRecord(dns.Record, frozen=True, kw_only=True):
    """A required or recommended record, the values that were found, and how to fix it."""

    status: Status
    found: tuple[str, ...]
    fix: str | None


class VerifiedAnswer(msgspec.Struct, frozen=True):
    domain: ShownDomain
    dns: list[CheckedRecord]
    route: InboundRoute
    mx: MailExchanger


@route(
    "POST",
    "/v2/domains/:domain/verify",
    "domains:write",
    "Verify domain",
    VerifiedAnswer,
    missing=NO_DOMAIN,
    refuses=("too_many_requests",),
    is_kept=False,
)
async def verify(context: RequestContext, query: VerifyQuery, body: VerifyBody) -> Result:
    """Checks the DNS of a domain now. A claim becomes active if all its required records are
    right."""
    problems = text_problems(query.user_id, body.user_id)
    user_id = require_user(context.actor, problems, query.user_id, body.user_id)
    raise_if_any(problems)
    try:
        name = parse_domain(context.path["domain"])
    except BadAddress:
        raise not_found() from None
    done = await context.services.verification.on_request(context.actor, name, user_id)
    handled = await context.services.database.read(lambda tx: routes.get(tx, done.domain))
    records = [checked(*pair) for pair in zip(done.records, done.checks, strict=True)]
    exchanger = MailExchanger(context.services.mail_host.name, dns.PRIORITY)
    seen = inbound_route(context.actor, done.domain, handled)
    return Result(VerifiedAnswer(shown(done.domain), records, seen, exchanger))


def checked(record: dns.Record, check: RecordCheck) -> CheckedRecord:
    return CheckedRecord(**msgspec.structs.asdict(record), status=check.status, found=check.found, fix=check.fix)
