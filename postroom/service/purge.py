"""Purges: erases the mail of deleted accounts from the disk, a bounded number of entries at a time.

The path is built only from the account's id, every folder below `mail` is opened without following
links, and only accounts for which `purges.begin_purge` was called are touched. If the process is
killed in the middle, the next round continues (decision 0038).
"""

import asyncio
from functools import partial
from pathlib import Path

from postroom import leases
from postroom.accounts import purges
from postroom.db import Database, Tx
from postroom.log import log
from postroom.mailplane.dovecot import maildir


async def purge(database: Database, mail: Path, ids: list[int]) -> None:
    """Erases the mail of accounts whose purge has begun, at most ERASE_BATCH_ENTRIES files and
    folders in all. An account with mail left stays due."""
    erased, failed = await asyncio.to_thread(_erase, mail, ids)
    await database.write(partial(_write_down, ids=ids, erased=erased, failed=failed))


def _erase(mail: Path, ids: list[int]) -> tuple[list[int], list[int]]:
    """Returns the accounts that have no mail left, and those whose mail could not be erased."""
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
        purges.reschedule_purge(tx, id_)
    leases.release(tx, "purge", ids)
