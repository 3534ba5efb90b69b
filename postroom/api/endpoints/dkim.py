"""The DKIM endpoint: a new key for a domain.

The answer tells what to publish, but nothing signs with it before the DNS shows it.
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
    """A record of a key, as the other records of a domain; `state` is what becomes of it: a
    `next` one is to be published, a `signing` one to be kept, a `retiring` one to be kept until
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
    """Makes a new DKIM key for a domain. The old one signs until the DNS shows the new one;
    asked again meanwhile, it answers the same."""
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
