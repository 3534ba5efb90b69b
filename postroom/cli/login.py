"""`postroom api login`: tests URL and key, and saves them in a file that only the user can read."""

import os

import typer

from postroom.cli import connection
from postroom.cli.connection import KeyFile, Url


def login(url: Url = None, key_file: KeyFile = None) -> None:
    """Test URL and key, and save both in a file that only you can read. Without --key-file, this
    asks for the key."""
    from postroom.client import PostroomError

    base = url or os.environ.get("POSTROOM_URL") or typer.prompt("URL of the API", err=True)
    key = connection.read(key_file) if key_file else typer.prompt("API key", hide_input=True, err=True)
    with connection.open_client(base, key) as client:
        try:
            client.get_limits()
        except PostroomError as error:
            if error.code != "forbidden":  # the key is valid but may not read limits
                raise
    print(f"Saved in {connection.save(base, key)}.")
