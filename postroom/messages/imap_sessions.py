"""The IMAP sessions of one process: few at a time, each kept open for a minute after its last use.

A session is a process of Dovecot's, and its commands block, so they run in as many threads as there
may be sessions. Everything else here runs in the event loop.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeVar

from postroom.errors import Busy, MailUnavailable, Refused
from postroom.log import log
from postroom.messages.doors import Door
from postroom.messages.imap_session import RETRY_SECONDS, ImapSession, Lost
from postroom.messages.shares import Shares
from postroom.messages.turns import Turns

T = TypeVar("T")

MOST_SESSIONS = 16
# Of these, busy for one account, user and key, so that each leaves room for the others. A session
# that is only kept ends if somebody needs its place.
MOST_OF_ACCOUNT = 4
MOST_OF_USER = 4
MOST_OF_KEY = 8
IDLE_SECONDS = 60.0


class ImapSessions:
    """Runs work with a session of an account."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(MOST_SESSIONS, "imap")
        self._idle: dict[ImapSession, int] = {}  # the least recently used first, each with its account
        self._expiries: dict[ImapSession, asyncio.TimerHandle] = {}
        self._busy = Shares("sessions", MOST_SESSIONS, account=MOST_OF_ACCOUNT, user=MOST_OF_USER, key=MOST_OF_KEY)
        late = partial(MailUnavailable, "Too many messages are read now. Try again.", RETRY_SECONDS)
        self._turns = Turns(self._busy, late)

    async def run(self, door: Door, account_id: int, work: Callable[[ImapSession], T]) -> T:
        """Returns what `work` returns; `door` leads to the mail of the account. In place
        of a kept session that is lost, takes a new one. Raises MailUnavailable, and what `work`
        raises."""
        end = await self._turns.take(account_id)
        kept, evicted = self._kept(door, account_id)
        carry_out = partial(self._carry_out, kept, evicted, door, account_id, work)
        job = asyncio.get_running_loop().run_in_executor(self._threads, carry_out)
        job.add_done_callback(partial(self._give_back, account_id, end))
        # A request that its client gives up does not stop the thread.
        result, _, error = await asyncio.shield(job)
        if isinstance(error, Lost):
            log.warning("an imap session is lost", account_id=account_id, reason=str(error))
            raise MailUnavailable("Dovecot does not answer now. Try again.", RETRY_SECONDS) from error
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _kept(self, door: Door, account_id: int) -> tuple[ImapSession | None, ImapSession | None]:
        """Takes the session of the account that was used last. If there is none, and no room for
        one more process, takes the least recently used session of another account, to be ended."""
        found = next((one for one in reversed(self._idle) if self._idle[one] == account_id and one.door == door), None)
        evicted = None
        if found is None and len(self._idle) + len(self._busy) > MOST_SESSIONS:
            evicted = next(iter(self._idle))
        for one in filter(None, (found, evicted)):
            self._forget(one)
        return found, evicted

    def _carry_out(
        self,
        kept: ImapSession | None,
        evicted: ImapSession | None,
        door: Door,
        account_id: int,
        work: Callable[[ImapSession], T],
    ) -> tuple[T | None, ImapSession | None, Exception | None]:
        """In a thread: returns the result, the session that is still open, and the error."""
        if evicted is not None:
            evicted.close()
        session = None
        try:
            # Dovecot may have been restarted in the meantime. What has begun is not repeated.
            session = kept if kept is not None and kept.is_alive() else ImapSession(door, account_id)
            return work(session), session, None
        except Lost as error:
            return None, None, error
        except (Refused, Busy) as error:
            return None, session, error
        except Exception as error:  # goes to the caller; nobody knows in which state the session is
            if session is not None:
                session.close()
            return None, None, error

    def _give_back(
        self,
        account_id: int,
        end: Callable[[], None],
        job: "asyncio.Future[tuple[object, ImapSession | None, Exception | None]]",
    ) -> None:
        end()
        session = None if job.cancelled() or job.exception() else job.result()[1]
        if session is not None:
            self._idle[session] = account_id
            self._expiries[session] = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end, session)

    def _end(self, session: ImapSession) -> None:
        self._forget(session)
        self._threads.submit(session.close)

    def _forget(self, session: ImapSession) -> None:
        del self._idle[session]
        self._expiries.pop(session).cancel()
