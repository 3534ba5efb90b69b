"""Pipelined statements on one PostgreSQL connection: each is sent without waiting for the results
of the earlier ones.

After a statement has failed, the server does not run the following ones up to the next `sync`;
their outcome is PipelineAborted.
"""

import contextlib
import functools
import re
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg
from psycopg import pq
from psycopg.adapt import PyFormat, Transformer
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InvalidSqlStatementName, PipelineAborted, error_from_result
from psycopg.types.numeric import Int8Dumper

from postroom.db.tx import ConnectionLost, Row, SerializationConflict
from postroom.errors import Busy

Outcome = list[Row] | psycopg.Error

# Default connection parameters, which the URL can override. If the URL names several hosts, libpq
# takes the writable one. The kernel notices a dead host after about two seconds, even while a
# statement waits for its result.
DEFAULTS = {
    "target_session_attrs": "read-write",
    "connect_timeout": "2",  # for each host
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "2",
    "tcp_user_timeout": "2000",
}

_CONFLICTS = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
)

_PARAMETER = re.compile(r":([a-z_]+)")
_STATEMENT, _PREPARATION, _SYNC = range(3)

# Seconds to wait for the server to receive a cancel request, and then again for its result.
CANCEL_SECONDS = 2.0


class StatementFailed(Exception):
    """PostgreSQL refuses a statement, which means a bug in Postroom."""


class NoAnswer(psycopg.OperationalError):
    """The server did not answer in time."""


def connect(url: str) -> psycopg.Connection:
    """Returns a connection to the primary, in autocommit mode. Raises Busy if the URL is invalid;
    the error does not repeat the URL."""
    try:
        parameters = DEFAULTS | conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise Busy("POSTROOM_DATABASE_URL is not a URL that PostgreSQL's libpq understands.") from None
    return psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]


def is_lost(error: psycopg.Error) -> bool:
    """Returns whether the connection can no longer be used. An error of PostgreSQL's severity ERROR
    affects only its statement."""
    return isinstance(error, psycopg.OperationalError) and error.diag.severity_nonlocalized != "ERROR"


def failure(error: psycopg.Error, *, was_open: bool = True) -> Exception:
    """Returns the exception that Postroom raises for an error of PostgreSQL or of the
    connection."""
    if isinstance(error, _CONFLICTS):
        return SerializationConflict("The database is busy. Try again.")
    if isinstance(error, NoAnswer):  # not ConnectionLost, so that the statement is not repeated at once
        return Busy("The database does not answer. Try again.")
    if is_lost(error):  # or could not be opened, because the server is starting or full
        return (ConnectionLost if was_open else Busy)("The database is not available. Try again.")
    if isinstance(error, psycopg.OperationalError):  # affects only this statement: a statement_timeout, a full disk
        return Busy("The database has given it up. Try again.")
    # The server's detail can quote a row with a password hash, so it must not reach a log.
    return StatementFailed(f"{error.sqlstate} {error.diag.message_primary}")


def cancel(raw: psycopg.Connection) -> None:
    """Asks the server to cancel the current statement of a connection, so that the statement does
    not keep its locks."""
    with contextlib.suppress(psycopg.Error):  # the server does not accept the request either
        raw.cancel_safe(timeout=CANCEL_SECONDS)


@functools.cache
def translate(sql: str) -> tuple[bytes, tuple[str, ...], list[PyFormat]]:
    """Replaces `:name` by `$1` and so on. Returns the SQL text, the names in the order of their
    numbers, and the formats of their values."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
    text = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", sql)
    return text.encode(), names, [PyFormat.AUTO] * len(names)


class Pipeline:
    """The statements in progress on a connection, in order. Each statement is prepared once, unless
    `send` is told not to."""

    def __init__(self, raw: psycopg.Connection) -> None:
        raw.adapters.register_dumper(int, Int8Dumper)  # else each integer size needs its own prepared statement
        self._pg = raw.pgconn
        self._pg.nonblocking = 1
        self._pg.enter_pipeline_mode()
        self._values = Transformer(raw)
        self._prepared: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._made = 0
        # Kind, key of the statement and known outcome of each result that is due.
        self.due: deque[tuple[int, Any, Outcome | None]] = deque()
        self.tag = b""  # PostgreSQL's command tag of the last statement that returned no rows

    def send(self, sql: str, params: Mapping[str, Any], *, prepared: bool = True) -> None:
        """Queues a statement; `sync` sends the queued statements. A statement that is not prepared
        does not depend on a preparation that an earlier failure may have aborted."""
        text, names, formats = translate(sql)
        values = self._values.dump_sequence([params[name] for name in names], formats)
        key = (sql, self._values.types or ())
        if not prepared:
            self._pg.send_query_params(text, values, key[1], self._values.formats)
            self.due.append((_STATEMENT, key, None))
            return
        name = self._prepared.get(key)
        if name is None:
            self._made += 1
            name = self._prepared[key] = b"s%d" % self._made
            self._pg.send_prepare(name, text, key[1])
            self.due.append((_PREPARATION, key, None))
        self._pg.send_query_prepared(name, values, self._values.formats)
        self.due.append((_STATEMENT, key, None))

    def sync(self) -> bool:
        """Sends the queued statements. Returns False if some of the data is still unsent: then call
        `flush` when the socket is writable."""
        self._pg.pipeline_sync()
        self.due.append((_SYNC, None, None))
        return self.flush()

    def flush(self) -> bool:
        return not self._pg.flush()

    def outcomes(self) -> Iterator[Outcome]:
        """Yields the outcome of each statement whose result has arrived, without waiting. Raises
        OperationalError if the server is gone."""
        self._pg.consume_input()
        while self.due and not self._pg.is_busy():
            result = self._pg.get_result()
            if result is None:  # the end of a statement's results
                continue
            kind, key, known = self.due.popleft()
            outcome = self._outcome(result)
            if kind == _PREPARATION and isinstance(outcome, psycopg.Error):
                self._prepared.pop(key, None)
                if not isinstance(outcome, PipelineAborted):  # the statement itself was aborted because of this error
                    self.due.popleft()
                    self.due.appendleft((_STATEMENT, key, outcome))
            elif kind == _STATEMENT:
                if known is None and isinstance(outcome, InvalidSqlStatementName):
                    self._prepared.pop(key, None)
                    known = PipelineAborted("its preparation was behind a statement that has failed")
                yield outcome if known is None else known

    def _outcome(self, result: pq.abc.PGresult) -> Outcome:
        if result.status == pq.ExecStatus.TUPLES_OK:
            self._values.set_pgresult(result)
            try:
                return self._values.load_rows(0, result.ntuples, tuple)
            except (psycopg.DataError, ValueError):  # raising would shift the later results by one statement
                return psycopg.DataError("a value that Python cannot hold")
        if result.status == pq.ExecStatus.COMMAND_OK:
            self.tag = result.command_status or b""
            return []
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return []
        if result.status == pq.ExecStatus.PIPELINE_ABORTED:
            return PipelineAborted("a statement before this one has failed")
        return error_from_result(result)
