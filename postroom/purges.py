"""The end of a deleted account's mail: what is due is erased from the disk, a bounded part at a time.

A stranger would get wrong: the path is made of the account's number alone, every folder below `mail` is opened
without following links, and only an account that `accounts.begin_purges` has given up is ever touched. A kill in the
middle leaves less of it, and the next round goes on.
"""

import asyncio
import os
from functools import partial
from itertools import islice
from pathlib import Path

import structlog

from postroom import accounts
from postroom.db import Database

ENTRIES = 2000
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

log = structlog.get_logger()


async def purge_due(database: Database, mail: Path) -> None:
    """Erases mail that is due, up to ENTRIES files and folders."""
    if not await database.read(accounts.purges_are_due):
        return
    left = ENTRIES
    for id_ in await database.write(accounts.begin_purges):
        try:
            left = await asyncio.to_thread(erase, mail, id_, left)
        except OSError as error:
            log.warning("mail_not_erased", account_id=id_, reason=error.strerror)
            await database.write(partial(accounts.postpone_purge, id_=id_))
            continue
        if left <= 0:
            return
        await database.write(partial(accounts.finish_purge, id_=id_))


def erase(mail: Path, account_id: int, most: int) -> int:
    """Takes away the folder of an account, at most so many entries; answers how many more it might have. 0: it may
    not be done yet."""
    root = os.open(mail, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # where it leads is the operator's choice
    try:
        shelf = os.open(f"{account_id % 256:02x}", FOLDER, dir_fd=root)
    except FileNotFoundError:
        return most
    finally:
        os.close(root)
    try:
        return _erase_entry(shelf, str(account_id), most)
    finally:
        os.close(shelf)


def _erase_entry(parent: int, name: str, most: int) -> int:
    try:
        folder = os.open(name, FOLDER, dir_fd=parent)
    except FileNotFoundError:
        return most
    except NotADirectoryError:  # a file; or a link, whose target is none of ours
        os.unlink(name, dir_fd=parent)
        return most - 1
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in islice(entries, most)]
        for entry_name in names:
            if most > 0:
                most = _erase_entry(folder, entry_name, most)
    finally:
        os.close(folder)
    if most <= 0:
        return 0
    os.rmdir(name, dir_fd=parent)
    return most - 1
