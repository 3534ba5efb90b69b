"""Hands a message over to the Postfix of this machine, over SMTP on a unix socket (decision 0321).

Until the end of the message has been sent, Postfix has not taken it; afterwards only its answer
tells. These functions block.
"""

import re
import smtplib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec

from postroom.mailplane.dovecot.sendmail import UnixSMTP

SOCKET = "spool/public/api"
# Larger than the milter's time (Postfix's milter_content_timeout).
ANSWER_SECONDS = 75.0
PIECE_BYTES = 64 * 1024
# The codes (RFC 3463) with which the milter refuses a message of the API. With LIMIT_REACHED, the
# text begins with the time from which the account may send again, in milliseconds since 1970 UTC.
# Postfix itself says 4.7.1 for a milter that is away, and 5.7.1 for another filter's refusal.
NOT_YOURS, NOT_SENT, NOT_ANNOUNCED, LIMIT_REACHED = "5.7.60", "5.7.2", "5.5.1", "4.7.28"
_QUEUED = re.compile(rb"2\.0\.0 Ok: queued as ([0-9A-Za-z]+)")


class RefusedRecipient(msgspec.Struct, frozen=True):
    """A recipient that Postfix does not take: its place among the recipients, and the answer."""

    place: int
    code: int
    text: str


class NotTaken(Exception):
    """Postfix has not taken the message. `recipients`: those that it refuses; without any, it
    refuses the message with `code` (421: it does not answer) and `text`."""

    def __init__(self, code: int, text: str, recipients: Sequence[RefusedRecipient] = ()) -> None:
        super().__init__(text)
        self.code, self.text, self.recipients = code, text, recipients


class Unknown(Exception):
    """Postfix was lost before it has answered: the message may be in the queue."""


def hand_over(data: Path, account_id: int, sender: str, recipients: Sequence[str], file: IO[bytes]) -> str:
    """Hands over the message in the file, to all recipients or to none. Returns its queue id.
    Raises NotTaken, Unknown."""
    try:
        client = UnixSMTP(str(data / SOCKET), local_hostname="localhost", timeout=ANSWER_SECONDS)
    except (OSError, smtplib.SMTPException) as error:
        raise NotTaken(421, type(error).__name__) from error
    try:
        _begin(client, account_id, sender, recipients, file)
        for piece in _pieces(file):
            client.send(piece)
    except (OSError, smtplib.SMTPException) as error:
        client.close()
        raise NotTaken(421, type(error).__name__) from error
    except NotTaken:
        client.close()
        raise
    return _end(client)


def _begin(client: UnixSMTP, account_id: int, sender: str, recipients: Sequence[str], file: IO[bytes]) -> None:
    client.ehlo()
    _expect(220, *client.docmd("XCLIENT", f"LOGIN={account_id}"))
    client.ehlo()
    size = file.seek(0, 2)
    file.seek(0)
    _expect(250, *client.mail(sender, [f"size={size}"]))
    answers = [client.rcpt(one) for one in recipients]
    refused = [
        RefusedRecipient(place, code, text.decode("ascii", "replace"))
        for place, (code, text) in enumerate(answers)
        if code not in (250, 251)
    ]
    if refused:
        raise NotTaken(refused[0].code, refused[0].text, refused)
    _expect(354, *client.docmd("DATA"))


def _end(client: UnixSMTP) -> str:
    """Sends the end of the message, and reads what became of it."""
    try:
        client.send(b".\r\n")
        code, text = client.getreply()
    except (OSError, smtplib.SMTPException) as error:
        raise Unknown from error
    finally:
        client.close()
    found = _QUEUED.match(text)
    if code != 250 or found is None:
        raise NotTaken(code, text.decode("ascii", "replace"))
    return found[1].decode("ascii")


def _expect(wanted: int, code: int, text: bytes) -> None:
    if code != wanted:
        raise NotTaken(code, text.decode("ascii", "replace"))


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    """Yields the message in whole lines, with the dots of SMTP (RFC 5321 4.5.2)."""
    while piece := file.read(PIECE_BYTES):
        piece += file.readline()
        yield (b"." if piece.startswith(b".") else b"") + piece.replace(b"\n.", b"\n..")
