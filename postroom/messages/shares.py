"""Shares of what a process has little of, such as downloads: an account, a user and a key have some
each, so that nobody takes the places of all others (decision 0343)."""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial

from postroom.actor import Actor
from postroom.errors import Busy, TooMany

RETRY_SECONDS = 5
# Who asks in this task. None: Postroom itself.
asker: ContextVar[Actor | None] = ContextVar("asker", default=None)

_Owner = tuple[str, object]


@dataclass(frozen=True, eq=False)
class _Place:
    owners: frozenset[_Owner]


class Shares:
    """The places of one process, `most` in all. `account`, `user` and `key` are the numbers that
    one of these has at most. A user has those of all keys and mail tokens of the user. A key has
    those of its family, and never more than are free for others. `what` is what takes places."""

    def __init__(self, what: str, most: int, *, user: int, key: int, account: int = 0) -> None:
        self._what, self._most = what, most
        self._bounds = {"account": account, "user": user, "key": key}
        self._taken: set[_Place] = set()

    def __len__(self) -> int:
        return len(self._taken)

    def take(self, account_id: int | None = None) -> Callable[[], None]:
        """Takes a place for the asker. Returns what frees it, in any thread; a second call does
        nothing. Raises TooMany, Busy."""
        if refusal := self.refusal(account_id):
            raise refusal
        place = _Place(_owners(account_id))
        self._taken.add(place)
        return partial(self._taken.discard, place)

    def refusal(self, account_id: int | None = None) -> TooMany | Busy | None:
        """Why the asker gets no place now; None: it gets one."""
        taken = list(self._taken)  # a copy, because places are freed in other threads
        free = self._most - len(taken)
        if free <= 0:
            return Busy(f"There are too many {self._what}: try again.", RETRY_SECONDS)
        for owner in _owners(account_id):
            kind = owner[0]
            most = min(self._bounds[kind], free) if kind == "key" else self._bounds[kind]
            if sum(owner in place.owners for place in taken) >= most:
                return TooMany(f"This {kind} has its share of the {self._what}: end one, or wait.", RETRY_SECONDS)
        return None


def _owners(account_id: int | None) -> frozenset[_Owner]:
    """The account, and the user and the key of the asker."""
    actor = asker.get()
    found: list[_Owner] = [] if account_id is None else [("account", account_id)]
    if actor is not None:
        found.append(("key", actor.root_id))
    if actor is not None and actor.user_id is not None:
        found.append(("user", (actor.organization_id, actor.user_id)))
    return frozenset(found)
