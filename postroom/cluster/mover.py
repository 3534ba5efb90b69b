"""Carries out moves: the worker of the node that has the mail copies the mailbox while it is in
use, freezes the account to copy the last difference, compares, and switches.

The freeze does not rely on ended sessions. The mailbox is sealed (maildir.py), so a session that
began a moment earlier cannot add anything that would be lost. Deliveries are deferred, never
refused.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from postroom import leases
from postroom.cluster import moves, nodes
from postroom.cluster.moves import Move
from postroom.cluster.nodes import Node
from postroom.db import Database, Tx
from postroom.log import log
from postroom.mailplane.dovecot import doveadm, maildir
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint, Failed
from postroom.mailplane.internal_addresses import login_name

# Maximum number of copies while the mailbox is in use. Copying stops after a copy that takes less
# than SHORT_SECONDS, about as long as a person would wait.
PASSES = 6
SHORT_SECONDS = 2.0
# If the last copy takes longer than this, the account is not frozen.
LONG_SECONDS = 20.0
PROGRESS_SECONDS = 1.0
COPY_SECONDS = 24 * 3600.0
FREEZE_SECONDS = 60.0
# Times for deliveries that began before the freeze: until they start to write, and until they are
# done.
DRAIN_SECONDS = 0.5
DELIVERY_SECONDS = 15.0
# Longest wait for the lock between the nodes' copies of one account.
LOCK_SECONDS = 30


class Stuck(Exception):
    """A move cannot continue now. The text says why."""


class Mover:
    """Carries out the moves of one node, one after the other."""

    def __init__(
        self, database: Database, node: int, mail: Path, endpoint: Callable[[Node], DoveadmEndpoint | None]
    ) -> None:
        self._database = database
        self.node = node
        self._mail = mail
        self._endpoint = endpoint

    async def due(self) -> Move | None:
        """Returns the move to continue now; None if there is none."""
        return await self._database.read(partial(moves.next_due, node=self.node))

    async def carry_on(self, move: Move) -> None:
        """Continues a move. Records the reason if the move cannot continue."""
        try:
            await self._step(move)
        except (Stuck, Failed, OSError, ValueError, TimeoutError) as error:
            reason = str(error) or "It took too long."
            log.warning("move_backed_off", account_id=move.account_id, phase=move.phase, reason=reason)
            await self._database.write(partial(_back_off, move=move, reason=reason))

    async def leftover(self) -> int | None:
        """Returns an account whose leftover on this node must be erased; None if there is none."""
        return await self._database.read(partial(nodes.next_leftover, node=self.node))

    async def erase_leftover(self, account_id: int) -> None:
        """Erases what a cancelled move left of an account on this node."""
        if await self._erase(account_id):
            await self._database.write(partial(_forget, node=self.node, account_id=account_id))

    async def heartbeat(self) -> None:
        """Records that the node is alive, then sleeps for HEARTBEAT_MS."""
        await self._database.write(partial(nodes.see, id_=self.node))
        await asyncio.sleep(nodes.HEARTBEAT_MS / 1000)

    async def _step(self, move: Move) -> None:
        if move.phase == "clean":
            await self._clean(move)
        elif move.cancelled or (move.phase == "copy" and not await self._is_wanted(move)):
            await self._take_back(move)
        else:
            await self._move(move)

    async def _take_back(self, move: Move) -> None:
        """Opens the account, and has its copy erased once no earlier copy adds to it."""
        await asyncio.to_thread(maildir.unseal, self._mail, move.account_id)
        await self._database.write(partial(moves.thaw, account_id=move.account_id, reason="The move was cancelled."))
        if await asyncio.to_thread(maildir.is_being_copied, self._mail, move.account_id):
            raise Stuck("An earlier copy is still running.")
        await self._database.write(partial(moves.take_back, move=move))
        log.info("move_cancelled", account_id=move.account_id, source=move.source, target=move.target)

    async def _is_wanted(self, move: Move) -> bool:
        return await self._database.read(partial(moves.is_wanted, account_id=move.account_id))

    async def _move(self, move: Move) -> None:
        here, there = await self._ends(move)
        if move.phase == "copy":
            await self._copy(move, here, there)
            if not await self._database.write(partial(moves.freeze, account_id=move.account_id)):
                return
        try:
            async with asyncio.timeout(FREEZE_SECONDS):
                await self._finish(move, here, there)
        except Exception as error:
            await asyncio.to_thread(maildir.unseal, self._mail, move.account_id)
            await self._database.write(partial(moves.thaw, account_id=move.account_id, reason=str(error)))
            raise

    async def _ends(self, move: Move) -> tuple[DoveadmEndpoint, "_There"]:
        found = {node.id: node for node in await self._database.read(nodes.everything)}
        here, target = self._endpoint(found[move.source]), found[move.target]
        there = self._endpoint(target)
        if here is None or there is None:
            raise Stuck(f"{target.name} cannot be reached yet.")
        return here, _There(there, f"tcps:{_host(target.address)}:{target.port + 2}")

    async def _copy(self, move: Move, here: DoveadmEndpoint, there: "_There") -> None:
        """Copies repeatedly, including mail that arrives meanwhile, until the difference is
        small."""
        took = 0.0
        for number in range(1, PASSES + 1):
            if await self._is_cancelled(move):
                return
            began = asyncio.get_running_loop().time()
            copying = asyncio.create_task(_back_up(here, there, move.account_id))
            try:
                while not copying.done():
                    await asyncio.wait([copying], timeout=PROGRESS_SECONDS)
                    await self._tell(move, here, there)
            finally:
                copying.cancel()
            try:
                await copying
            except Failed:  # the mailbox may have changed; only the copy of the frozen one must not fail
                if number == PASSES:
                    raise
                continue
            took = asyncio.get_running_loop().time() - began
            if number > 1 and took < SHORT_SECONDS:
                return
        if took > LONG_SECONDS:
            raise Stuck("Mail arrives faster than it can be copied.")

    async def _is_cancelled(self, move: Move) -> bool:
        return await self._database.read(partial(moves.is_cancelled, account_id=move.account_id))

    async def _tell(self, move: Move, here: DoveadmEndpoint, there: "_There") -> None:
        counts = [await _count(endpoint, move.account_id) for endpoint in (here, there.endpoint)]
        tell = partial(moves.tell, account_id=move.account_id, messages=counts[0], copied=min(counts))
        await self._database.write(tell)

    async def _finish(self, move: Move, here: DoveadmEndpoint, there: "_There") -> None:
        """Copies the last difference of the frozen account, compares both sides, and switches the
        account to the target."""
        await self._close(move, here)
        await _back_up(here, there, move.account_id)
        ours, theirs = [await _contents(endpoint, move.account_id) for endpoint in (here, there.endpoint)]
        if ours != theirs:
            raise Stuck("The copy differs from the mailbox.")
        if await self._database.write(partial(moves.switch, move=move)):
            log.info("account_moved", account_id=move.account_id, source=move.source, target=move.target)

    async def _close(self, move: Move, here: DoveadmEndpoint) -> None:
        """Ends the sessions, waits for deliveries, seals the mailbox so that nothing can be added,
        and ends the sessions again."""
        for seal in (False, True):
            if seal:
                await self._wait_for_deliveries(move)
                await asyncio.to_thread(maildir.seal, self._mail, move.account_id)
            if not await doveadm.end_account(here, move.account_id):
                raise Stuck("Its sessions could not be ended.")
        await asyncio.to_thread(maildir.unlock, self._mail, move.account_id)

    async def _wait_for_deliveries(self, move: Move) -> None:
        """New deliveries are deferred. A delivery that the seal interrupts is repeated later and
        might put its message into the mailbox twice."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DELIVERY_SECONDS):
                await asyncio.sleep(DRAIN_SECONDS)
                while not await asyncio.to_thread(maildir.is_quiet, self._mail, move.account_id):
                    await asyncio.sleep(DRAIN_SECONDS / 5)

    async def _clean(self, move: Move) -> None:
        """Ends sessions that were slow to start, and then erases the mail and the file that stands
        in the mailbox's place."""
        here, _ = await self._ends(move)
        if not await doveadm.end_account(here, move.account_id):
            raise Stuck("Its sessions could not be ended.")
        if await self._erase(move.account_id):
            await self._database.write(partial(moves.finish, account_id=move.account_id))

    async def _erase(self, account_id: int) -> bool:
        """Erases part of the account's mail on this node, a bounded number of entries per call.
        Returns True if nothing is left."""
        left = maildir.ERASE_BATCH_ENTRIES
        for name in (maildir.SEALED, ""):
            left = await asyncio.to_thread(maildir.erase, self._mail, account_id, left, name) if left > 0 else 0
        return left > 0


class _There:
    """The target of a move: its doveadm endpoint, and the destination of copies."""

    def __init__(self, endpoint: DoveadmEndpoint, destination: str) -> None:
        self.endpoint = endpoint
        self.destination = destination


def _back_off(tx: Tx, move: Move, reason: str) -> None:
    moves.explain(tx, move.account_id, reason)
    if move.cancelled or not moves.is_cancelled(tx, move.account_id):  # a move that was just cancelled is due at once
        leases.back_off(tx, "move", move.account_id)


def _forget(tx: Tx, node: int, account_id: int) -> None:
    nodes.forget_leftover(tx, node, account_id)
    leases.release(tx, "leftover", [account_id])


def _host(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def _user(account_id: int) -> str:
    return login_name(account_id, 0)


async def _back_up(here: DoveadmEndpoint, there: _There, account_id: int) -> None:
    command = {"user": _user(account_id), "destination": [there.destination], "lockTimeout": LOCK_SECONDS}
    async with asyncio.timeout(COPY_SECONDS):
        _answer(await doveadm.ask(here, [["backup", command, "copy"]]))


async def _count(endpoint: DoveadmEndpoint, account_id: int) -> int:
    with suppress(Failed, OSError, ValueError):
        return sum(int(box["messages"]) for box in await _status(endpoint, account_id, "messages"))
    return 0


async def _contents(endpoint: DoveadmEndpoint, account_id: int) -> tuple[Any, Any]:
    """Returns everything that must be the same on both sides: each folder, and each message with
    the fields by which a client knows it."""
    folders = await _status(endpoint, account_id, "uidvalidity", "uidnext", "guid", "messages")
    command = {"user": _user(account_id), "field": ["mailbox", "uid", "guid", "flags"], "query": ["all"]}
    messages = _answer(await doveadm.ask(endpoint, [["fetch", command, "fetch"]]))
    return (
        sorted(tuple(sorted(folder.items())) for folder in folders),
        sorted((m["mailbox"], m["uid"], m["guid"], *sorted(_flags(m["flags"]))) for m in messages),
    )


def _flags(text: str) -> list[str]:
    """Omits \\Recent, which belongs to the session, not to the message."""
    return [flag for flag in text.split() if flag != "\\Recent"]


async def _status(endpoint: DoveadmEndpoint, account_id: int, *fields: str) -> Any:
    command = {"user": _user(account_id), "field": list(fields), "mailboxMask": ["*"]}
    return _answer(await doveadm.ask(endpoint, [["mailboxStatus", command, "status"]]))


def _answer(answer: Any) -> Any:
    (kind, result, _), *_ = answer
    if kind == "error":
        raise Failed(f"doveadm: {result.get('type')}, exit code {result.get('exitCode')}")
    return result
