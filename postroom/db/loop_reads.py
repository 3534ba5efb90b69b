"""Reads on PostgreSQL in the event loop, without a thread: a few connections carry the statements
of all requests (decision 0108).

The `work` function of a read is run again from its beginning each time a result arrives. It uses
the results so far and stops at the first missing one. A read must therefore send the same
statements each time and depend only on their results.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import psycopg

from postroom.db.pipeline import Pipeline, cancel, connect, failure
from postroom.db.reader import Reader
from postroom.db.tx import Connection, ConnectionLost, Row, Tx
from postroom.errors import Busy

T = TypeVar("T")
Waiter = tuple[asyncio.Future[list[Row]], float]
"""The future result of a statement, and the loop's time when the statement was sent."""

# Number of connections. One is usually enough, but a statement that waits for the server's disk
# delays the statements behind it on the same connection.
CONNECTIONS = 4
# Number of lists at a time: the server finds the rows of one list while the loop encodes the other.
LISTS_AT_ONCE = 2
# Iterations of the loop that a list yields to other work before it sends its statement. A create
# takes eight iterations.
ITERATIONS_BETWEEN = 8
# Largest number of statements waiting on one connection. Statements of cancelled requests count
# too, because PostgreSQL still runs them.
WAITING_STATEMENTS = 4096
# Seconds that a statement waits for its result.
STATEMENT_SECONDS = 6.0
# Checks of a connection in STATEMENT_SECONDS while results are due. A connection that is silent
# from one check to the next gets no new statements. A connection that is silent for half of the
# checks is closed, which leaves time to send its statements on another connection. Checks are
# counted, not seconds: while the whole machine stood still, the server could not answer.
CHECKS = 8
# Severities of the errors after which PostgreSQL closes the connection.
ENDS_CONNECTION = ("FATAL", "PANIC")


class LoopReader(Reader):
    """The reads of a process on PostgreSQL. Its connections belong to the event loop of the call;
    slow reads run in threads."""

    size_sql = "SELECT pg_database_size(current_database())"

    def __init__(self, url: str, connect: Callable[[], Connection]) -> None:
        super().__init__(connect, LISTS_AT_ONCE)
        self._url = url
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: list[_SharedConnection] = []

    async def read_many(self, work: Callable[[Tx], T]) -> T:
        async with self._list_slot():
            for _ in range(ITERATIONS_BETWEEN):
                await asyncio.sleep(0)
            return await self.read(work)

    async def read(self, work: Callable[[Tx], T]) -> T:
        replay = _Replay()
        tx = Tx(replay)
        while True:
            try:
                return work(tx)
            except _ResultMissing as missing:
                replay.add(missing.sql, missing.params, await self._fetch(missing.sql, missing.params))

    async def _fetch(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        loop = asyncio.get_running_loop()
        connection = self._least_loaded(loop)
        if connection.load >= WAITING_STATEMENTS:
            raise Busy("Too many reads are waiting. Try again.")
        try:
            return await connection.fetch(sql, params)
        except _ConnectionSilent:  # an earlier statement on the connection got no result
            return await self._least_loaded(loop).fetch(sql, params, alone=True)
        except ConnectionLost:  # after an outage, or because an earlier statement failed; a read can be repeated
            return await connection.fetch(sql, params, alone=True)

    def _least_loaded(self, loop: asyncio.AbstractEventLoop) -> "_SharedConnection":
        """Returns the least loaded connection. If opening it may fail, returns the least loaded
        open connection instead."""
        if self._loop is not loop:
            for connection in self._connections:
                connection.close()
            self._loop, self._connections = loop, [_SharedConnection(self._url, loop) for _ in range(CONNECTIONS)]
        best = min(self._connections, key=_SharedConnection.rank)
        if best.is_doubtful and (usable := [other for other in self._connections if other.is_usable]):
            best.open_in_background()
            return min(usable, key=_SharedConnection.rank)
        return best

    def close(self) -> None:
        for connection in self._connections:
            connection.close()
        super().close()


class _ConnectionSilent(ConnectionLost):
    """The connection was closed because the server sent nothing."""


class _ResultMissing(BaseException):
    """A read needs a result that has not arrived. This is no Exception, because a read may catch
    exceptions."""

    def __init__(self, sql: str, params: Mapping[str, Any]) -> None:
        self.sql = sql
        self.params = params


class _Replay:
    """Takes the place of a connection in a read: returns the results that have arrived so far."""

    def __init__(self) -> None:
        self._known: list[tuple[str, Mapping[str, Any], list[Row]]] = []
        self._used = 0

    def add(self, sql: str, params: Mapping[str, Any], rows: list[Row]) -> None:
        self._known.append((sql, params, rows))
        self._used = 0

    def fetch(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        if self._used == len(self._known):
            raise _ResultMissing(sql, params)
        known_sql, known_params, rows = self._known[self._used]
        if known_sql != sql or known_params != params:
            raise LookupError("a read that does not ask the same when it is run again")
        self._used += 1
        return rows

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        self.fetch(sql, params)


class _SharedConnection:
    """One connection. It is opened when first needed, and opened again after it was lost."""

    def __init__(self, url: str, loop: asyncio.AbstractEventLoop) -> None:
        self._url = url
        self._loop = loop
        self._raw: psycopg.Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._opens_after = 0.0
        self._pipeline: Pipeline
        self._socket = -1
        self._waiters: deque[Waiter] = deque()
        self._wait_to_open = 0
        self._sync_is_due = False
        self._check_is_due = False
        self._silent_checks = 0  # checks in a row that found results due and none arrived
        self.is_doubtful = False  # the connection was silent, or could not be opened

    @property
    def is_usable(self) -> bool:
        return self._raw is not None and not self._is_silent

    @property
    def _is_silent(self) -> bool:
        return self._silent_checks > 1  # one check may come just after a statement was sent

    @property
    def load(self) -> int:
        """The number of statements ahead of a new one, including cancelled ones."""
        return len(self._waiters) + self._wait_to_open

    def rank(self) -> tuple[bool, int]:
        """Returns a sort key: the connection with the lowest key is likely to answer first."""
        return self._is_silent, self.load

    async def fetch(self, sql: str, params: Mapping[str, Any], *, alone: bool = False) -> list[Row]:
        """Sends a statement and returns its rows. With `alone` the statement has a sync before and
        after it and is not prepared, so that a failure of another statement does not abort it."""
        if self._raw is None:
            self._wait_to_open += 1
            try:
                await self._open()
            finally:
                self._wait_to_open -= 1
        result: asyncio.Future[list[Row]] = self._loop.create_future()
        if alone:
            self._sync()
        try:
            self._pipeline.send(sql, params, prepared=not alone)
        except psycopg.Error as error:
            if isinstance(error, psycopg.OperationalError):
                self._lose()
            raise failure(error) from None
        self._waiters.append((result, self._loop.time()))
        self._check_later()
        if alone:
            self._sync()
        elif not self._sync_is_due:  # one sync for all statements of this iteration of the loop
            self._sync_is_due = True
            self._loop.call_soon(self._sync)
        return await result

    def open_in_background(self) -> None:
        """Starts to open the connection while no read waits for it, at most once in half of
        STATEMENT_SECONDS."""
        if self._loop.time() >= self._opens_after:
            self._start_to_open()

    async def _open(self) -> None:
        opening = self._start_to_open()
        done, _ = await asyncio.wait([opening], timeout=STATEMENT_SECONDS)
        if not done:  # the URL sets a longer connect_timeout
            raise Busy("The database does not answer. Try again.")
        opening.result()

    def _start_to_open(self) -> asyncio.Task[None]:
        if self._opening is None or self._opening.done():
            self._opens_after = self._loop.time() + STATEMENT_SECONDS / 2
            self._opening = self._loop.create_task(self._connect())
            # Retrieves the exception, because asyncio logs an exception that was never retrieved.
            self._opening.add_done_callback(lambda done: done.cancelled() or done.exception())
        return self._opening

    async def _connect(self) -> None:
        try:
            raw = await asyncio.to_thread(connect, self._url)
        except psycopg.Error as error:
            self.is_doubtful = True
            raise failure(error, was_open=False) from error
        self.is_doubtful = False
        self._raw, self._pipeline, self._sync_is_due = raw, Pipeline(raw), False
        self._socket = raw.pgconn.socket
        self._loop.add_reader(self._socket, self._receive)

    def _sync(self) -> None:
        self._sync_is_due = False
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
                if isinstance(outcome, psycopg.Error) and outcome.diag.severity_nonlocalized in ENDS_CONNECTION:
                    self._lose()
                    return
                self._silent_checks = 0
                _complete(self._waiters.popleft()[0], failure(outcome) if isinstance(outcome, Exception) else outcome)
        except psycopg.OperationalError:
            self._lose()

    def _check_later(self) -> None:
        if not self._check_is_due:
            self._check_is_due = True
            self._loop.call_later(STATEMENT_SECONDS / CHECKS, self._check)

    def _check(self) -> None:
        """Runs while results are due. Raises Busy in statements that have waited too long, and
        closes a silent connection."""
        self._check_is_due = False
        if self._raw is not None:
            self._receive()  # results that arrived while the loop was blocked
        if self._raw is None or not self._waiters:
            return
        now = self._loop.time()
        for result, since in self._waiters:
            if now - since < STATEMENT_SECONDS:
                break
            _complete(result, Busy("The database does not answer. Try again."))
        self._silent_checks += 1
        if self._silent_checks > CHECKS / 2:
            self._abandon(self._raw)
        else:
            self._check_later()

    def _abandon(self, raw: psycopg.Connection) -> None:
        """Gives up a connection whose server hangs or is slow, and tells the server to stop. The
        first statement may be the reason, so it fails; the others run again on another
        connection."""

        def end() -> None:
            cancel(raw)
            raw.close()

        self.is_doubtful = True
        for number, (result, _) in enumerate(self._detach()):
            _complete(result, (_ConnectionSilent if number else Busy)("The database does not answer. Try again."))
        self._loop.run_in_executor(None, end)

    def _lose(self) -> None:
        if self._raw is not None:
            raw = self._raw
            waiters = self._detach()
            raw.close()
            for result, _ in waiters:
                _complete(result, failure(psycopg.OperationalError("the connection is gone")))

    def _detach(self) -> deque[Waiter]:
        """Stops using the connection. Returns the waiters for its results."""
        self._leave_loop()
        self._raw, self._silent_checks = None, 0
        waiters, self._waiters = self._waiters, deque()
        return waiters

    def _leave_loop(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(self._socket)
            self._loop.remove_writer(self._socket)

    def close(self) -> None:
        if self._raw is not None:
            self._leave_loop()
            self._raw.close()
            self._raw = None


def _complete(result: asyncio.Future[list[Row]], outcome: list[Row] | Exception) -> None:
    if result.done():  # the request was cancelled
        return
    if isinstance(outcome, Exception):
        result.set_exception(outcome)
    else:
        result.set_result(outcome)
