"""Gives commands access to the data as the system user, whether or not the server runs.

A command that is run as root becomes the system user first, so that no file that belongs to root is
left behind.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

from postroom import settings
from postroom.instance import data_directory, system_user
from postroom.settings import Settings

T = TypeVar("T")


def write(work: Callable[[Any], T]) -> T:
    """Runs one transaction as the system user and returns its result. Makes the schema if the
    server was never started."""
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
    """Becomes the system user and locks the instance: no service can run on it while the returned
    descriptors are open."""
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
