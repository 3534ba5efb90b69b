"""The DKIM endpoint: a new key for a domain.

The answer lists the record to publish, but the key signs nothing until the DNS shows that record.
"""

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from postroom.api.context import RequestContext, Result, require_user
from postroom.api.fields import parse_domain_field, raise_if_any, text_problems
from postroom.api.problems import NO_DOMAIN
from postroom.api.projections import timestamp
from postroom.api.route import route
from postroom.db import Tx
from postroom.domains import commands as domains
from postroom.domains import dkim
from postroom.domains.commands import Domain
from postroom.errors import FieldError, not_found
from postroom.parameters import UserId


class RotateQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


class RotateBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    user_id: UserId | UnsetType = UNSET


class DkimItem(msgspec.Struct, frozen=True):
    """The DNS record of a DKIM key, shown like the domain's other records. `state` says what to do
    with it: publish a `next` record, keep a `signing` one, and keep a `retiring` one until
    `remove_after`."""

    host: str
    expected_value: str
    required: bool
    selector: str
    state: dkim.State
    remove_after: str | None
    record_type: Literal["TXT"] = "TXT"
    purpose: Literal["dkim"] = "dkim"


class RotateAnswer(msgspec.Struct, frozen=True):
    domain: str
    dkim: list[DkimItem]


@route("POST", "/v2/domains/:domain/dkim/rotate", "domains:write", "Rotate DKIM key", RotateAnswer, missing=NO_DOMAIN)
async def rotate(context: RequestContext, query: RotateQuery, body: RotateBody) -> Result:
    """Makes a new DKIM key for a domain. The old key signs until the DNS shows the new one; until
    then, a repeated request gets the same answer."""
    problems = text_problems(query.user_id, body.user_id)
    user_id = require_user(context.actor, problems, query.user_id, body.user_id)
    raise_if_any(problems)
    _, keys = await context.services.database.read(lambda tx: _find(tx, context, user_id))
    is_under_way = any(key.state == "next" for key in keys)
    new = None if is_under_way else await context.services.generator.generate(context.actor.organization_id)

    def work(tx: Tx) -> Result:
        domain, keys = _find(tx, context, user_id)
        if new is not None:
            dkim.rotate(tx, context.actor, domain.id, new)
            keys = dkim.get_all(tx, domain.id)
        return Result(RotateAnswer(domain.name, [_item(key) for key in keys]))

    return await context.write(work)


def _find(tx: Tx, context: RequestContext, user_id: str) -> tuple[Domain, list[dkim.Key]]:
    problems: list[FieldError] = []
    name = parse_domain_field(context.path["domain"], problems)
    if problems:
        raise not_found()
    domain = domains.get_own(tx, context.actor, name, user_id)
    return domain, dkim.get_all(tx, domain.id)


def _item(key: dkim.Key) -> DkimItem:
    host = f"{key.selector}._domainkey"
    until = None if key.until is None else timestamp(key.until)
    return DkimItem(host, key.value, key.state == "signing", key.selector, key.state, until)
