"""Health: `/healthz` says that the process answers; `/readyz` says whether every part that a
mailbox needs answers."""

import msgspec

from postroom.api.context import PublicRequest, Result, Services
from postroom.api.decoding import NoQuery
from postroom.api.route import PUBLIC, route
from postroom.errors import Busy


class Alive(msgspec.Struct, frozen=True):
    status: str = "ok"


class Ready(msgspec.Struct, frozen=True):
    """`parts` gives `ok` for each part, or the reason why not; `instance` is new at every start."""

    status: str
    instance: str
    parts: dict[str, str]


@route("GET", "/healthz", PUBLIC, "Is it alive", Alive)
async def alive(_request: PublicRequest, _query: NoQuery) -> Result:
    """Says that this process answers."""
    return Result(Alive())


@route("GET", "/readyz", PUBLIC, "Is everything ready", Ready, refuses=("busy",))
async def ready(public_request: PublicRequest, _query: NoQuery) -> Result:
    """Says whether the database, worker, milter, Dovecot, opendkim and Postfix answer: 200 only
    when all of them do."""
    services = public_request.services
    parts = {"database": await _database(services)} | await services.probe()
    shown = {name: reason or "ok" for name, reason in parts.items()}
    fine = not any(parts.values())
    return Result(Ready("ready" if fine else "not ready", services.instance, shown), 200 if fine else 503)


async def _database(services: Services) -> str | None:
    try:
        await services.database.ping()
    except Busy as error:
        return error.detail
    return None
