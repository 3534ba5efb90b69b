"""The verify endpoint: look at a domain's DNS now, and say what was found.

A stranger would get wrong: a domain may stay pending although every record is ok, where the operator or another owner
must agree. The answer is the same for each of these reasons.
"""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.address import BadAddress, parse_domain
from postroom.api.context import Answer, Call, required_user
from postroom.api.endpoints.domain_views import InboundRoute, MailExchanger, ShownDomain, route, shown
from postroom.api.fields import raise_for, text_problems
from postroom.domains import dns_records as dns
from postroom.domains.record_checks import Finding, Status
from postroom.errors import not_found


class VerifyQuery(msgspec.Struct, frozen=True):
    user_id: str | UnsetType = UNSET


class VerifyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: str | UnsetType = UNSET


class CheckedRecord(dns.Record, frozen=True, kw_only=True):
    """A wanted record, what was found of it, and how to mend it."""

    status: Status
    found: tuple[str, ...]
    mend: str | None


class VerifiedAnswer(msgspec.Struct, frozen=True):
    domain: ShownDomain
    dns: list[CheckedRecord]
    route: InboundRoute
    mx: MailExchanger


async def verify(call: Call, query: VerifyQuery, body: VerifyBody) -> Answer:
    """Looks at the DNS of a domain now. A claim whose required records are all right becomes active."""
    problems = text_problems(query.user_id, body.user_id)
    user_id = required_user(call.actor, problems, query.user_id, body.user_id)
    raise_for(problems)
    try:
        name = parse_domain(call.path["domain"])
    except BadAddress:
        raise not_found() from None
    done = await call.services.verification.on_request(call.actor, name, user_id)
    records = [checked(*pair) for pair in zip(done.records, done.findings, strict=True)]
    exchanger = MailExchanger(call.services.mail_host.name, dns.PRIORITY)
    return Answer(VerifiedAnswer(shown(done.domain), records, route(done.domain), exchanger))


def checked(record: dns.Record, finding: Finding) -> CheckedRecord:
    return CheckedRecord(
        **msgspec.structs.asdict(record), status=finding.status, found=finding.found, mend=finding.mend
    )
