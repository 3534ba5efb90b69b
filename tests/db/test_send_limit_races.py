"""Two nodes that count mail of the same accounts at the same time on PostgreSQL: no count is lost,
no limit is passed, and no order of the locks stops anybody."""

import asyncio
from functools import partial

import pytest

from postroom.accounts import sent_counts
from postroom.accounts.sent_counts import NotSent
from postroom.db import Database, open_database
from postroom.tenants import limits
from postroom.tenants.limits import SetLimits
from postroom.tenants.send_limits import SetSendLimits, SetSendTotals
from tests.db import test_postgres_races
from tests.db.test_postgres_races import World

pytestmark = pytest.mark.usefixtures("hour")
url, world = test_postgres_races.url, test_postgres_races.world
EACH, TOTAL, ROUNDS = 12, 20, 10


async def send(database: Database, ids: list[int]) -> int:
    """Sends from every account at once, several times. Returns how many messages were counted."""

    async def one(id_: int) -> bool:
        try:
            await database.write(partial(sent_counts.count, account_id=id_, recipients=1, hashes=[id_, 7]))
        except NotSent:
            return False
        return True

    return sum(await asyncio.gather(*(one(id_) for id_ in ids * ROUNDS)))


def test_it_works(world: World, url: str) -> None:
    accounts = world.made("first", "second", "third")
    totals = SetSendTotals(recipients_per_hour=TOTAL)
    command = SetLimits(send_limits=SetSendLimits(recipients_per_hour=EACH), send_limits_total=totals)
    world.do(lambda tx: limits.change(tx, world.actor, None, command))
    ids = [account.id for account in accounts]
    nodes = [open_database(url) for _ in range(2)]

    async def both() -> tuple[int, int]:
        return await asyncio.gather(send(nodes[0], ids), send(nodes[1], ids[::-1]))

    try:
        counted = asyncio.run(both())
    finally:
        for node in nodes:
            node.close()
    rows = world.do(lambda tx: [sent_counts.get(tx, account).recipients_this_hour for account in accounts])
    assert sum(counted) == sum(rows) == TOTAL
    assert max(rows) <= EACH
