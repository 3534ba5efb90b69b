"""What changes messages of an account: their flags, their mailbox, and that they are deleted.

Flags are set before a message is moved. So if the process dies in between, the message has its new
flags and its old id, and the same request does the rest (decision 0330).
"""

from collections.abc import Sequence

import msgspec

from postroom.errors import FieldError, Refused, invalid
from postroom.messages.imap_session import ImapSession, canonical
from postroom.messages.message_ids import MessageId
from postroom.messages.missing import no_message

# Flags that a request can set, by their names there.
FLAGS = {"seen": "\\Seen", "flagged": "\\Flagged", "answered": "\\Answered"}


class Edit(msgspec.Struct, frozen=True):
    """A change of one message: flags of IMAP that it gets or loses, and the mailbox that it is
    moved to, or None."""

    flags: dict[str, bool]
    target: str | None = None


class Edited(msgspec.Struct, frozen=True):
    """A message after a change; `is_changed`: it was another before."""

    id: MessageId
    mailbox: str
    flags: tuple[str, ...]
    is_changed: bool


class Deletion(msgspec.Struct, frozen=True):
    """What a deletion did. `mailbox` is where the messages are now, with their ids there; None:
    they are erased. `missing` are those that were not in the mailbox. `changed` is the number of
    messages that were somewhere else before."""

    mailbox: str | None
    deleted: dict[MessageId, MessageId | None]
    missing: tuple[MessageId, ...]
    changed: int


def edit(session: ImapSession, mailbox: str, id_: MessageId, wanted: Edit) -> Edited:
    """Changes a message. Raises not_found, `invalid_request` if there is no mailbox to move to,
    Lost."""
    opened = session.open(mailbox, is_writable=True)
    if opened.uidvalidity != id_.uidvalidity:
        raise no_message()
    before = _flags(session, id_.uid)
    target = None if wanted.target is None or canonical(wanted.target) == opened.name else canonical(wanted.target)
    if target is not None and not session.has(target):
        raise _no_target()
    for is_set in (True, False):
        names = [name for name, wants in wanted.flags.items() if wants is is_set and (name in before) is not is_set]
        if names:
            session.set_flags([id_.uid], names, is_set)
    flags = _flags(session, id_.uid)
    found = id_ if target is None else _moved(session, id_.uid, target)
    return Edited(found, target or opened.name, tuple(sorted(flags)), target is not None or flags != before)


def delete(session: ImapSession, mailbox: str, ids: Sequence[MessageId], purges: bool) -> Deletion:
    """Moves messages to the Trash, or erases them. A message in the Trash stays there unless it is
    to be erased (decision 0331). Raises not_found if there is no such mailbox, Lost."""
    opened = session.open(mailbox, is_writable=True)
    uidvalidity = opened.uidvalidity
    present = sorted(session.flags({id_.uid for id_ in ids if id_.uidvalidity == uidvalidity}))
    trash = None if purges else session.trash()
    done: dict[MessageId, MessageId | None]
    if purges and present:
        session.expunge(present)
    if purges or trash == opened.name or not present:
        here = [MessageId(uidvalidity, uid) for uid in present]
        done = {id_: None if purges else id_ for id_ in here}
    else:
        there, moved = session.move(present, trash or "")
        done = {MessageId(uidvalidity, old): MessageId(there, new) for old, new in moved.items()}
    missing = tuple(id_ for id_ in ids if id_ not in done)
    return Deletion(trash, done, missing, 0 if trash == opened.name else len(done))


def _flags(session: ImapSession, uid: int) -> frozenset[str]:
    """Raises not_found."""
    found = session.flags([uid])
    if uid not in found:
        raise no_message()
    return found[uid]


def _moved(session: ImapSession, uid: int, target: str) -> MessageId:
    """Raises not_found if another client was faster."""
    uidvalidity, moved = session.move([uid], target)
    if uid not in moved:
        raise no_message()
    return MessageId(uidvalidity, moved[uid])


def _no_target() -> Refused:
    message = "The account has no such mailbox: GET /v2/email-accounts/:id/mailboxes lists them."
    return invalid(FieldError("mailbox", "unknown", message))
