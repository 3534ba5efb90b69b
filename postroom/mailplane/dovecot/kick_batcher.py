"""Sessions that are to end at the same time: one question to doveadm for all of them, as it takes a
connection and a process of its own for each.

A caller is answered when its own sessions have ended. A caller may also stop waiting, as a client
with a timeout does; the others' sessions end all the same.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from postroom.mailplane.dovecot import doveadm
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint
from postroom.mailplane.internal_addresses import login_name

# From so many on the next ones are another question.
MANY = 64


@dataclass(slots=True)
class _Question:
    """Names of logins, and who waits for which of them."""

    names: dict[str, None] = field(default_factory=dict)  # in their order, each once
    waiting: list[tuple[frozenset[str], asyncio.Future[bool]]] = field(default_factory=list)

    def complete(self, left: Sequence[str], *, is_over: bool = False) -> None:
        """Answers those who wait for none of these any more. Over: the others as well."""
        there, waiting = set(left), self.waiting
        self.waiting = []
        for names, answer in waiting:
            is_gone = names.isdisjoint(there)
            if not is_gone and not is_over:
                self.waiting.append((names, answer))
            elif not answer.done():  # done: the caller has stopped waiting
                answer.set_result(is_gone)


class Endings:
    """The endings that one process asks for. They belong to the event loop that they are asked
    in."""

    def __init__(self) -> None:
        self._next: dict[DoveadmEndpoint, _Question] = {}
        self._asking: set[asyncio.Task[None]] = set()

    async def end(self, door: DoveadmEndpoint, logins: Sequence[tuple[int, int]]) -> bool:
        """Ends every session of these (account id, generation) pairs. False, and a logged
        reason, when it cannot."""
        loop = asyncio.get_running_loop()
        names = [login_name(*login) for login in logins]
        question = self._next.get(door)
        if question is None or len(question.names) >= MANY:
            question = self._next[door] = _Question()
            loop.call_soon(self._ask, door, question)  # behind all that come in this turn of the loop
        question.names.update(dict.fromkeys(names))
        answer: asyncio.Future[bool] = loop.create_future()
        question.waiting.append((frozenset(names), answer))
        return await answer

    def _ask(self, door: DoveadmEndpoint, question: _Question) -> None:
        if self._next.get(door) is question:
            del self._next[door]
        asking = asyncio.get_running_loop().create_task(self._carry_out(door, question))
        self._asking.add(asking)
        asking.add_done_callback(self._asking.discard)

    async def _carry_out(self, door: DoveadmEndpoint, question: _Question) -> None:
        names = list(question.names)
        try:
            await doveadm.end(door, names, question.complete)
        finally:
            question.complete(names, is_over=True)
