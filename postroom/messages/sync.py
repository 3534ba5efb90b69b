"""What has changed in a mailbox since a token, by CONDSTORE and QRESYNC (RFC 7162).

A token is opaque to clients: `<modseq>.<uidnext>`, the state of the mailbox in which the client has
seen everything. Within an answer of several pages it is followed by the state at the first page, to
which the last page leads, and by the last UID that was looked at. So nothing is kept between the
pages. What changes while a client fetches them comes again after the last page (decision 0333).
"""

import re
import time

import msgspec

from postroom.errors import FieldError, invalid
from postroom.messages.imap_session import ImapSession, Opened, flags_of

# Changes of one page.
MOST_CHANGES = 10_000
# Numbers of UIDs in one command.
RANGE = 2_500
PAGE_SECONDS = 5.0

_TOKEN = re.compile(r"([0-9]{1,19})\.([0-9]{1,10})(?:\.([0-9]{1,19})\.([0-9]{1,10})\.([0-9]{1,10}))?", re.ASCII)


class Added(msgspec.Struct, frozen=True):
    """A message that is new in the mailbox."""

    uid: int


class Updated(msgspec.Struct, frozen=True):
    """A message whose flags have changed, and its flags now."""

    uid: int
    modseq: str
    flags: tuple[str, ...]


class Removed(msgspec.Struct, frozen=True):
    """A message that is not in the mailbox any more."""

    uid: int


class Changes(msgspec.Struct, frozen=True):
    """The changes since a token, by UID in ascending order."""

    added: list[Added]
    updated: list[Updated]
    removed: list[Removed]


class Synced(msgspec.Struct, frozen=True):
    """What has changed in a mailbox, and the token for the next call. `reset`: the answer begins
    anew, so the client forgets what it has. `more`: the answer ends early, and the next call may
    have more changes."""

    mailbox: str
    uidvalidity: str
    token: str
    changes: Changes
    reset: bool
    more: bool


class Token(msgspec.Struct, frozen=True):
    """A client knows the changes up to `modseq` of the messages below `uidnext`. On the way to the
    state of `to_modseq` and `to_uidnext` it knows them up to the UID `seen`."""

    modseq: int
    uidnext: int
    to_modseq: int = 0
    to_uidnext: int = 0
    seen: int = 0

    def fits(self, opened: Opened) -> bool:
        """Whether the mailbox can have given this token."""
        is_past = max(self.modseq, self.to_modseq) <= opened.highestmodseq
        is_past = is_past and max(self.uidnext, self.to_uidnext) <= opened.uidnext
        return is_past and self.seen < max(self.to_uidnext, 1)

    def __str__(self) -> str:
        numbers = (self.modseq, self.uidnext)
        if self.to_uidnext:
            numbers += (self.to_modseq, self.to_uidnext, self.seen)  # type: ignore[assignment]
        return ".".join(map(str, numbers))


ANEW = Token(0, 1)


def token_of(text: str) -> Token:
    """Reads a token; an empty one stands for the beginning. Raises `invalid_request`."""
    if not text:
        return ANEW
    found = _TOKEN.fullmatch(text)
    if found is None:
        raise invalid(FieldError("token", "invalid", "Send the token of an earlier answer, or none to begin anew."))
    return Token(*(int(number) for number in found.groups() if number is not None))


def sync(session: ImapSession, mailbox: str, uidvalidity: str, token: Token) -> Synced:
    """Returns what has changed since the token; everything as added if there is none, or if the
    mailbox is another one than that of the token. Raises not_found, Lost."""
    opened = session.open(mailbox)
    since = token if uidvalidity == str(opened.uidvalidity) and token.fits(opened) else ANEW
    end = (since.to_modseq, since.to_uidnext) if since.to_uidnext else (opened.highestmodseq, opened.uidnext)
    found = Changes([], [], [])
    low = since.seen + 1
    until = time.monotonic() + PAGE_SECONDS
    is_quiet = since.modseq > 0 and since.modseq == end[0] and since.uidnext == end[1]
    while not is_quiet and low < end[1] and _room(found) >= RANGE and time.monotonic() < until:
        high = min(low + RANGE, end[1]) - 1
        _look(session, found, since, low, high)
        low = high + 1
    more = not is_quiet and low < end[1]
    following = Token(since.modseq, since.uidnext, *end, low - 1) if more else Token(*end)
    is_anew = since.modseq == 0 and since.seen == 0
    return Synced(opened.name, str(opened.uidvalidity), str(following), found, is_anew, more)


def state_token(modseq: int, uidnext: int) -> str:
    """Returns the token of a client that has seen everything in this state."""
    return str(Token(modseq, uidnext))


def _room(found: Changes) -> int:
    return MOST_CHANGES - len(found.added) - len(found.updated) - len(found.removed)


def _look(session: ImapSession, found: Changes, since: Token, low: int, high: int) -> None:
    """Adds the changes of the messages with a UID in this range."""
    if since.modseq == 0:
        found.added.extend(Added(uid) for uid in session.search([b"UID", b"%d:%d" % (low, high)]))
        return
    changed, gone = session.changed_since(low, high, since.modseq)
    for uid, items in sorted(changed.items()):
        if b"MODSEQ" not in items or b"FLAGS" not in items or not low <= uid <= high:
            continue  # something that the server has told by the way
        if uid >= since.uidnext:
            found.added.append(Added(uid))
        else:
            found.updated.append(Updated(uid, str(items[b"MODSEQ"][0]), tuple(sorted(flags_of(items)))))
    known = {uid for uid in gone if low <= uid <= min(high, since.uidnext - 1)}
    found.removed.extend(Removed(uid) for uid in sorted(known))
