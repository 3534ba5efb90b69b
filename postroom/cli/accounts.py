"""`postroom accounts`: on which of several machines an account is, and the way to another one."""

import sys
import time
from typing import Annotated, Any

import typer

from postroom.cli import options, store
from postroom.cli.options import Json
from postroom.errors import Refused

app = typer.Typer(no_args_is_help=True, help="Accounts on several machines (`postroom nodes`).")
Id = Annotated[int, typer.Argument(help="The account's id, as the API answers it.", min=1)]
PAUSE_SECONDS = 0.5
BAR = 30


@app.command("show")
def show_account(account_id: Id, as_json: Json = False) -> None:
    """Show on which node the mail of an account is, and whether it is on its way."""
    from postroom import moves, nodes

    def work(tx: Any) -> dict[str, Any]:
        home = nodes.home(tx, account_id)
        names = {node.id: node.name for node in nodes.everything(tx)}
        if home is None:
            raise Refused("unknown_account", f"Account {account_id} is on no node.")
        move = moves.get(tx, account_id)
        to = names[move.target] if move else None
        return {"id": account_id, "node": names[home], "phase": move.phase if move else None, "to": to}

    found = store.write(work)
    text = f"{account_id} is on {found['node']}."
    if found["phase"]:
        text += f" Its move to {found['to']}: {found['phase']}."
    options.show(found, text, as_json)


@app.command("move")
def move_account(
    account_id: Id,
    node: Annotated[str, typer.Argument(help="The node that it goes to.")],
    wait: Annotated[bool, typer.Option(help="Follow it to its end. It goes on without.")] = True,
) -> None:
    """Move an account with all its mail to another node, while it is used. At the end it is closed for a moment and its
    sessions end; mail that arrives then comes some seconds later. To interrupt this does not stop the move."""
    from postroom import moves, settings
    from postroom.db import open_database

    move = store.write(lambda tx: moves.request(tx, account_id, node))
    if not wait:
        print(f"{account_id} is on its way to {node}: `postroom accounts show {account_id}` tells how far it is.")
        return
    database = open_database(settings.load().database)
    try:
        _follow(database, account_id, move.target)
    finally:
        database.close()
    print(f"{account_id} is on {node}.")


def _follow(database: Any, account_id: int, target: int) -> None:
    from postroom import moves, nodes

    told = ""
    while True:
        move, home = database.write_alone(lambda tx: (moves.get(tx, account_id), nodes.home(tx, account_id)))
        if home == target:
            _say(_bar(1, 1), end=True)
            return
        if move is None or move.phase == "cancelled":
            raise Refused("move_cancelled", f"The move has ended: account {account_id} was deleted.")
        if move.reason and move.reason != told:
            print(f"It is tried again: {move.reason}", file=sys.stderr)
            told = move.reason
        _say(_bar(move.copied, move.messages))
        time.sleep(PAUSE_SECONDS)


def _bar(done: int, of: int) -> str:
    full = BAR * done // of if of else 0
    return f"[{'#' * full}{'.' * (BAR - full)}] {done} of {of} messages"


def _say(text: str, end: bool = False) -> None:
    if sys.stderr.isatty():
        print("\r" + ("done" if end else text).ljust(BAR + 40), end="\n" if end else "", file=sys.stderr, flush=True)
