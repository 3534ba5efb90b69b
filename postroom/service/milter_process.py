"""The process of the milter."""

import argparse
import gc

import uvloop

from postroom.db import open_database
from postroom.milter import server
from postroom.settings import Settings


def run_milter(settings: Settings) -> None:
    """Runs the milter until SIGTERM or SIGINT."""

    database = open_database(settings.database)
    try:
        gc.collect()
        gc.freeze()
        uvloop.run(server.run(database, settings))
    finally:
        database.close()


def main(settings: Settings, _options: argparse.Namespace, _files: list[int]) -> None:
    run_milter(settings)
