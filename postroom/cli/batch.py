"""Makes accounts from a CSV file: one call per row, with the passwords in a file that belongs to
the user.

Running the same command again continues the batch. The file of passwords says which rows are done,
and the Idempotency-Keys are made from the name of its last column. So a row whose account was made
but not recorded gets the same answer again, with its password (decision 0077).
"""

import csv
import hashlib
import os
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from postroom.cli import connection
from postroom.client import Client, Conflict, Invalid, NotFound
from postroom.settings import BadSettings

KNOWN = {"address", "user_id", "display_name", "password", "password_hash"}
FIRST = ["address", "user_id", "account_id", "password"]
CREATED = "created"


@dataclass
class Written:
    """The file of passwords: the open file, the name of its batch, and the addresses that it
    already has."""

    file: TextIO
    batch: str
    done: set[str] = field(default_factory=set)


def run(client: Client, source: Path, passwords: Path, same: dict[str, Any]) -> None:
    """Makes the accounts that are not made yet. Refused rows are reported and skipped; any other
    error stops the command."""
    rows = read(source)
    with _open(passwords) as written:
        waiting = [(number, row) for number, row in rows if row["address"] not in written.done]
        refused = made = 0
        try:
            for number, row in _progress(waiting, len(rows) - len(waiting)):
                problem = _make(client, row, same, written)
                if problem:
                    refused += 1
                    print(f"postroom: {source}:{number}: {row['address']}: {problem}", file=sys.stderr)
                else:
                    made += 1
        except BaseException:
            print(f"postroom: {made} made. Run the same command again to continue.", file=sys.stderr)
            raise
    where = "" if str(passwords) == "-" else f"; the passwords are in {passwords}"
    there = len(rows) - len(waiting)
    print(f"{made} made, {there} made before, {refused} refused{where}.", file=sys.stderr)
    if refused:
        sys.exit(1)


def read(source: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows with their line numbers. Every fault of the file itself is found before the first
    call. Raises BadSettings."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as reading:
            table = csv.DictReader(reading, strict=True)
            names = set(table.fieldnames or ())
            if "address" not in names or not names <= KNOWN:
                raise BadSettings(f"{source}: its first line names the columns: address, and any of {_rest()}.")
            rows = [(table.line_num, {k: v.strip() for k, v in row.items() if k and v}) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadSettings(f"{source} cannot be read: {error}.") from None
    seen: set[str] = set()
    for number, row in rows:
        address = row.get("address", "")
        if not address or address in seen:
            raise BadSettings(f"{source}:{number}: {f'{address} occurs twice' if address else 'no address'}.")
        seen.add(address)
    return rows


def _rest() -> str:
    return ", ".join(sorted(KNOWN - {"address"}))


def _make(client: Client, row: dict[str, str], same: dict[str, Any], written: Written) -> str | None:
    """Makes one account. Returns the reason if the row is refused, otherwise None."""
    fields = {name: value for name, value in same.items() if value is not None}
    fields |= {name: value for name, value in row.items() if name != "address"}
    local_part, _, domain = row["address"].rpartition("@")
    key = hashlib.sha256(f"{written.batch} {row['address']}".encode()).hexdigest()
    try:
        made = client.create_account(domain, local_part, idempotency_key=key, **fields)
    except (Invalid, NotFound, Conflict) as error:
        return connection.line(error)
    secret = made.password or made.setup_url
    line = [row["address"], made.account.user_id, made.account.id, secret, CREATED]
    csv.writer(written.file, lineterminator="\n").writerow(line)
    written.file.flush()
    return None


@contextmanager
def _open(passwords: Path) -> Iterator[Written]:
    """The file of passwords: new and readable only by the user, or from an earlier run of the same
    command."""
    batch = f"batch {secrets.token_hex(8)}"
    if str(passwords) == "-":
        yield _begin(sys.stdout, batch)
        return
    try:
        descriptor = os.open(passwords, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BadSettings(f"{passwords} cannot be written: {error.strerror}.") from None
    with os.fdopen(descriptor, "r+", encoding="utf-8", newline="") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid != os.geteuid():
            raise BadSettings(
                f"{passwords} exists and is not a file that only you can read: choose another with --passwords."
            )
        text = file.read()
        whole = text[: text.rfind("\n") + 1]  # an incomplete last line is written again
        file.seek(len(whole.encode()))
        file.truncate()
        if not whole:
            yield _begin(file, batch)
            return
        lines = list(csv.reader(whole.splitlines()))
        if lines[0][:-1] != FIRST or not lines[0][-1].startswith("batch "):
            raise BadSettings(f"{passwords} exists and is not from this command: choose another with --passwords.")
        yield Written(file, lines[0][-1], {line[0] for line in lines[1:] if line})


def _begin(file: TextIO, batch: str) -> Written:
    csv.writer(file, lineterminator="\n").writerow([*FIRST, batch])
    file.flush()
    return Written(file, batch)


def _progress(rows: list[tuple[int, dict[str, str]]], done: int) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(rows) + done, completed=done)
        for row in rows:
            yield row
            progress.advance(task)
