"""The writer: a thread that commits many requests with one fsync. All writes go through it
(decision 0197).

The thread takes all waiting jobs as a batch, begins a transaction, runs each job behind a
savepoint, and commits. Only then does it wake the waiters, so an acknowledgement follows the fsync.
A job that is refused or fails is rolled back alone. If the commit fails, all jobs of the batch
fail.
"""

import asyncio
import contextlib
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from postroom.db.tx import RELEASE, SAVEPOINT, EarlierJobFailed, SerializationConflict, Tx, WriteConnection
from postroom.errors import Busy
from postroom.log import log

T = TypeVar("T")

BATCH_JOBS = 256
WAITING_JOBS = 4096
IDLE_SECONDS = 0.5
# Seconds that a write waits for the thread before it fails with Busy.
QUEUE_SECONDS = 10.0
# Number of times that a transaction is tried if it is in conflict with other transactions.
TRIES = 5

Work = Callable[[Tx], Any]


@dataclass(slots=True, eq=False)
class Job:
    """The transaction of one request, and the future that the request awaits."""

    work: Work
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def complete(self) -> None:
        if self.future.done():  # the request was cancelled
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


def run_alone(connection: WriteConnection, work: Callable[[Tx], T]) -> T:
    """Runs one transaction in the calling thread, for the command line and for migrations. Returns
    the result of `work`."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(SerializationConflict), committed(connection):
            return work(Tx(connection))
    with committed(connection):
        return work(Tx(connection))


@contextlib.contextmanager
def committed(connection: WriteConnection) -> Iterator[None]:
    """Begins a transaction, and commits after the block. Rolls back if the block raises."""
    with connection.transaction():
        try:
            yield
            connection.fetch("COMMIT", {})
        except BaseException:
            if connection.in_transaction():
                with contextlib.suppress(Busy):  # the connection is gone, together with the transaction
                    connection.fetch("ROLLBACK", {})
            raise


class Writer:
    """The writer thread of a process. `close` finishes the waiting jobs."""

    def __init__(self, connection: WriteConnection) -> None:
        self._connection = connection
        self._jobs: deque[Job] = deque()  # the loop appends, the thread removes
        self._wakeups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._wakeup_is_due = False
        self._is_dirty = False  # there were commits since the last complete checkpoint
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """The number of jobs that the thread has not taken yet."""
        return len(self._jobs)

    async def write(self, work: Work) -> Any:
        """Runs `work` in a transaction. Returns its result after the commit. Concurrent writes have
        no defined order. Raises Busy if too many writes wait."""
        if self._is_closing:
            raise Busy("The service is stopping. Try again.")
        if len(self._jobs) >= WAITING_JOBS:
            raise Busy("Too many writes are waiting. Try again.")
        loop = asyncio.get_running_loop()
        job = Job(work, loop.create_future())
        self._jobs.append(job)
        if not self._wakeup_is_due:  # after all jobs of this iteration, else the first job is a batch of one
            self._wakeup_is_due = True
            loop.call_soon(self._wake_thread)
        deadline = loop.call_later(QUEUE_SECONDS, self._expire, job)
        try:
            return await job.future
        finally:
            deadline.cancel()

    def _wake_thread(self) -> None:
        self._wakeup_is_due = False
        self._wakeups.put(None)

    def _expire(self, job: Job) -> None:
        with contextlib.suppress(ValueError):  # the thread has taken the job and will report its outcome
            self._jobs.remove(job)
            job.error = Busy("Other writes take too long. Try again.")
            job.complete()

    def close(self) -> None:
        self._is_closing = True
        self._wakeups.put(None)
        self._thread.join()
        self._connection.close()

    def _run(self) -> None:
        is_open = True
        while is_open:
            try:
                self._wakeups.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                self._checkpoint(idle=True)
                continue
            is_open = not self._is_closing  # read first, so that jobs added before `close` are still taken
            while jobs := self._next_batch():
                self._finish(jobs)

    def _next_batch(self) -> list[Job]:
        jobs: list[Job] = []
        while self._jobs and len(jobs) < BATCH_JOBS:
            job = self._jobs.popleft()
            if not job.future.cancelled():
                jobs.append(job)
        return jobs

    def _finish(self, jobs: list[Job]) -> None:
        """Commits a batch. A job in conflict with another process runs again in its own
        transaction, where it holds no locks of other jobs."""
        self._commit(jobs)
        again = [job for job in jobs if isinstance(job.error, SerializationConflict)]
        _wake([job for job in jobs if job not in again])
        for job in again:
            for _ in range(TRIES - 1):
                self._commit([job])
                if not isinstance(job.error, SerializationConflict):
                    break
            _wake([job])
        self._checkpoint(idle=False)

    def _commit(self, jobs: list[Job]) -> None:
        """Runs all jobs in one transaction. After an error here all jobs of the batch fail."""
        try:
            with committed(self._connection):
                for number in range(len(jobs)):
                    self._run_job(jobs, number)
            self._is_dirty = True
        except BaseException as error:  # every waiter is told, and the thread lives on
            told = error if isinstance(error, Exception) else Busy("The write was broken off. Try again.")
            for job in jobs:
                job.error = told

    def _run_job(self, jobs: list[Job], number: int) -> None:
        """Runs one job. The queued statements of the previous job are sent with the first `fetch`
        of this job. If one of them fails then, the previous job is undone, and this job starts
        again (decision 0198)."""
        while True:
            if number == 1:
                self._connection.limit_lock_waits()
            try:
                return self._run_behind_savepoint(jobs[number], is_last=number == len(jobs) - 1)
            except EarlierJobFailed as failed:
                self._undo(jobs[number - 1], failed.error)

    def _run_behind_savepoint(self, job: Job, *, is_last: bool) -> None:
        job.error = None
        self._connection.run(SAVEPOINT, {})
        try:
            job.result = job.work(Tx(self._connection))
            (self._connection.fetch if is_last else self._connection.run)(RELEASE, {})
        except Exception as error:
            if not self._connection.in_transaction():  # a full disk rolls the whole transaction back
                raise
            self._undo(job, error)

    def _undo(self, job: Job, error: Exception) -> None:
        job.error = error
        self._connection.fetch("ROLLBACK TO SAVEPOINT job", {})
        self._connection.run(RELEASE, {})

    def _checkpoint(self, *, idle: bool) -> None:
        if not self._is_dirty:
            return
        try:
            self._connection.checkpoint(idle=idle)
        except Busy:  # a reader prevents it; the next batch tries again
            return
        except Exception as error:  # keep the thread alive: acknowledged changes are safe in the WAL
            log.error("checkpoint failed", exc_info=error)
            return
        self._is_dirty = not idle


def _wake(jobs: list[Job]) -> None:
    if jobs:
        with contextlib.suppress(RuntimeError):  # the loop was closed during the commit, so nobody waits
            jobs[0].future.get_loop().call_soon_threadsafe(_complete, jobs)


def _complete(jobs: list[Job]) -> None:
    for job in jobs:
        job.complete()
