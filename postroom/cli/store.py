"""The way of the commands to the data: as the system user, whether the server runs or not.

Run as root a command becomes the system user first, so that no file of root's is left
behind.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from postroom import settings
from postroom.instance import data_directory, system_user
from postroom.settings import Settings

T = TypeVar("T")


def write(work: Callable[[Any], T]) -> T:
    """One transaction as the system user; the schema is made when nobody started the server yet."""
    from postroom.db import migrate, open_database

    found = settings.load()
    _become_owner(found)
    migrate(found.database)
    database = open_database(found.database)
    try:
        return database.write_sync(work)
    finally:
        database.close()


def take(found: Settings) -> list[int]:
    """Goes on as the system user, alone: no service runs on the instance while these descriptors
    are open."""
    data_directory.check_path(found.data)
    me = system_user.ensure()
    data_directory.make_directories(found.data, me)
    locks = data_directory.lock(found.data, None, me)
    me.become()
    os.umask(0o077)
    return locks


def _become_owner(found: Settings) -> None:
    data_directory.check_path(found.data)
    me = system_user.ensure()
    data_directory.make_directories(found.data, me)
    me.become()
    os.umask(0o077)
