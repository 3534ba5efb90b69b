"""The end of a deleted account's mail: what is due is erased from the disk, a bounded part at a time.

A stranger would get wrong: the path is made of the account's number alone, every folder below `mail` is opened
without following links, and only an account that `accounts.begin_purge` has given up is ever touched. A kill in the
middle leaves less of it, and the next round goes on.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path

import structlog

from postroom import accounts, leases
from postroom.db import Database, Tx

ENTRIES = 2000
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

log = structlog.get_logger()


async def purge(database: Database, mail: Path, id_: int, most: int) -> int:
    """Erases the mail of an account whose purge has begun, up to so many files and folders; answers how many more it
    might have."""
    try:
        left = await asyncio.to_thread(erase, mail, id_, most)
    except OSError as error:
        log.warning("mail_not_erased", account_id=id_, reason=error.strerror)
        await database.write(partial(_end, id_=id_, how=accounts.postpone_purge))
        return most
    await database.write(partial(_end, id_=id_, how=accounts.finish_purge if left > 0 else None))
    return left


def _end(tx: Tx, id_: int, how: Callable[[Tx, int], None] | None) -> None:
    if how:
        how(tx, id_)
    leases.end(tx, "purge", [id_])


def erase(mail: Path, account_id: int, most: int, suffix: str = "") -> int:
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
        return _erase_entry(shelf, f"{account_id}{suffix}", most)
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
