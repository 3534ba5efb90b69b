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
    from postroom.cluster import moves, nodes

    def work(tx: Any) -> dict[str, Any]:
        home = nodes.home(tx, account_id)
        names = {node.id: node.name for node in nodes.everything(tx)}
        if home is None:
            raise Refused("unknown_account", f"Account {account_id} is on no node.")
        move = moves.get(tx, account_id)
        to = names[move.target] if move else None
        return {"id": account_id, "node": names[home], "phase": move.state if move else None, "to": to}

    found = store.write(work)
    text = f"{account_id} is on {found['node']}."
    if found["phase"]:
        text += f" Its move to {found['to']}: {found['phase']}."
    options.show(found, text, as_json)


@app.command("move")
def move_account(
    account_id: Id,
    node: Annotated[str, typer.Argument(help="The target node.")],
    wait: Annotated[bool, typer.Option(help="Wait until the move ends. It continues without this.")] = True,
) -> None:
    """Move an account with all its mail to another node, while it is used. At the end it is
    closed for a moment and its sessions end; mail that arrives then comes some seconds later. To
    interrupt this does not stop the move."""
    from postroom import settings
    from postroom.cluster import moves
    from postroom.db import open_database

    move = store.write(lambda tx: moves.request(tx, account_id, node))
    if not wait:
        print(f"{account_id} is being moved to {node}: `postroom accounts show {account_id}` shows the progress.")
        return
    database = open_database(settings.load().database)
    try:
        _follow(database, account_id, move.target)
    finally:
        database.close()
    print(f"{account_id} is on {node}.")


@app.command("cancel-move")
def cancel_move(account_id: Id, as_json: Json = False) -> None:
    """Cancel a move, until the account is at home on its new node. The account stays where it
    is. The copy on the other node is erased, now or when that node is back."""
    from postroom.cluster import moves, nodes

    def work(tx: Any) -> dict[str, Any]:
        move, names = moves.cancel(tx, account_id), {node.id: node for node in nodes.everything(tx)}
        home = nodes.home(tx, account_id)
        ends = [names[move.source], names[move.target]] if move else []
        return {
            "id": account_id,
            "node": names[home].name if home else None,
            "phase": move.state if move else None,
            "to": ends[1].name if ends else None,
            "frozen": move is not None and move.phase == "frozen",
            "waits_for": [node.name for node in ends if node.is_away(tx.now)],
        }

    found = store.write(work)
    options.show(found, _cancelled(found), as_json)


def _cancelled(found: dict[str, Any]) -> str:
    id_, node, away = found["id"], found["node"], found["waits_for"]
    if found["phase"] is None:
        return f"{id_} is not being moved: it is on {node}." if node else f"{id_} is not being moved."
    first, second = (f"when {name} is back" if name in away else "in a moment" for name in (node, found["to"]))
    opens = f" It opens again {first}." if found["frozen"] else ""
    erased = first if node in away else second
    return f"The move is cancelled: {id_} stays on {node}.{opens} The copy on {found['to']} is erased {erased}."


@app.command("list-moves")
def list_moves(as_json: Json = False) -> None:
    """Show the accounts that are on their way, and what cancelled moves have left that is not
    erased yet."""
    from postroom.cluster import moves, nodes

    def work(tx: Any) -> list[dict[str, Any]]:
        names = {node.id: node.name for node in nodes.everything(tx)}
        under_way, left = moves.everything(tx), nodes.leftovers(tx)
        unknown = dict.fromkeys(("messages", "copied", "reason"))
        return [
            *(
                {
                    **{"id": move.account_id, "from": names[move.source], "to": names[move.target]},
                    **{"phase": move.state, "messages": move.messages, "copied": move.copied, "reason": move.reason},
                }
                for move in under_way
            ),
            *({"id": id_, "from": None, "to": names[node], "phase": "erase", **unknown} for id_, node in left),
        ]

    found = store.write(work)
    options.show(found, "\n".join(map(_line, found)) or "No account is being moved.", as_json)


def _line(move: dict[str, Any]) -> str:
    if move["phase"] == "erase":
        return f"{move['id']:>12}  the copy on {move['to']} is erased when {move['to']} is back"
    way = f"{move['from']} → {move['to']}"
    how = f"{move['copied']} of {move['messages']} messages"
    return f"{move['id']:>12}  {way:<36} {move['phase']:<10} {how}  {move['reason'] or ''}".rstrip()


def _follow(database: Any, account_id: int, target: int) -> None:
    from postroom.cluster import moves, nodes

    told = ""
    while True:
        move, home = database.write_sync(lambda tx: (moves.get(tx, account_id), nodes.home(tx, account_id)))
        if home == target:
            _say(_bar(1, 1), end=True)
            return
        if move is None or move.cancelled:
            raise Refused("move_cancelled", f"The move was cancelled, or account {account_id} was deleted.")
        if move.reason and move.reason != told:
            print(f"The move is tried again: {move.reason}", file=sys.stderr)
            told = move.reason
        _say(_bar(move.copied, move.messages))
        time.sleep(PAUSE_SECONDS)


def _bar(done: int, of: int) -> str:
    full = BAR * done // of if of else 0
    return f"[{'#' * full}{'.' * (BAR - full)}] {done} of {of} messages"


def _say(text: str, end: bool = False) -> None:
    if sys.stderr.isatty():
        print("\r" + ("done" if end else text).ljust(BAR + 40), end="\n" if end else "", file=sys.stderr, flush=True)
