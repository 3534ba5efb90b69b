"""A way out without a Postfix: it takes each message as the milter does, or fails as the test has
set."""

import contextlib
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_binary_file
from functools import partial
from pathlib import Path
from typing import IO

from postroom.accounts import outgoing_messages
from postroom.db import Database
from postroom.messages import composer
from postroom.messages.drafts import Draft
from postroom.messages.hand_over import NOT_ANNOUNCED, NotTaken
from postroom.messages.outbox import Outbox

_numbers = itertools.count()


def queue_id() -> str:
    """A new long queue id, as Postfix makes them."""
    digits = f"{next(_numbers):04}"
    return f"4jdJp5{digits}z{digits}"


@dataclass
class ToldOutbox(Outbox):
    database: Database | None = None
    problem: Exception | None = None
    """What is wrong before a message is taken."""
    later: Exception | None = None
    """What is wrong after a message was taken."""
    meanwhile: Callable[[], None] = lambda: None
    """What happens before a message is taken."""
    queued: list[tuple[int, str, tuple[str, ...], bytes]] = field(default_factory=list)
    """Each message that was taken: account, sender, recipients and text."""
    log: set[str] = field(default_factory=set)
    """The queue ids that the log knows."""
    node: str = ""
    folder: Path = Path(tempfile.gettempdir())

    @contextlib.asynccontextmanager
    async def composed(self, draft: Draft, message_id: str, at: datetime, /) -> AsyncIterator[IO[bytes]]:
        with tempfile.TemporaryFile() as file:
            composer.compose(draft, message_id, at, file)
            yield file

    async def hand_over(self, account_id: int, sender: str, recipients: Sequence[str], file: IO[bytes], /) -> str:
        self.meanwhile()
        if self.problem:
            raise self.problem
        file.seek(0)
        message_id, name = message_from_binary_file(file)["Message-ID"], queue_id()
        assert self.database is not None
        work = partial(
            outgoing_messages.take, account_id=account_id, message_id=message_id, queue_id=name, node=self.node
        )
        try:
            await self.database.write(work)
        except outgoing_messages.NotAnnounced:
            raise NotTaken(550, f"{NOT_ANNOUNCED} not announced") from None
        file.seek(0)
        self.queued.append((account_id, sender, tuple(recipients), file.read()))
        self.log.add(name)
        if self.later:
            raise self.later
        return name

    async def has_queued(self, queue_id: str, /) -> bool:
        return queue_id in self.log
