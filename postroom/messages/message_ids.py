"""The ids of messages: `<uidvalidity>.<uid>`, as in IMAP."""

import msgspec

from postroom.messages.missing import no_message

# The largest UID and UIDVALIDITY (RFC 9051, 2.3.1.1).
LARGEST_NUMBER = 2**32 - 1
# No mailbox has this number: it stands for that of the mailbox now.
ANY_UIDVALIDITY = 0


class MessageId(msgspec.Struct, frozen=True):
    """The number of a message in its mailbox, and the number of the mailbox: if that has changed,
    it is another mailbox of the same name."""

    uidvalidity: int
    uid: int

    def __str__(self) -> str:
        return f"{self.uidvalidity}.{self.uid}"


def message_id_of(text: str) -> MessageId:
    """Reads `<uidvalidity>.<uid>`. Raises not_found."""
    halves = text.split(".")
    if len(halves) != 2 or not all(half.isascii() and half.isdigit() and len(half) <= 10 for half in halves):
        raise no_message()
    numbers = [int(half) for half in halves]
    if not all(0 < number <= LARGEST_NUMBER for number in numbers) or text != f"{numbers[0]}.{numbers[1]}":
        raise no_message()
    return MessageId(*numbers)
