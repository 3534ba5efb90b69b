"""Bodies of the routes that take more than 64 KiB. While a body comes, it is in a file, and few
come at a time. Then few are worked on at a time, in threads, so that neither the memory of a
process nor its event loop depends on them (decision 0323)."""

import contextlib
import mmap
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path

from postroom.api.body import LARGEST, declared, receive_body
from postroom.api.exchange import Exchange
from postroom.errors import Busy
from postroom.log import log
from postroom.messages.mapped_file import closing, map_file
from postroom.messages.shares import Shares
from postroom.messages.turns import Turns

Body = bytes | mmap.mmap

SECONDS = 300
# Bodies in files: in all, of one key, and of one user.
MOST_IN_FILES = 16
MOST_OF_KEY = 4
MOST_OF_USER = 1
# Bodies that are worked on at a time: half of them of one key.
MOST_AT_WORK = 2
WAIT_SECONDS = 20.0
RETRY_SECONDS = 5


class LargeBodies:
    """The large bodies of one process. `folder` is where their files are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._coming = Shares("large requests", MOST_IN_FILES, user=MOST_OF_USER, key=MOST_OF_KEY)
        late = partial(Busy, "Too many large requests come now. Try again.", RETRY_SECONDS)
        at_work = Shares("large requests", MOST_AT_WORK, user=MOST_AT_WORK // 2, key=MOST_AT_WORK // 2)
        self._turns = Turns(at_work, late, WAIT_SECONDS)

    @contextlib.asynccontextmanager
    async def read(self, exchange: Exchange, largest: int) -> AsyncIterator[Body]:
        """Yields a body. A large one is mapped, and it is its turn to be worked on. Raises as
        `read_body`, TooMany and Busy."""
        with self._place(exchange), closing(tempfile.SpooledTemporaryFile(LARGEST, dir=str(self._folder))) as file:
            exchange.allow_body(largest)
            keep = partial(_keep, file.write)
            size = await receive_body(exchange.headers, exchange.receive, keep, largest, SECONDS)
            if size <= LARGEST:
                file.seek(0)
                yield file.read()
                return
            _keep(file.flush)
            async with self._turns.turn():
                with map_file(file) as mapped:
                    yield mapped

    @contextlib.contextmanager
    def _place(self, exchange: Exchange) -> Iterator[None]:
        """A place for a body that is large, or may be. Raises TooMany, Busy."""
        if 0 < declared(exchange.headers) <= LARGEST:
            yield
            return
        end = self._coming.take()
        try:
            yield
        finally:
            end()


def _keep(write: Callable[..., object], *pieces: bytes) -> None:
    """Writes to a file. Raises Busy."""
    try:
        write(*pieces)
    except OSError as error:
        log.error("a large body could not be kept", reason=str(error))
        raise Busy("There is no room for a large request now. Try again.", RETRY_SECONDS) from error
