"""Watches the mailboxes of accounts for changes.

Each change in a mailbox makes Dovecot append to the log of the mailbox's index. So one thread looks
at the sizes and times of these files, of all watched accounts in turn, and only an account whose
files have changed is asked about over IMAP. A look at an account takes some microseconds; an IMAP
session that waits in IDLE would be a process for each stream (decision 0334). The files of another
node cannot be seen: its accounts are asked about every two seconds.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from postroom.errors import Busy, LimitReached, Refused
from postroom.log import log
from postroom.mailplane.dovecot.maildir import home_of
from postroom.messages.mailbox_states import NO_ID, States, id_of
from postroom.messages.shares import asker

# Seconds between two looks; longer if the looks take more than this share of the time.
LOOK_SECONDS = 0.5
LOOK_SHARE = 0.05
# Number of times that an account cannot be asked before its streams end.
MOST_FAILURES = 10
# Accounts that are asked about at the same time, so that requests find a session too.
MOST_ASKED = 4
# Of these, accounts that took longer than SLOW_SECONDS the last time.
MOST_SLOW = 2
SLOW_SECONDS = 1.0
ELSEWHERE_SECONDS = 2.0
# Of an account that is followed: each look and each event goes through all of them (decision 0347).
MOST_MAILBOXES = 2000
INDEX_LOG = "dovecot.index.log"

Signature = tuple[tuple[str, int, int, int], ...]


class Follower(Protocol):
    """One who wants to know of changes in an account. `states` is what is known now, and
    `states_id` its id; None: the account cannot be followed any more. `changed` is set when there
    is something new."""

    changed: asyncio.Event

    @property
    def states(self) -> States | None: ...

    @property
    def states_id(self) -> str: ...

    def close(self) -> None:
        """Ends the following. A second call does nothing."""
        ...


class _Follower:
    def __init__(self, account: "_Account", leave: Callable[["_Follower"], None]) -> None:
        self.account, self._leave = account, leave
        self.changed = asyncio.Event()

    @property
    def states(self) -> States | None:
        return self.account.states

    @property
    def states_id(self) -> str:
        return self.account.states_id

    def close(self) -> None:
        self._leave(self)


class _Account:
    def __init__(self, id_: int, seen: Signature, is_here: bool, states: States, states_id: str) -> None:
        self.id, self.seen, self.is_here = id_, seen, is_here
        self.states: States | None = states
        self.states_id = states_id
        self.asked_at = time.monotonic()
        self.followers: set[_Follower] = set()
        self.failures = 0
        self.is_asked = self.is_slow = False

    def is_due(self, seen: Signature) -> bool:
        """Whether the account is to be asked about, with these files."""
        if self.is_asked:
            return False
        return seen != self.seen if self.is_here else time.monotonic() - self.asked_at >= ELSEWHERE_SECONDS

    def tell(self, states: States | None, states_id: str = NO_ID) -> None:
        self.states, self.states_id = states, states_id
        for follower in self.followers:
            follower.changed.set()


class Watched(NamedTuple):
    """An account and its files, as a thread has seen them."""

    account: _Account
    signature: Signature


class MailboxWatch:
    """The watched accounts of one process. `ask` returns the states of an account's mailboxes, and
    whether its files are here; it raises Busy, Refused, and as `check_number`."""

    def __init__(self, mail: Path, ask: Callable[[int], Awaitable[tuple[States, bool]]]) -> None:
        self._mail, self._ask = mail, ask
        self._accounts: dict[int, _Account] = {}
        self._asking, self._slow = asyncio.Semaphore(MOST_ASKED), asyncio.Semaphore(MOST_SLOW)
        self._jobs: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None

    async def follow(self, account_id: int) -> Follower:
        """Begins to watch an account. Raises LimitReached if it has too many mailboxes, Busy."""
        if account_id not in self._accounts:
            seen = await asyncio.to_thread(signature, self._mail, account_id)
            states, is_here = await self._ask(account_id)
            found = _Account(account_id, seen, is_here, states, await asyncio.to_thread(id_of, states))
            self._accounts.setdefault(account_id, found)
        account = self._accounts[account_id]
        follower = _Follower(account, self._leave)
        account.followers.add(follower)
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return follower

    def _leave(self, follower: _Follower) -> None:
        account = follower.account
        account.followers.discard(follower)
        if not account.followers and self._accounts.get(account.id) is account:
            del self._accounts[account.id]

    async def _look(self) -> None:
        """Looks until nobody follows."""
        asker.set(None)  # the task began in a request
        try:
            while self._accounts:
                found, seconds = await asyncio.to_thread(self._looked, list(self._accounts.values()))
                for account, seen in found:
                    if account.is_due(seen):
                        account.is_asked = True
                        job = asyncio.create_task(self._refresh(account, seen))
                        self._jobs.add(job)
                        job.add_done_callback(self._jobs.discard)
                await asyncio.sleep(max(LOOK_SECONDS, seconds / LOOK_SHARE))
        finally:
            self._looking = None

    def _looked(self, accounts: Sequence[_Account]) -> tuple[list[Watched], float]:
        began = time.monotonic()
        found = [Watched(account, signature(self._mail, account.id)) for account in accounts]
        return found, time.monotonic() - began

    async def _refresh(self, account: _Account, seen: Signature) -> None:
        try:
            async with self._slow if account.is_slow else contextlib.nullcontext(), self._asking:
                began = time.monotonic()
                try:
                    states, account.is_here = await self._ask(account.id)
                finally:
                    account.is_slow = time.monotonic() - began > SLOW_SECONDS
        except Busy as error:  # the next look tries again
            account.failures += 1
            if account.failures >= MOST_FAILURES:
                log.warning("an account cannot be followed", account_id=account.id, reason=error.detail)
                self._give_up(account)
        except Refused:  # its mail is erased, or has too many mailboxes
            self._give_up(account)
        else:
            account.failures, account.seen = 0, seen
            if states != account.states:
                account.tell(states, await asyncio.to_thread(id_of, states))
        finally:
            account.is_asked, account.asked_at = False, time.monotonic()

    def _give_up(self, account: _Account) -> None:
        if self._accounts.get(account.id) is account:  # and not one that others have begun to follow since
            del self._accounts[account.id]
        account.tell(None)


def check_number(mailboxes: int) -> None:
    """Raises LimitReached if an account has too many mailboxes to be followed."""
    if mailboxes > MOST_MAILBOXES:
        raise LimitReached("mailboxes", MOST_MAILBOXES, "delete some, or sync without following")


def signature(mail: Path, account_id: int) -> Signature:
    """Returns what the files of an account's mailboxes show of the last change. What cannot be read
    counts as changed, so that Dovecot is asked."""
    inbox = home_of(mail, account_id) / "Maildir"
    with contextlib.suppress(OSError), os.scandir(inbox) as entries:
        names = [entry.name for entry in entries if entry.name[0] == "."]
        return tuple(filter(None, (_log_of(inbox, name) for name in ("", *sorted(names)))))
    return ()


def _log_of(inbox: Path, name: str) -> tuple[str, int, int, int] | None:
    try:
        found = (inbox / name / INDEX_LOG).stat()
    except OSError:
        return (name, 0, 0, 0) if name else None
    return name, found.st_ino, found.st_size, found.st_mtime_ns
