"""Reads on PostgreSQL in the event loop, without a thread: a few connections carry the statements of all requests.

A stranger would get wrong: a read is run from its beginning again for each answer that comes. It asks until it finds
an answer that is not there yet, and asks the same the next time: nothing else may decide what it asks.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg

from postroom.db.pipeline import Outcome, Pipeline, connect, failure
from postroom.db.tx import Lost, Row, Tx
from postroom.errors import Busy

T = TypeVar("T")

# One does for most; a page that PostgreSQL has to fetch from its disk holds up what is behind it on its connection.
LINES = 4
# On one connection, before the next are refused. Who asked may have gone; PostgreSQL has it before it all the same.
WAITING = 4096
# Severities of an error after which PostgreSQL ends the connection.
LAST_WORDS = ("FATAL", "PANIC")


class LoopReads:
    """The reads of a process. They belong to the event loop that they are called in."""

    def __init__(self, url: str) -> None:
        self._lines = [_Line(url) for _ in range(LINES)]

    async def run(self, work: Callable[[Tx], T]) -> T:
        answers = _Answers()
        tx = Tx(answers)
        while True:
            try:
                return work(tx)
            except _Unanswered as asked:
                line = min(self._lines, key=lambda line: line.load)
                if line.load >= WAITING:
                    raise Busy("Too many reads are waiting. Try again.") from None
                answers.add(asked.sql, asked.params, await line.ask(asked.sql, asked.params))

    def close(self) -> None:
        for line in self._lines:
            line.close()


class _Unanswered(BaseException):
    """Not an Exception: a read may catch those."""

    def __init__(self, sql: str, params: Mapping[str, Any]) -> None:
        self.sql = sql
        self.params = params


class _Answers:
    """The connection that a read sees: it knows the answers so far."""

    def __init__(self) -> None:
        self._known: list[tuple[str, Mapping[str, Any], list[Row]]] = []
        self._used = 0

    def add(self, sql: str, params: Mapping[str, Any], rows: list[Row]) -> None:
        self._known.append((sql, params, rows))
        self._used = 0

    def fetch(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        if self._used == len(self._known):
            raise _Unanswered(sql, params)
        asked, given, rows = self._known[self._used]
        if asked != sql or given != params:
            raise LookupError("a read that does not ask the same when it is run again")
        self._used += 1
        return rows

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        self.fetch(sql, params)

    def in_transaction(self) -> bool:
        return False

    def close(self) -> None:
        """There is nothing to close."""


class _Line:
    """One connection, opened when first needed and again when it was lost."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._raw: psycopg.Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pipeline: Pipeline
        self._socket = -1
        self._waiting: deque[asyncio.Future[list[Row]]] = deque()
        self._sending = False
        self._coming = 0

    @property
    def load(self) -> int:
        """How many statements are before the next one, also of those who have given up waiting."""
        return len(self._waiting) + self._coming

    async def ask(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        try:
            return await self._ask(sql, params)
        except Lost:  # after an outage, or behind a statement that has failed; it changes nothing, so again
            return await self._ask(sql, params, alone=True)

    async def _ask(self, sql: str, params: Mapping[str, Any], *, alone: bool = False) -> list[Row]:
        """`alone`: between syncs of its own, so that no other statement can fail it."""
        loop = asyncio.get_running_loop()
        if self._raw is None or self._loop is not loop:
            self._coming += 1
            try:
                await self._open(loop)
            finally:
                self._coming -= 1
        answer: asyncio.Future[list[Row]] = loop.create_future()
        if alone:
            self._send()
        try:
            self._pipeline.send(sql, params)
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                self._lose()
            raise failure(error) from None
        self._waiting.append(answer)
        if alone:
            self._send()
        elif not self._sending:  # what else is asked in this turn of the loop goes with it
            self._sending = True
            loop.call_soon(self._send)
        return await answer

    async def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._loop is not loop:
            self.close()
            self._waiting.clear()
            self._loop, self._opening = loop, None
        if self._opening is None or self._opening.done():
            self._opening = loop.create_task(self._connect(loop))
        await asyncio.shield(self._opening)

    async def _connect(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            raw = await asyncio.to_thread(connect, self._url)
        except psycopg.Error as error:
            raise failure(error, was_open=False) from error
        self._raw, self._pipeline, self._sending = raw, Pipeline(raw), False
        self._socket = raw.pgconn.socket
        loop.add_reader(self._socket, self._receive)

    def _send(self) -> None:
        self._sending = False
        if self._raw is not None:
            self._flush(self._pipeline.sync)

    def _flush(self, send: Callable[[], bool]) -> None:
        if self._raw is None or self._loop is None:
            return
        try:
            if send():
                self._loop.remove_writer(self._socket)
            else:
                self._loop.add_writer(self._socket, self._flush, self._pipeline.flush)
        except psycopg.OperationalError:
            self._lose()

    def _receive(self) -> None:
        try:
            for outcome in self._pipeline.outcomes():
                if isinstance(outcome, psycopg.Error) and outcome.diag.severity_nonlocalized in LAST_WORDS:
                    self._lose()
                    return
                self._settle(self._waiting.popleft(), outcome)
        except psycopg.OperationalError:
            self._lose()

    def _settle(self, answer: asyncio.Future[list[Row]], outcome: Outcome) -> None:
        if answer.done():  # whoever waited has gone away
            return
        if isinstance(outcome, psycopg.Error):
            answer.set_exception(failure(outcome))
        else:
            answer.set_result(outcome)

    def _lose(self) -> None:
        waiting, self._waiting = self._waiting, deque()
        self.close()
        for answer in waiting:
            self._settle(answer, psycopg.OperationalError("the connection is gone"))

    def close(self) -> None:
        raw, self._raw = self._raw, None
        if raw is None:
            return
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)
        raw.close()
