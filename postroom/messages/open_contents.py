"""The contents of messages that are being sent to clients. Each holds a copy of its message, in
memory or in a file, for as long as its client reads, so their number is bounded."""

from weakref import WeakSet

from postroom.errors import Busy, TooMany
from postroom.messages.interface import Content

# Of one process, and of one account in a process.
MOST = 64
MOST_OF_ACCOUNT = 16
RETRY_SECONDS = 5


class OpenContents:
    """A content counts until nothing refers to it any more, however its answer has ended."""

    def __init__(self) -> None:
        self._all: WeakSet[Content] = WeakSet()
        self._of_account: dict[int, WeakSet[Content]] = {}

    def check(self, account_id: int) -> None:
        """Raises TooMany, Busy if no more may be opened."""
        self._of_account = {id_: found for id_, found in self._of_account.items() if found}
        if len(self._of_account.get(account_id, ())) >= MOST_OF_ACCOUNT:
            raise TooMany("Too much of this account is being downloaded: end a download.", RETRY_SECONDS)
        if len(self._all) >= MOST:
            raise Busy("There are too many downloads. Try again.", RETRY_SECONDS)

    def add(self, account_id: int, content: Content) -> Content:
        """Counts a content of the account, and returns the content."""
        self._all.add(content)
        self._of_account.setdefault(account_id, WeakSet()).add(content)
        return content
