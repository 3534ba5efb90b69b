"""`postroom api login`: URL and key, tried and kept for the user alone."""

import os

import typer

from postroom.cli import connection
from postroom.cli.connection import KeyFile, Url


def login(url: Url = None, key_file: KeyFile = None) -> None:
    """Try URL and key, and keep both in a file that only you can read; without --key-file the
    key is asked for."""
    from postroom.client import PostroomError

    base = url or os.environ.get("POSTROOM_URL") or typer.prompt("URL of the API", err=True)
    key = connection.read(key_file) if key_file else typer.prompt("API key", hide_input=True, err=True)
    with connection.open_client(base, key) as client:
        try:
            client.get_limits()
        except PostroomError as error:
            if error.code != "forbidden":  # a valid key that may not ask for this
                raise
    print(f"Saved in {connection.save(base, key)}.")
