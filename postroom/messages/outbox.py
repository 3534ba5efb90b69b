"""The way out: builds messages, and hands them to the Postfix of this machine."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import IO, ParamSpec, Protocol, TypeVar

from postroom.errors import MailUnavailable, Refused
from postroom.log import log
from postroom.mailplane.postfix import deliveries
from postroom.messages import composer
from postroom.messages.drafts import Draft
from postroom.messages.hand_over import hand_over
from postroom.messages.mapped_file import closing
from postroom.messages.shares import Shares
from postroom.messages.turns import Turns

P = ParamSpec("P")
T = TypeVar("T")

# Sends of one process at a time, each with a thread. Of these, those of one user and key.
MOST_SENDS = 16
MOST_OF_USER = 4
MOST_OF_KEY = 8
RETRY_SECONDS = 5


def queued_at(queue_id: str) -> int:
    """Returns when Postfix took the message, in milliseconds since 1970 UTC."""
    return deliveries.arrival(queue_id) or 0


class Outbox(Protocol):
    """Injected at the start. `node` is the name of this machine's node, or empty. `folder` is for
    the files of messages."""

    node: str
    folder: Path

    def composed(
        self, draft: Draft, message_id: str, at: datetime, /
    ) -> contextlib.AbstractAsyncContextManager[IO[bytes]]:
        """Yields a file with the message, when it is the asker's turn to send, which ends with the
        context. Raises `mail_off`, `invalid_request`, MailUnavailable."""

    async def hand_over(self, account_id: int, sender: str, recipients: Sequence[str], file: IO[bytes], /) -> str:
        """As in hand_over.py."""

    async def has_queued(self, queue_id: str, /) -> bool:
        """Whether Postfix's log says that a message was in the queue of this machine."""


class PostfixOutbox:
    """With the Postfix of this machine. `data` is the data directory, `node` the name of the node;
    empty: it is the only machine."""

    def __init__(self, data: Path, node: str) -> None:
        self._data, self.folder, self.node = data, data / "run", node
        self._threads = ThreadPoolExecutor(MOST_SENDS, "send")
        places = Shares("sends", MOST_SENDS, user=MOST_OF_USER, key=MOST_OF_KEY)
        late = partial(MailUnavailable, "Too many messages are sent now. Try again.", RETRY_SECONDS)
        self._turns = Turns(places, late)

    @contextlib.asynccontextmanager
    async def composed(self, draft: Draft, message_id: str, at: datetime, /) -> AsyncIterator[IO[bytes]]:
        if not (self._data / "postfix").exists():
            raise Refused("mail_off", "This instance runs without Postfix, which needs root: it cannot send.")
        async with self._turns.turn():
            with closing(tempfile.TemporaryFile(dir=self.folder)) as file:
                try:
                    await self._run(composer.compose, draft, message_id, at, file)
                    file.flush()
                except OSError as error:
                    log.error("a message could not be built", reason=str(error))
                    raise MailUnavailable("There is no room for the message. Try again.", RETRY_SECONDS) from error
                yield file

    async def hand_over(self, account_id: int, sender: str, recipients: Sequence[str], file: IO[bytes], /) -> str:
        return await self._run(hand_over, self._data, account_id, sender, recipients, file)

    async def has_queued(self, queue_id: str, /) -> bool:
        return await self._run(deliveries.has_queued, self._data / "log" / "postfix.log", queue_id)

    async def _run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        # A request that its client gives up does not stop the thread.
        job = partial(work, *arguments, **named)
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._threads, job))


class NoOutbox:
    """The way out of an instance that runs without mail."""

    node, folder = "", Path(tempfile.gettempdir())

    def composed(
        self, _draft: Draft, _message_id: str, _at: datetime, /
    ) -> contextlib.AbstractAsyncContextManager[IO[bytes]]:
        raise Refused("mail_off", "This instance runs without mail: POSTROOM_MAIL is off.")

    async def hand_over(self, _account_id: int, _sender: str, _recipients: Sequence[str], _file: IO[bytes], /) -> str:
        raise LookupError("nothing is composed here")

    async def has_queued(self, _queue_id: str, /) -> bool:
        return False
