"""The end of a deleted account's mail: what is due is erased from the disk, a bounded part at a
time.

The path is made of the account's number alone, every folder below `mail` is opened without
following links, and only an account that `purges.begin_purge` has given up is ever touched. A
kill in the middle leaves less of it, and the next round goes on (decision 0038).
"""

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import structlog

from postroom import leases
from postroom.accounts import purges
from postroom.db import Database, Tx
from postroom.mailplane.dovecot import maildir

log = structlog.get_logger()


async def purge(database: Database, mail: Path, id_: int, most: int) -> int:
    """Erases the mail of an account whose purge has begun, up to so many files and folders;
    answers how many more it might have."""
    try:
        left = await asyncio.to_thread(maildir.erase, mail, id_, most)
    except OSError as error:
        log.warning("mail_not_erased", account_id=id_, reason=error.strerror)
        await database.write(partial(_end, id_=id_, how=purges.postpone_purge))
        return most
    await database.write(partial(_end, id_=id_, how=purges.finish_purge if left > 0 else None))
    return left


def _end(tx: Tx, id_: int, how: Callable[[Tx, int], None] | None) -> None:
    if how:
        how(tx, id_)
    leases.release(tx, "purge", [id_])
