"""The one way to write: a thread that commits many requests with one fsync.

It takes a job, drains what else waits, begins, has each job run behind a savepoint, commits, and
only then wakes the waiters: an acknowledgement follows the fsync. A job that is refused or fails is
rolled back alone; a commit that fails fails all its jobs and says so.

The thread is for what waits (the lock, the disk, a server). Where a statement only computes, the
jobs of a batch are run in the event loop between the thread's begin and its commit (turn.py),
for two threads that both run Python mostly wait for each other.
"""

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from postroom.db.turn import Turn
from postroom.db.tx import Connection, SerializationConflict, Tx
from postroom.errors import Busy

log = structlog.get_logger()

BATCH = 256
WAITING = 4096
IDLE_SECONDS = 0.5
# Seconds that a write waits for its turn, before it is told to come again.
TURN_SECONDS = 10.0
# Times that a transaction is run before whoever waits for it is told that another one was always in
# its way.
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
    patience: str | None
    runs_in_loop: bool
    size: str
    has_roles: bool

    def reader(self) -> Connection: ...

    def loop_reads(self) -> LoopReads | None: ...

    def writer(self, *, is_patient: bool = False) -> Connection: ...

    def begun(self, connection: Any, *, waits: bool = True) -> contextlib.AbstractContextManager[None]: ...

    def checkpoint(self, connection: Any, *, idle: bool) -> None: ...


@dataclass(slots=True, eq=False)
class Job:
    """One request's transaction and who waits for it."""

    work: Work
    future: asyncio.Future[Any]
    is_long: bool = False
    result: Any = None
    error: BaseException | None = None

    def complete(self) -> None:
        if self.future.done():  # whoever waited has gone away
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


@dataclass(slots=True)
class Batch:
    """The jobs of one commit. `turn` are those that the loop runs, once it is begun; `held`
    lasts until its end."""

    jobs: list[Job]
    is_begun: bool = False
    turn: Turn[Job] | None = None
    held: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def run_alone(connection: Connection, engine: Engine, work: Work) -> Any:
    """One transaction by itself, in the calling thread: for the command line and for migrations."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(SerializationConflict):
            return _run_once(connection, engine, work)
    return _run_once(connection, engine, work)


def _run_once(connection: Connection, engine: Engine, work: Work) -> Any:
    with engine.begun(connection):
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
        self._queue_event: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self._connection_lock = (
            threading.Lock()
        )  # held by whoever uses the connection; the loop gives it on with its batch
        self._will_ring = False
        self._locked_out = False  # the last begin in the loop did not get in, nor has the thread since
        self._dirty = False
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs nobody has taken yet."""
        return len(self._jobs)

    async def write(self, work: Work, *, is_long: bool = False) -> Any:
        """Runs `work` in a transaction; returns after the commit. Writes of which none waits for
        another have no order. Raises Busy when too much waits."""
        if self._closing.is_set():
            raise Busy("The service is stopping. Try again.")
        if len(self._jobs) >= WAITING:
            raise Busy("Too many writes are waiting. Try again.")
        loop = asyncio.get_running_loop()
        job = Job(work, loop.create_future(), is_long)
        self._jobs.append(job)
        if not self._will_ring:  # once, behind all that have come together: else the first is a batch by itself
            self._will_ring = True
            loop.call_soon(self._flush)
        turn = loop.call_later(TURN_SECONDS, self._give_up, job)
        try:
            return await job.future
        finally:
            turn.cancel()

    def _give_up(self, job: Job) -> None:
        with contextlib.suppress(ValueError):  # one that was taken is told of its outcome, and no other
            self._jobs.remove(job)
            job.error = Busy("Other writes take too long. Try again.")
            job.complete()

    def _flush(self) -> None:
        self._will_ring = False
        batch = None
        try:
            batch = self._begun_in_loop() if self._engine.runs_in_loop else None
            if batch is not None and batch.turn is not None:
                batch.turn.go_on()
        finally:
            self._queue_event.put(batch)

    def _begun_in_loop(self) -> Batch | None:
        """A batch that comes to its commit a turn of the loop earlier, where neither the thread
        nor another process is at one. What is in the way the thread waits for, and it says what
        fails."""
        if self._locked_out or self._closing.is_set() or not self._connection_lock.acquire(blocking=False):
            return None
        batch = Batch([])
        try:
            batch.jobs = self._next_batch()
            if batch.jobs:
                self._open(batch, waits=False)
        except Busy:
            self._locked_out = True  # until the thread gets in: SQLite waits for seconds where readers are locked out
        finally:
            if not batch.is_begun:
                batch.held.close()
                _roll_back(self._connection)
                self._jobs.extendleft(reversed(batch.jobs))
                self._connection_lock.release()
        return batch if batch.is_begun else None

    def close(self) -> None:
        self._closing.set()
        self._queue_event.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        open_ = True
        while open_:
            try:
                batch = self._queue_event.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                if self._connection_lock.acquire(blocking=False):
                    self._checkpoint(idle=True)
                    self._connection_lock.release()
                continue
            if batch is None and not self._connection_lock.acquire(blocking=False):
                continue  # the loop has begun a batch, which is behind this one in the queue
            open_ = not self._closing.is_set()  # before the last look: what came until then is still taken
            batch = batch or Batch(self._next_batch())
            while batch.jobs:
                self._finish(batch)
                batch = Batch(self._next_batch())
            self._connection_lock.release()

    def _next_batch(self) -> list[Job]:
        jobs: list[Job] = []
        while self._jobs and len(jobs) < BATCH:
            job = self._jobs.popleft()
            if not job.future.cancelled():
                jobs.append(job)
        return jobs

    def _finish(self, batch: Batch) -> None:
        self._commit(batch)
        again = [job for job in batch.jobs if isinstance(job.error, SerializationConflict)]
        self._wake([job for job in batch.jobs if job not in again])
        for job in again:
            self._commit_alone(job)
        self._checkpoint(idle=False)

    def _commit_alone(self, job: Job) -> None:
        """A job that another process was in the way of: alone it holds nothing that anybody
        could wait for."""
        for _ in range(TRIES - 1):
            job.error = None
            self._commit(Batch([job]))
            if not isinstance(job.error, SerializationConflict):
                break
        self._wake([job])

    def _open(self, batch: Batch, *, waits: bool = True) -> None:
        """Begins, and says what the loop is to run."""
        batch.held.enter_context(self._engine.begun(self._connection, waits=waits))
        if self._engine.runs_in_loop and (short := [job for job in batch.jobs if not job.is_long]):
            batch.turn = Turn(short, self._run_job, short[0].future.get_loop())
        self._locked_out = False
        batch.is_begun = True

    def _commit(self, batch: Batch) -> None:
        """Begin, every job, commit. After an error here no job of the batch counts."""
        try:
            with batch.held:
                if not batch.is_begun:
                    self._open(batch)
                    if batch.turn is not None:
                        batch.turn.start()
                self._run_jobs(batch)
                self._connection.fetch("COMMIT", {})
            self._dirty = True
        except Exception as error:  # the waiters get it: nothing is hidden
            _roll_back(self._connection)
            for job in batch.jobs:
                job.error = error

    def _run_jobs(self, batch: Batch) -> None:
        jobs = batch.jobs
        if batch.turn is not None:
            batch.turn.wait(self._closing)
            jobs = [job for job in jobs if job.is_long]
        for number, job in enumerate(jobs):
            if number == 1 and self._engine.patience:
                self._connection.run(self._engine.patience, {})
            self._run_job(job)

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

    def _checkpoint(self, *, idle: bool) -> None:
        if not self._dirty:
            return
        try:
            self._engine.checkpoint(self._connection, idle=idle)
        except Busy:  # a reader is in the way; the next batch tries again
            return
        except Exception as error:  # the thread must live on: what was acknowledged is safe in the WAL
            log.error("checkpoint failed", exc_info=error)
            return
        self._dirty = not idle


def _settle(jobs: list[Job]) -> None:
    for job in jobs:
        job.complete()


def _roll_back(connection: Connection) -> None:
    if connection.in_transaction():
        with contextlib.suppress(Busy):  # the connection is gone, and the transaction with it
            connection.fetch("ROLLBACK", {})
