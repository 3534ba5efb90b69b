"""The contents of messages that are being sent to clients. Each holds a copy of its message, in
memory or in a file, for as long as its client reads, so their number is bounded."""

from collections.abc import Awaitable, Callable
from weakref import finalize

from postroom.messages.interface import Content
from postroom.messages.shares import Shares

# Of one process, and of one account, user and key in a process.
MOST = 64
MOST_OF_ACCOUNT = 16
MOST_OF_USER = 8
MOST_OF_KEY = 32


class OpenContents:
    """A content counts until nothing refers to it any more, however its answer has ended."""

    def __init__(self) -> None:
        self._shares = Shares("downloads", MOST, account=MOST_OF_ACCOUNT, user=MOST_OF_USER, key=MOST_OF_KEY)

    async def open(self, account_id: int, read: Callable[[], Awaitable[Content]]) -> Content:
        """Counts and returns what `read` returns. Raises TooMany, Busy, and what `read` raises."""
        end = self._shares.take(account_id)
        try:
            found = await read()
        except BaseException:
            end()
            raise
        finalize(found, end)
        return found
