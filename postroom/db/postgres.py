"""PostgreSQL through psycopg. SQL statements have `:name` parameters; the translation of each
statement is cached.

Our SQL must not contain a `:` in a literal or as a cast.
"""

import contextlib
import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import psycopg

from postroom.db.loop_reads import LoopReader
from postroom.db.pipeline import (
    CANCEL_SECONDS,
    NoAnswer,
    Outcome,
    Pipeline,
    StatementFailed,
    cancel,
    connect,
    failure,
    is_lost,
)
from postroom.db.tx import RELEASE, SAVEPOINT, ConnectionLost, EarlierJobFailed, Row, Tx
from postroom.errors import Busy, OutcomeUnknown

# Seconds that a statement waits for its result before the server is told to cancel it. A slow read
# may sum up whole tables.
WRITE_SECONDS = 10.0
SLOW_READ_SECONDS = 30.0

LOCK_TIMEOUT = "SET LOCAL lock_timeout = 50"  # ms; shorter than deadlock_timeout
HOLDERS = """
SELECT DISTINCT grantee FROM information_schema.role_table_grants
WHERE table_schema = current_schema() AND table_name = :view AND privilege_type = 'SELECT'
  AND grantee <> current_user AND grantee <> 'PUBLIC'"""
# Who inserts holds this lock before the id is given, until its commit can be seen by others.
WRITERS = """
SELECT virtualtransaction FROM pg_locks
WHERE locktype = 'relation' AND relation = to_regclass(CAST(:table AS TEXT))
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND mode = 'RowExclusiveLock' AND granted"""
STILL_COMMITS = "SELECT 1 FROM pg_stat_activity WHERE pid = :pid AND wait_event = 'SyncRep'"


class PostgresConnection:
    """A connection that one thread uses at a time. It is opened again after the server went away.
    `seconds` is how long a statement waits while the server sends nothing; None: without end."""

    def __init__(self, url: str, seconds: float | None = None) -> None:
        self._url = url
        self._seconds = seconds
        self._raw: psycopg.Connection | None = None
        self._warned = False
        self._uncertain: int | None = None  # process id of the backend that did not answer a COMMIT
        self._pipeline: Pipeline
        self._unsent: list[tuple[str, Mapping[str, Any]]] = []  # sent with the next `fetch`
        self._before_savepoint = 0  # number of unsent statements from before the last SAVEPOINT

    @property
    def _is_open(self) -> bool:
        return self._raw is not None and not self._raw.closed

    def run(self, sql: str, params: Mapping[str, Any]) -> None:
        """Queues a statement whose rows nobody needs. The next `fetch` sends it, and it may fail
        there. At most the statements of one job wait for a `fetch` of the next job."""
        if sql == RELEASE and (SAVEPOINT, params) in self._unsent:
            self.fetch(sql, params)
            return
        if sql == SAVEPOINT:
            self._before_savepoint = len(self._unsent)
        self._unsent.append((sql, params))

    def fetch(self, sql: str, params: Mapping[str, Any]) -> list[Row]:
        if sql == "COMMIT":
            self._commit()
            return []
        if sql.startswith("ROLLBACK"):
            self._finish_unsent()
            if not self._is_open:  # the server has rolled the transaction back
                self.close()
                raise failure(psycopg.OperationalError("the connection is gone"))
        was_open = self._is_open
        unsent, earlier = self._take_unsent()
        try:
            outcomes = self._ask([*unsent, (sql, params)])
            _raise_earlier(outcomes[:earlier])
            if errors := [outcome for outcome in outcomes if isinstance(outcome, psycopg.Error)]:
                raise errors[0]
        except psycopg.Error as error:
            raised = failure(error, was_open=was_open)
            if is_lost(error):
                self.close()
            # A StatementFailed has no cause: a log would show the server's detail there.
            raise raised from (None if isinstance(raised, StatementFailed) else error)
        rows = outcomes[-1]
        return rows if isinstance(rows, list) else []

    def _ask(self, statements: list[tuple[str, Mapping[str, Any]]], *, cancels: bool = True) -> list[Outcome]:
        """Sends the statements together. Returns the outcome of each after all have finished."""
        if not self._is_open:
            self._open()
        refused: list[Outcome] = []
        try:
            for sql, params in statements:
                self._pipeline.send(sql, params)
        except psycopg.DataError as error:  # a text with NUL; the results of the earlier statements are due
            refused.append(error)
        return self._answers(self._pipeline.sync(), cancels) + refused

    def _open(self) -> None:
        self._raw = connect(self._url)
        self._raw.add_notice_handler(self._notice)
        self._pipeline = Pipeline(self._raw)
        if self._uncertain is not None:
            if self._ask([(STILL_COMMITS, {"pid": self._uncertain})]) != [[]]:
                self.close()  # each write would leave one more waiting backend, until the server is full
                raise Busy("The database waits for its standby. Try again.")
            self._uncertain = None

    def _answers(self, sent: bool, cancels: bool) -> list[Outcome]:
        """Returns the outcomes of all due statements. After the deadline tells the server to cancel
        if `cancels` is set. Raises NoAnswer if no result arrives then either."""
        assert self._raw is not None
        outcomes: list[Outcome] = []
        waiting, socket = select.poll(), self._raw.pgconn.socket
        seconds = self._seconds
        while self._pipeline.due:
            waiting.register(socket, select.POLLIN if sent else select.POLLIN | select.POLLOUT)
            if waiting.poll(None if seconds is None else seconds * 1000):
                outcomes += self._pipeline.outcomes()
                sent = sent or self._pipeline.flush()
            elif cancels:
                cancel(self._raw)
                seconds, cancels = CANCEL_SECONDS, False
            else:
                self._raw.close()
                raise NoAnswer
        return outcomes

    def _finish_unsent(self) -> None:
        """Sends the unsent statements before a rollback, because a SAVEPOINT may be among them.
        Other failures no longer matter then."""
        if self._unsent and self._is_open:
            unsent, earlier = self._take_unsent()
            with contextlib.suppress(psycopg.OperationalError):  # the rollback fails for the same reason
                _raise_earlier(self._ask(unsent)[:earlier])

    def _take_unsent(self) -> tuple[list[tuple[str, Mapping[str, Any]]], int]:
        """Returns the unsent statements and the number of those that belong to an earlier job.
        Empties the queue."""
        taken = self._unsent, self._before_savepoint
        self._unsent, self._before_savepoint = [], 0
        return taken

    def _commit(self) -> None:
        """Commits, and returns only if the commit is certain. It is not certain after a warning:
        with one PostgreSQL reports that the wait for a synchronous standby was canceled, or that
        there was no transaction. Raises Busy or OutcomeUnknown."""
        if self._unsent:
            self.fetch(*self._unsent.pop())  # after a failure here, certainly nothing is committed
        if self._raw is None or self._raw.closed:
            raise Busy("The database was lost before the commit. Try again.")
        self._warned, backend = False, self._raw.info.backend_pid
        try:
            (outcome,) = self._ask([("COMMIT", {})], cancels=False)  # never cancel the wait for a standby
            if isinstance(outcome, psycopg.Error):
                raise outcome
        except psycopg.Error as error:
            # An ERROR means a rollback. FATAL, or no result at all, can also follow a commit that
            # was made.
            certain = error.diag.severity_nonlocalized == "ERROR"
            self._uncertain = None if certain else backend
            self.close()
            raise Busy("The database has refused the commit. Try again.") if certain else OutcomeUnknown() from None
        if self._pipeline.tag != b"COMMIT":
            raise StatementFailed("The transaction had failed before, and was rolled back at its commit.")
        if self._warned:
            raise OutcomeUnknown

    def _notice(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        self._warned |= diagnostic.severity_nonlocalized == "WARNING"

    @contextmanager
    def transaction(self) -> Iterator[None]:
        try:
            self.fetch("BEGIN", {})
        except ConnectionLost:  # after an outage; no transaction was begun
            self.fetch("BEGIN", {})
        yield

    def limit_lock_waits(self) -> None:
        self.run(LOCK_TIMEOUT, {})

    def checkpoint(self, *, idle: bool) -> None:
        """Does nothing: the server makes its own checkpoints."""

    def in_transaction(self) -> bool:
        idle = psycopg.pq.TransactionStatus.IDLE
        return self._raw is not None and not self._raw.closed and self._raw.info.transaction_status != idle

    def close(self) -> None:
        self._take_unsent()
        if self._raw is not None:
            self._raw.close()


def _raise_earlier(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        if isinstance(outcome, psycopg.Error) and not is_lost(outcome):
            raise EarlierJobFailed(failure(outcome))


class Postgres:
    """The engine behind `postgresql://…`."""

    types: ClassVar[dict[str, str]] = {
        "identity": "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY",
        "exact_text": 'TEXT COLLATE "C"',
        "list": "string_agg",
        "now": "CAST(EXTRACT(EPOCH FROM now()) * 1000 AS BIGINT)",
    }
    has_functions: ClassVar[bool] = True
    writers_sql: ClassVar[str] = WRITERS

    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self) -> PostgresConnection:
        return PostgresConnection(self._url, SLOW_READ_SECONDS)

    def reader(self) -> LoopReader:
        return LoopReader(self._url, self.connect)

    def writer(self, *, has_deadlines: bool = True) -> PostgresConnection:
        return PostgresConnection(self._url, WRITE_SECONDS if has_deadlines else None)

    def view_readers(self, tx: Tx, views: list[str]) -> list[str]:
        return sorted({str(grantee) for view in views for (grantee,) in tx.all(HOLDERS, view=view)})
