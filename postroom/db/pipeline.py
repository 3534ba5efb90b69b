"""Statements on one connection of PostgreSQL, each sent without waiting for the answers of those
before it.

What follows a statement that failed is not carried out, up to the next `sync`; its
outcome is PipelineAborted.
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

# What the URL does not say. Of several hosts the one that can be written is taken. A host that is
# gone is noticed after some two seconds: by the kernel, while a statement waits for its answer too.
DEFAULTS = {
    "target_session_attrs": "read-write",
    "connect_timeout": "2",  # for each host
    "keepalives_idle": "1",
    "keepalives_interval": "1",
    "keepalives_count": "2",
    "tcp_user_timeout": "2000",
}

_COLLIDED = (
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
)

_PARAMETER = re.compile(r":([a-z_]+)")
_STATEMENT, _PREPARATION, _SYNC = range(3)

# What a server may take to hear that a statement is not wanted any more, and then to say so.
CANCEL_SECONDS = 2.0


class StatementFailed(Exception):
    """A statement that PostgreSQL refuses: a mistake of ours."""


class NoAnswer(psycopg.OperationalError):
    """The server has been waited for long enough."""


def connect(url: str) -> psycopg.Connection:
    """A connection to the primary, in autocommit. Raises Busy for a URL that is none, without
    repeating it."""
    try:
        parameters = DEFAULTS | conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise Busy("POSTROOM_DATABASE_URL is not a URL that PostgreSQL's libpq understands.") from None
    return psycopg.connect(**parameters, autocommit=True)  # type: ignore[arg-type]


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection is of no use any more. What PostgreSQL calls an ERROR is the
    statement's alone."""
    return isinstance(error, psycopg.OperationalError) and error.diag.severity_nonlocalized != "ERROR"


def failure(error: psycopg.Error, *, was_open: bool = True) -> Exception:
    """What an error of PostgreSQL or of the connection is to us."""
    if isinstance(error, _COLLIDED):
        return SerializationConflict("The database is busy. Try again.")
    if isinstance(error, NoAnswer):  # so it is not asked again at once
        return Busy("The database does not answer. Try again.")
    if is_lost(error):  # or not there, because the server is starting or full
        return (ConnectionLost if was_open else Busy)("The database is not available. Try again.")
    if isinstance(error, psycopg.OperationalError):  # a statement_timeout, a full disk: this statement and no other
        return Busy("The database has given it up. Try again.")
    # The server's detail quotes the row, and with it the hash of a password: it must reach no log.
    return StatementFailed(f"{error.sqlstate} {error.diag.message_primary}")


def cancel(raw: psycopg.Connection) -> None:
    """Asks the server to give up what it does for a connection, so that it is not left there
    with its locks."""
    with contextlib.suppress(psycopg.Error):  # a server that does not listen either
        raw.cancel_safe(timeout=CANCEL_SECONDS)


@functools.cache
def translate(sql: str) -> tuple[bytes, tuple[str, ...], list[PyFormat]]:
    """`:name` → `$1`; the names by number, and how their values are sent."""
    names = tuple(dict.fromkeys(_PARAMETER.findall(sql)))
    text = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", sql)
    return text.encode(), names, [PyFormat.AUTO] * len(names)


class Pipeline:
    """The statements that are under way on a connection, in their order. Every statement is
    prepared once."""

    def __init__(self, raw: psycopg.Connection) -> None:
        raw.adapters.register_dumper(int, Int8Dumper)  # else a statement is prepared anew for each size of number
        self._pg = raw.pgconn
        self._pg.nonblocking = 1
        self._pg.enter_pipeline_mode()
        self._values = Transformer(raw)
        self._prepared: dict[tuple[str, tuple[int, ...]], bytes] = {}
        self._made = 0
        self._due: deque[tuple[int, Any, Outcome | None]] = deque()  # what it is, of which statement, what is known
        self.tag = b""  # of the last statement that gave no rows: what PostgreSQL says that it has done

    @property
    def is_busy(self) -> bool:
        """Whether answers are due."""
        return bool(self._due)

    def send(self, sql: str, params: Mapping[str, Any]) -> None:
        """Puts a statement behind the others; `sync` sends them."""
        text, names, formats = translate(sql)
        values = self._values.dump_sequence([params[name] for name in names], formats)
        key = (sql, self._values.types or ())
        name = self._prepared.get(key)
        if name is None:
            self._made += 1
            name = self._prepared[key] = b"s%d" % self._made
            self._pg.send_prepare(name, text, key[1])
            self._due.append((_PREPARATION, key, None))
        self._pg.send_query_prepared(name, values, self._values.formats)
        self._due.append((_STATEMENT, key, None))

    def sync(self) -> bool:
        """Sends what was put. False: not all of it, `flush` goes on when the socket can be
        written to."""
        self._pg.pipeline_sync()
        self._due.append((_SYNC, None, None))
        return self.flush()

    def flush(self) -> bool:
        return not self._pg.flush()

    def outcomes(self) -> Iterator[Outcome]:
        """Of each statement whose answer has come, without waiting. Raises OperationalError when
        the server is gone."""
        self._pg.consume_input()
        while self._due and not self._pg.is_busy():
            result = self._pg.get_result()
            if result is None:  # the end of one statement's results
                continue
            kind, key, known = self._due.popleft()
            outcome = self._outcome(result)
            if kind == _PREPARATION and isinstance(outcome, psycopg.Error):
                self._prepared.pop(key, None)
                if not isinstance(outcome, PipelineAborted):  # the statement behind it is aborted for this
                    self._due.popleft()
                    self._due.appendleft((_STATEMENT, key, outcome))
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
            except (psycopg.DataError, ValueError):  # raised here, the next answer would go to who waits for this one
                return psycopg.DataError("a value that Python cannot hold")
        if result.status == pq.ExecStatus.COMMAND_OK:
            self.tag = result.command_status or b""
            return []
        if result.status == pq.ExecStatus.PIPELINE_SYNC:
            return []
        if result.status == pq.ExecStatus.PIPELINE_ABORTED:
            return PipelineAborted("a statement before this one has failed")
        return error_from_result(result)
