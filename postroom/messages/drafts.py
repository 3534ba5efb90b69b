"""A draft: what a platform wants to send, checked but for the content of its attachments."""

import re
from collections.abc import Iterable

import msgspec

from postroom.messages.parsed import ParsedMessage
from postroom.messages.people import Person

MOST_RECIPIENTS = 100
MOST_REFERENCES = 20
LONGEST_SUBJECT = 998
# Of the message that is answered: what a stranger wrote there is used only if it has this form.
_MESSAGE_ID = re.compile(r"<[!-;=?-~]{1,250}>")
_REPLY = re.compile(r"re\s*:", re.IGNORECASE)


class DraftAttachment(msgspec.Struct, frozen=True):
    """An attachment; its content is base64 that nobody has checked yet. `content_id`: the HTML text
    shows it as `cid:`."""

    content_type: str
    content_base64: str
    filename: str | None = None
    content_id: str | None = None


class Draft(msgspec.Struct, frozen=True):
    """A message to send. The texts have any line breaks; everything else is one line. `headers` are
    further header fields."""

    from_: Person
    to: tuple[Person, ...]
    cc: tuple[Person, ...] = ()
    bcc: tuple[Person, ...] = ()
    reply_to: Person | None = None
    subject: str | None = None
    text: str | None = None
    html: str | None = None
    attachments: tuple[DraftAttachment, ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    in_reply_to: str | None = None
    references: tuple[str, ...] = ()

    def answering(self, message: ParsedMessage) -> "Draft":
        """Returns the draft as an answer to a message (RFC 5322 3.6.4): in its thread, and with its
        subject if the draft has none."""
        known = message.references or tuple(filter(None, [message.in_reply_to]))
        own = message.rfc_message_id or ""
        thread = tuple(filter(_MESSAGE_ID.fullmatch, (*known, own)))
        subject = (message.subject or "")[:LONGEST_SUBJECT]
        return msgspec.structs.replace(
            self,
            in_reply_to=own if _MESSAGE_ID.fullmatch(own) else None,
            references=thread[-MOST_REFERENCES:],
            subject=(subject if _REPLY.match(subject) else f"Re: {subject}") if self.subject is None else self.subject,
        )

    @property
    def recipients(self) -> list[str]:
        """The addresses that the message goes to, each once."""
        return [one.address for one in without_repeats((*self.to, *self.cc, *self.bcc))]

    def places(self) -> dict[str, str]:
        """Returns where each recipient stands first, as in `to[0]`, by the key of the person."""
        found: dict[str, str] = {}
        for name in ("to", "cc", "bcc"):
            for number, person in enumerate(getattr(self, name)):
                found.setdefault(person.key, f"{name}[{number}]")
        return found


def without_repeats(people: Iterable[Person]) -> tuple[Person, ...]:
    """Returns each person once, the first of several."""
    found: dict[str, Person] = {}
    for one in people:
        found.setdefault(one.key, one)
    return tuple(found.values())
