"""The states of an account's mailboxes: what has changed from one to the next, and the states as
the id of an event, so that a client that comes back is told what it has missed."""

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping
from typing import Literal

import msgspec

from postroom.messages.sync import state_token

# Characters of an id, which comes back in a header. The states of more mailboxes have no id.
LONGEST_ID = 8000
LARGEST_STATES = 256 * 1024
NO_ID = "-"

EventType = Literal["state", "created", "deleted", "reset", "added", "removed", "updated"]


class MailboxState(msgspec.Struct, frozen=True, array_like=True):
    """The state of one mailbox, as STATUS gives it."""

    uidvalidity: int
    uidnext: int
    highestmodseq: int
    messages: int


class MailboxChanged(msgspec.Struct, frozen=True, kw_only=True, rename={"event_type": "eventType"}):
    """A mailbox has changed. `token` is that of a client that has synced now; `event_type` is what
    kind of change it was, if there was one."""

    type: Literal["mailbox_changed"] = "mailbox_changed"
    mailbox: str
    uidvalidity: str
    token: str
    event_type: EventType


States = dict[str, MailboxState]


def changes(told: Mapping[str, MailboxState] | None, now: Mapping[str, MailboxState]) -> Iterator[MailboxChanged]:
    """Yields what has changed since the states that a client was told; None: of none."""
    for name, state in now.items():
        before = None if told is None else told.get(name)
        if state != before:
            yield _changed(name, state, "state" if told is None else _kind(before, state))
    for name, state in (told or {}).items():
        if name not in now:
            yield _changed(name, state, "deleted", "")


def id_of(states: Mapping[str, MailboxState]) -> str:
    """Returns the states as the id of an event."""
    packed = zlib.compress(msgspec.json.encode(states), 9)
    text = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    return text if len(text) <= LONGEST_ID else NO_ID


def states_of(text: str) -> States | None:
    """Reads the id of an event; None if it is none."""
    try:
        unpack = zlib.decompressobj()
        found = unpack.decompress(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), LARGEST_STATES)
        return msgspec.json.decode(found, type=States)
    except (zlib.error, binascii.Error, msgspec.MsgspecError, UnicodeError, ValueError, RecursionError):
        return None


def _changed(name: str, state: MailboxState, kind: EventType, token: str | None = None) -> MailboxChanged:
    token = state_token(state.highestmodseq, state.uidnext) if token is None else token
    return MailboxChanged(mailbox=name, uidvalidity=str(state.uidvalidity), token=token, event_type=kind)


def _kind(before: MailboxState | None, now: MailboxState) -> EventType:
    if before is None:
        return "created"
    if before.uidvalidity != now.uidvalidity:
        return "reset"
    if before.uidnext < now.uidnext:
        return "added"
    return "removed" if now.messages < before.messages else "updated"
