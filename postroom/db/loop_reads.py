"""Reads on PostgreSQL in the event loop, without a thread: a few connections carry the statements
of all requests.

A read is run from its beginning again for each answer that comes. It asks until it finds an
answer that is not there yet, and asks the same the next time: nothing else may decide what it
asks.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg

from postroom.db.pipeline import Outcome, Pipeline, cancel, connect, failure
from postroom.db.tx import ConnectionLost, Row, Tx
from postroom.errors import Busy

T = TypeVar("T")

# One does for most; a page that PostgreSQL has to fetch from its disk holds up what is behind it on
# its connection.
LINES = 4
# On one connection, before the next are refused. Who asked may have gone; PostgreSQL has it before
# it all the same.
WAITING = 4096
# Seconds that a statement waits for its answer. A connection that says nothing for half of them is
# given up, so that there is time to ask on another one; after an eighth nobody new is sent there.
PATIENCE = 6.0
# Severities of an error after which PostgreSQL ends the connection.
LAST_WORDS = ("FATAL", "PANIC")


class LoopReads:
    """The reads of a process. They belong to the event loop that they are called in."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lines: list[_Line] = []

    async def run(self, work: Callable[[Tx], T]) -> T:
        answers = _Answers()
        tx = Tx(answers)
        while True:
            try:
                return work(tx)
            except _Unanswered as asked:
                answers.add(asked.sql, asked.params, await self._ask(asked.sql, asked.params))

    async def _ask(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        loop = asyncio.get_running_loop()
        line = self._line(loop)
        if line.load >= WAITING:
            raise Busy("Too many reads are waiting. Try again.")
        try:
            return await line.ask(sql, params)
        except _Silent:  # behind a statement that got no answer
            return await self._line(loop).ask(sql, params, alone=True)
        except ConnectionLost:  # after an outage, or behind a statement that has failed; it changes nothing, so again
            return await line.ask(sql, params, alone=True)

    def _line(self, loop: asyncio.AbstractEventLoop) -> "_Line":
        """The one with the least to do; while that may not open, one that is."""
        if self._loop is not loop:
            self.close()
            self._loop, self._lines = loop, [_Line(self._url, loop) for _ in range(LINES)]
        line = min(self._lines, key=_Line.rank)
        if line.is_doubtful and (open_ := [other for other in self._lines if other.is_open and not other.is_silent]):
            line.open_beside()
            return min(open_, key=_Line.rank)
        return line

    def close(self) -> None:
        for line in self._lines:
            line.close()


class _Silent(ConnectionLost):
    """The connection was given up because it said nothing."""


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

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self._url = url
        self._loop = loop
        self._raw: psycopg.Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._opens_after = 0.0
        self._pipeline: Pipeline
        self._socket = -1
        self._waiting: deque[tuple[asyncio.Future[list[Row]], float]] = deque()  # and since when
        self._sending = False
        self._coming = 0
        self._heard = 0.0
        self._looks = False
        self.is_silent = False  # answers are due, and none has come for a while
        self.is_doubtful = False  # it was silent, or could not be opened

    @property
    def is_open(self) -> bool:
        return self._raw is not None

    @property
    def load(self) -> int:
        """How many statements are before the next one, also of those who have given up waiting."""
        return len(self._waiting) + self._coming

    def rank(self) -> tuple[bool, int]:
        """The lower, the sooner is an answer to be expected."""
        return self.is_silent, self.load

    async def ask(self, sql: str, params: Mapping[str, Any], *, alone: bool = False) -> list[Row]:
        """`alone`: between syncs of its own, so that no other statement can fail it."""
        if self._raw is None:
            self._coming += 1
            try:
                await self._open()
            finally:
                self._coming -= 1
        answer: asyncio.Future[list[Row]] = self._loop.create_future()
        if alone:
            self._send()
        try:
            self._pipeline.send(sql, params)
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                self._lose()
            raise failure(error) from None
        self._waiting.append((answer, self._loop.time()))
        self._look_later()
        if alone:
            self._send()
        elif not self._sending:  # what else is asked in this turn of the loop goes with it
            self._sending = True
            self._loop.call_soon(self._send)
        return await answer

    def open_beside(self) -> None:
        """Begins to open it, where nobody waits for that. It is tried again after a while."""
        if self._loop.time() >= self._opens_after:
            self._begin_to_open()

    async def _open(self) -> None:
        opening = self._begin_to_open()
        done, _ = await asyncio.wait([opening], timeout=PATIENCE)
        if not done:  # the URL has set a connect_timeout of its own
            raise Busy("The database does not answer. Try again.")
        opening.result()

    def _begin_to_open(self) -> asyncio.Task[None]:
        if self._opening is None or self._opening.done():
            self._opens_after = self._loop.time() + PATIENCE / 2
            self._opening = self._loop.create_task(self._connect())
            self._opening.add_done_callback(
                lambda done: done.cancelled() or done.exception()
            )  # seen, if by nobody else
        return self._opening

    async def _connect(self) -> None:
        try:
            raw = await asyncio.to_thread(connect, self._url)
        except psycopg.Error as error:
            self.is_doubtful = True
            raise failure(error, was_open=False) from error
        self.is_doubtful = False
        self._raw, self._pipeline, self._sending = raw, Pipeline(raw), False
        self._socket = raw.pgconn.socket
        self._loop.add_reader(self._socket, self._receive)

    def _send(self) -> None:
        self._sending = False
        if self._raw is not None:
            self._flush(self._pipeline.sync)

    def _flush(self, send: Callable[[], bool]) -> None:
        if self._raw is None:
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
                self._heard, self.is_silent = self._loop.time(), False
                self._settle(self._waiting.popleft()[0], outcome)
        except psycopg.OperationalError:
            self._lose()

    def _settle(self, answer: asyncio.Future[list[Row]], outcome: Outcome) -> None:
        if answer.done():  # whoever waited has gone away
            return
        if isinstance(outcome, psycopg.Error):
            answer.set_exception(failure(outcome))
        else:
            answer.set_result(outcome)

    def _look_later(self) -> None:
        if not self._looks:
            self._looks = True
            self._loop.call_later(PATIENCE / 8, self._look)

    def _look(self) -> None:
        """While answers are due: who has waited too long is told so, and a connection that says
        nothing is given up."""
        self._looks = False
        if self._raw is not None:
            self._receive()  # what came while the loop itself stood still
        if self._raw is None or not self._waiting:
            return
        now = self._loop.time()
        for answer, since in self._waiting:
            if now - since < PATIENCE:
                break
            if not answer.done():
                answer.set_exception(Busy("The database does not answer. Try again."))
        silent = now - max(self._heard, self._waiting[0][1])
        self.is_silent = silent >= PATIENCE / 8
        if silent >= PATIENCE / 2:
            self._give_up(self._raw)
        else:
            self._look_later()

    def _give_up(self, raw: psycopg.Connection) -> None:
        """The server hangs or is slow: it is told to stop. What it was asked first may be why;
        the others ask again."""

        def end() -> None:
            cancel(raw)
            raw.close()

        (first, _), *others = self._forget()
        self.is_doubtful = True
        if not first.done():
            first.set_exception(Busy("The database does not answer. Try again."))
        for answer, _ in others:
            if not answer.done():
                answer.set_exception(_Silent("The database does not answer. Try again."))
        self._loop.run_in_executor(None, end)

    def _lose(self) -> None:
        if self._raw is not None:
            raw = self._raw
            waiting = self._forget()
            raw.close()
            for answer, _ in waiting:
                self._settle(answer, psycopg.OperationalError("the connection is gone"))

    def _forget(self) -> deque[tuple[asyncio.Future[list[Row]], float]]:
        """It is not used any more. Answers who waits."""
        self._leave_the_loop()
        self._raw, self.is_silent = None, False
        waiting, self._waiting = self._waiting, deque()
        return waiting

    def _leave_the_loop(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)

    def close(self) -> None:
        if self._raw is not None:
            self._leave_the_loop()
            self._raw.close()
            self._raw = None
