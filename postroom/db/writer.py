"""The one way to write: a thread that commits many requests with one fsync.

It takes a job, drains what else waits, begins, runs each job behind a savepoint, commits, and only then wakes
the waiters: an acknowledgement follows the fsync. A job that is refused or fails is rolled back alone; a commit
that fails fails all its jobs and says so.
"""

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from postroom.db.tx import Collided, Connection, Lost, Tx
from postroom.errors import Busy

log = structlog.get_logger()

BATCH = 256
WAITING = 4096
IDLE_SECONDS = 0.5
# Seconds that a write waits for its turn, before it is told to come again.
TURN_SECONDS = 10.0
# Times that a transaction is run before whoever waits for it is told that another one was always in its way.
TRIES = 5

Work = Callable[[Tx], Any]


class LoopReads(Protocol):
    """Reads in the event loop that wait for a server without holding it up."""

    async def run(self, work: Work) -> Any: ...

    def close(self) -> None: ...


class Engine(Protocol):
    """What differs between the engines."""

    identity: str
    exact_text: str
    begin: str
    patience: str | None
    inline_reads: bool
    size: str
    has_roles: bool

    def reader(self) -> Connection: ...

    def loop_reads(self) -> LoopReads | None: ...

    def writer(self, *, is_patient: bool = False) -> Connection: ...

    def exclusive(self) -> contextlib.AbstractContextManager[None]: ...

    def tend(self, connection: Any, *, idle: bool) -> None: ...


@dataclass(slots=True, eq=False)
class Job:
    """One request's transaction and who waits for it."""

    work: Work
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        if self.future.done():  # whoever waited has gone away
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


def run_alone(connection: Connection, engine: Engine, work: Work) -> Any:
    """One transaction by itself, in the calling thread: for the command line and for migrations."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(Collided):
            return _run_once(connection, engine, work)
    return _run_once(connection, engine, work)


def _run_once(connection: Connection, engine: Engine, work: Work) -> Any:
    with engine.exclusive():
        connection.fetch(engine.begin, {})
        try:
            result = work(Tx(connection))
            connection.fetch("COMMIT", {})
        except BaseException:
            _roll_back(connection)
            raise
    return result


class Writer:
    """The writing thread of a process. `close` finishes what waits."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection = engine.writer()
        self._jobs: deque[Job] = deque()  # the loop puts them in, the thread takes them out
        self._bell: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._will_ring = False
        self._dirty = False
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs nobody has taken yet."""
        return len(self._jobs)

    async def write(self, work: Work) -> Any:
        """Runs `work` in a transaction; returns after the commit. Raises Busy when too much waits."""
        if self._closing:
            raise Busy("The service is stopping. Try again.")
        if len(self._jobs) >= WAITING:
            raise Busy("Too many writes are waiting. Try again.")
        loop = asyncio.get_running_loop()
        job = Job(work, loop.create_future())
        self._jobs.append(job)
        if not self._will_ring:  # once, behind all that have come together: else the first is a batch by itself
            self._will_ring = True
            loop.call_soon(self._ring)
        turn = loop.call_later(TURN_SECONDS, self._give_up, job)
        try:
            return await job.future
        finally:
            turn.cancel()

    def _give_up(self, job: Job) -> None:
        with contextlib.suppress(ValueError):  # one that was taken is told of its outcome, and no other
            self._jobs.remove(job)
            job.error = Busy("Other writes take too long. Try again.")
            job.settle()

    def _ring(self) -> None:
        self._will_ring = False
        self._bell.put(None)

    def close(self) -> None:
        self._closing = True
        self._bell.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        open_ = True
        while open_:
            try:
                self._bell.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._tend(idle=True)
                continue
            open_ = not self._closing  # before the last look: what came until then is still taken
            while jobs := self._next_batch():
                self._commit(jobs)
                again = [job for job in jobs if isinstance(job.error, Collided)]
                self._wake([job for job in jobs if job not in again])
                for job in again:
                    self._commit_alone(job)
                self._tend(idle=False)

    def _next_batch(self) -> list[Job]:
        jobs: list[Job] = []
        while self._jobs and len(jobs) < BATCH:
            job = self._jobs.popleft()
            if not job.future.cancelled():
                jobs.append(job)
        return jobs

    def _commit_alone(self, job: Job) -> None:
        """A job that another process was in the way of: alone it holds nothing that anybody could wait for."""
        for _ in range(TRIES - 1):
            job.error = None
            self._commit([job])
            if not isinstance(job.error, Collided):
                break
        self._wake([job])

    def _begin(self) -> None:
        with contextlib.suppress(Lost):  # after an outage; nothing was begun, so the next line may
            self._connection.fetch(self._engine.begin, {})
            return
        self._connection.fetch(self._engine.begin, {})

    def _commit(self, jobs: list[Job]) -> None:
        """Begin, every job, commit. After an error here no job of the batch counts."""
        try:
            with self._engine.exclusive():
                self._begin()
                for number, job in enumerate(jobs):
                    if number == 1 and self._engine.patience:
                        self._connection.run(self._engine.patience, {})
                    self._run_job(job)
                self._connection.fetch("COMMIT", {})
            self._dirty = True
        except Exception as error:  # the waiters get it: nothing is hidden
            _roll_back(self._connection)
            for job in jobs:
                job.error = error

    def _run_job(self, job: Job) -> None:
        self._connection.run("SAVEPOINT job", {})
        try:
            job.result = job.work(Tx(self._connection))
            self._connection.fetch("RELEASE SAVEPOINT job", {})  # what the job has run without waiting may fail here
        except Exception as error:
            if not self._connection.in_transaction():  # a full disk rolls everything back
                raise
            job.error = error
            self._connection.fetch("ROLLBACK TO SAVEPOINT job", {})
            self._connection.run("RELEASE SAVEPOINT job", {})

    def _wake(self, jobs: list[Job]) -> None:
        if not jobs:
            return
        loop = jobs[0].future.get_loop()
        try:
            loop.call_soon_threadsafe(_settle, jobs)
        except RuntimeError:  # the loop closed while we committed; nobody waits any more
            return

    def _tend(self, *, idle: bool) -> None:
        if not self._dirty:
            return
        try:
            self._engine.tend(self._connection, idle=idle)
        except Busy:  # a reader is in the way; the next batch tries again
            return
        except Exception as error:  # the thread must live on: what was acknowledged is safe in the WAL
            log.error("checkpoint failed", exc_info=error)
            return
        self._dirty = not idle


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        job.settle()


def _roll_back(connection: Connection) -> None:
    if connection.in_transaction():
        with contextlib.suppress(Busy):  # the connection is gone, and the transaction with it
            connection.fetch("ROLLBACK", {})
