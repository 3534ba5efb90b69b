"""The end of a deleted account's mail: what is due is erased from the disk, a bounded part at a
time.

The path is made of the account's number alone, every folder below `mail` is opened without
following links, and only an account that `purges.begin_purge` has given up is ever touched. A
kill in the middle leaves less of it, and the next round goes on (decision 0038).
"""

import asyncio
from functools import partial
from pathlib import Path

import structlog

from postroom import leases
from postroom.accounts import purges
from postroom.db import Database, Tx
from postroom.mailplane.dovecot import maildir

log = structlog.get_logger()


async def purge(database: Database, mail: Path, ids: list[int]) -> None:
    """Erases the mail of accounts whose purge has begun, up to so many files and folders in all;
    what is left of an account stays due."""
    erased, failed = await asyncio.to_thread(_erase, mail, ids)
    await database.write(partial(_write_down, ids=ids, erased=erased, failed=failed))


def _erase(mail: Path, ids: list[int]) -> tuple[list[int], list[int]]:
    """The accounts of which nothing is left, and those whose mail could not be erased."""
    erased, failed, left = [], [], maildir.ERASE_BATCH_ENTRIES
    for id_ in ids:
        try:
            left = maildir.erase(mail, id_, left)
        except OSError as error:
            log.warning("mail_not_erased", account_id=id_, reason=error.strerror)
            failed.append(id_)
            continue
        if left <= 0:
            break
        erased.append(id_)
    return erased, failed


def _write_down(tx: Tx, ids: list[int], erased: list[int], failed: list[int]) -> None:
    for id_ in erased:
        purges.finish_purge(tx, id_)
    for id_ in failed:
        purges.postpone_purge(tx, id_)
    leases.release(tx, "purge", ids)
