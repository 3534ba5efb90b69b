"""Finds mail that was delivered to accounts whose mail a webhook gets.

A line in Dovecot's log is a hint to look at an account. The truth is a cursor for each folder: when
the worker starts and every SWEEP_SECONDS it looks at all such accounts whose folders have changed,
so a message is found although its line was not read (decision 0310). Each worker looks at the
accounts of its own node.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol

from postroom.db import Database
from postroom.errors import Busy, MailUnavailable
from postroom.log import log
from postroom.mailplane.dovecot import maildir, traces
from postroom.mailplane.dovecot.doveadm import Folder
from postroom.webhooks import received_messages
from postroom.webhooks.received_messages import Arrival

# Seconds between two looks, and while no webhook gets mail.
PAUSE_SECONDS, IDLE_SECONDS = 0.25, 1.0
SWEEP_SECONDS = 60.0
# Accounts that are looked at together, so that Dovecot can serve others too.
AT_ONCE = 4
# Largest number of messages whose fields one question is about.
UIDS = 20
# Largest number of accounts that a look takes without a hint, so that those with one need not wait.
BACKLOG = 100
# Failures after which a look ends, because Dovecot may be away; and seconds until the accounts that
# failed have another try, so that they delay no others.
FAILURES = 3
AGAIN_SECONDS = 5.0
# Seconds by which the clocks of two nodes may differ.
SKEW_SECONDS = 60


class Mailbox(Protocol):
    """What Dovecot says about the folders of an account. The methods raise MailUnavailable."""

    async def folders(self, account_id: int, /) -> list[Folder]: ...

    async def uids(self, account_id: int, folder: Folder, uids: range, since: int, /) -> list[int]: ...

    async def received(self, account_id: int, folder: Folder, uids: range, since: int, /) -> dict[int, str]: ...


class Arrivals:
    """The arrivals of a node. `hostname` is the name in the Received fields of this host's LMTP;
    with `node`, that of any node counts."""

    def __init__(
        self,
        database: Database,
        mailbox: Mailbox,
        read_hints: Callable[[], set[int]],
        mail: Path,
        hostname: str,
        node: int | None = None,
    ) -> None:
        self._database = database
        self._mailbox = mailbox
        self._read_hints = read_hints
        self._mail = mail
        self._hostname = hostname
        self._node = node
        self._hinted: set[int] = set()
        self._changed: set[int] = set()
        self._seen: dict[int, int] = {}  # the folders of each account at the last look (maildir.changes)
        self._failed: set[int] = set()
        self._swept_at = self._again_at = float("-inf")

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            is_wanted = False
            try:
                is_wanted = await self.look()
            except Busy as error:
                log.warning("work will be tried again", reason=error.detail)
            except Exception as error:
                log.error("work has failed and will be tried again", kind="arrivals", exc_info=error)
            await asyncio.sleep(PAUSE_SECONDS if is_wanted else IDLE_SECONDS)

    async def look(self) -> bool:
        """Finds what has arrived. Returns whether a webhook gets mail."""
        if not await self._database.read(received_messages.is_wanted):
            self._swept_at = float("-inf")
            return False
        self._hinted |= await asyncio.to_thread(self._read_hints)
        if time.monotonic() >= self._again_at:
            self._hinted |= self._failed
            self._failed, self._again_at = set(), time.monotonic() + AGAIN_SECONDS
        if time.monotonic() - self._swept_at >= SWEEP_SECONDS:
            await self._sweep()
        await self._look_at(self._hinted, len(self._hinted))
        await self._look_at(self._changed, BACKLOG)
        return True

    async def _sweep(self) -> None:
        """Notes all accounts whose mail a webhook gets and whose folders have changed."""
        started, known = time.monotonic(), set[int]()
        for scope in await self._database.read_slow(received_messages.scopes):
            after, since = 0, (scope.since - SKEW_SECONDS * 1000) * 1_000_000
            while found := await self._database.read_slow(
                partial(received_messages.accounts, scope=scope, after=after, node=self._node)
            ):
                known |= set(found)
                self._changed |= await asyncio.to_thread(self._compare, found, since)
                after = found[-1]
        self._seen = {id_: seen for id_, seen in self._seen.items() if id_ in known}
        self._swept_at = started

    def _compare(self, ids: Iterable[int], since: int) -> set[int]:
        """Returns the accounts whose folders have changed since the last look, and since a time in
        nanoseconds since 1970 UTC."""
        at = {id_: maildir.changes(self._mail, id_) for id_ in ids}
        return {id_ for id_, (newest, number) in at.items() if newest >= since and self._seen.get(id_) != number}

    async def _look_at(self, waiting: set[int], most: int) -> None:
        """Looks at some of the accounts that wait. They wait no more then, except if the database
        is busy."""
        ids, failures = sorted(waiting)[:most], 0
        for start in range(0, len(ids), AT_ONCE):
            batch = ids[start : start + AT_ONCE]
            done = await asyncio.gather(*map(self._try_account, batch))
            waiting.difference_update(batch)
            self._failed |= {id_ for id_, is_done in zip(batch, done, strict=True) if not is_done}
            failures += done.count(False)
            if failures >= FAILURES:
                return

    async def _try_account(self, account_id: int) -> bool:
        """Looks at one account. Returns False if that failed."""
        try:
            await self._account(account_id)
        except MailUnavailable:
            return False
        except Busy:
            raise
        except Exception as error:
            log.error("work has failed and will be tried again", kind="arrivals", item=account_id, exc_info=error)
            return False
        return True

    async def _account(self, account_id: int) -> None:
        """Looks at the folders of an account, if a webhook gets its mail and this node has it."""
        watched = await self._database.read(partial(received_messages.watch, account_id=account_id, node=self._node))
        if watched is None:
            return
        _, number = await asyncio.to_thread(maildir.changes, self._mail, account_id)
        oldest = int(time.time()) - received_messages.OLDEST_MS // 1000
        since = max(watched.since // 1000, oldest) - SKEW_SECONDS
        for folder in await self._mailbox.folders(account_id):
            done = watched.cursors.get(folder.uidvalidity, 0)
            if done < folder.uidnext - 1:
                await self._folder(account_id, folder, range(done + 1, folder.uidnext), since)
        self._seen[account_id] = number

    async def _folder(self, account_id: int, folder: Folder, new: range, since: int) -> None:
        """Looks at the new UIDs of a folder, some at a time; one by one if Dovecot cannot answer
        about all of these, so that a message which it cannot show delays none before it."""
        uids = list(new) if len(new) <= UIDS else await self._mailbox.uids(account_id, folder, new, since)
        ends = [uids[start : start + UIDS][-1] for start in range(0, len(uids), UIDS)]
        first = new.start
        for end in [*ends[:-1], new.stop - 1]:
            batch = range(first, end + 1)
            try:
                await self._note(account_id, folder, batch, since if uids else None)
            except MailUnavailable:
                if len(batch) == 1:
                    raise
                for uid in filter(batch.__contains__, uids):
                    await self._note(account_id, folder, range(uid, uid + 1), since)
                await self._note(account_id, folder, batch, None)
            first = end + 1

    async def _note(self, account_id: int, folder: Folder, batch: range, since: int | None) -> None:
        """Notes what has arrived among these UIDs; nothing has if `since` is None."""
        fields = {} if since is None else await self._mailbox.received(account_id, folder, batch, since)
        arrivals = [arrival for uid in sorted(fields) if (arrival := self._arrival(uid, fields[uid]))]
        note = partial(received_messages.receive, account_id=account_id, uidvalidity=folder.uidvalidity)
        await self._database.write(partial(note, arrivals=arrivals, last_uid=batch[-1]))

    def _arrival(self, uid: int, received: str) -> Arrival | None:
        found = traces.trace(received)
        if found is None or not (self._node or found.host == self._hostname):
            return None
        return Arrival(uid, found.id, found.at)
