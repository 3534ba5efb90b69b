"""The program that Dovecot runs to send the mail of a Sieve script:
`sendmail.py SOCKETS INBOX --owner ID -i -f SENDER -- RECIPIENT...`.

The program passes the message from standard input to our own Postfix, over SMTP on a unix socket in
SOCKETS (decision 0017): `replies` for a message that a script makes, `forwards` for a message that
it forwards. It tells Postfix the owner of the script. It runs once for each message, without the
package and its libraries. Dovecot treats any exit status except 0 as a temporary failure and
delivers later. So Postfix and its milters refuse nothing here: they drop or redirect a message that
may not leave. The one exception is a recipient that Postfix does not accept as an address: a reply
to it is dropped, and a forward goes to ID@INBOX, the owner's INBOX.
"""

import re
import smtplib
import socket
import sys
from pathlib import Path

TIMEOUT = 25
EX_TEMPFAIL = 75  # sysexits.h
# The first two fields of a message that Dovecot's Sieve forwards. Fields that a script adds come
# later in a message.
FORWARDED = (b"x-sieve:", b"x-sieve-redirected-from:")

# Longest line of a message in octets (RFC 5322 2.1.1), and where a longer line is broken: before a
# space if there is one, otherwise between two characters of UTF-8, where a space is inserted.
LONGEST_LINE = 998
BREAK = re.compile(
    rb"(?=[^\r\n]{998})(?:([^\r\n]{500,997})(?=[ \t][^ \t\r\n])|[^\r\n]{990,997}(?![\x80-\xbf])|[^\r\n]{997})"
)


class UnixSMTP(smtplib.SMTP):
    """SMTP over a unix socket; the "host" is the path of the socket."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - smtplib's
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(host)
        return connection


def main(sockets: str, inbox: str, *arguments: str) -> int:
    if "--owner" not in arguments:
        print("Nobody's script: nothing is sent.", file=sys.stderr)
        return EX_TEMPFAIL
    mark = arguments.index("--")
    owner = arguments[arguments.index("--owner") + 1]
    sender = arguments[arguments.index("-f") + 1]
    message = sys.stdin.buffer.read()
    sender = "" if sender == "<>" else sender
    try:
        if is_forwarded(message):
            path = str(Path(sockets, "forwards"))
            if not send(path, owner, sender, arguments[mark + 1 :], message):
                send(path, owner, sender, (f"{owner}@{inbox}",), message)
        else:
            send(str(Path(sockets, "replies")), owner, sender, arguments[mark + 1 :], folded(message))
    except OSError as error:  # includes the errors of smtplib
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EX_TEMPFAIL
    return 0


def is_forwarded(message: bytes) -> bool:
    """Returns whether the message is a forward. Our milter checks again
    (postroom/milter/sieve.py)."""
    lines = message[:1024].lower().split(b"\n", 2)
    return all(line.startswith(begin) for line, begin in zip(lines, FORWARDED, strict=False)) and len(lines) > 1


def folded(message: bytes) -> bytes:
    """Returns the message without lines that the SMTP client would fold later, which would break
    the DKIM signature. A script's text may be one long line."""
    return b"".join(
        line
        if len(line.rstrip(b"\r\n")) <= LONGEST_LINE
        else BREAK.sub(lambda found: found[0] + (b"\r\n" if found[1] else b"\r\n "), line)
        for line in message.splitlines(keepends=True)
    )


def send(path: str, owner: str, sender: str, recipients: tuple[str, ...], message: bytes) -> bool:
    """Sends one message through the smtpd behind the socket. Returns False if all recipients are
    permanently refused. Raises OSError."""
    if not all(map(str.isascii, recipients)):  # SMTPUTF8 is not offered
        return False
    with UnixSMTP(path, local_hostname="localhost", timeout=TIMEOUT) as server:
        server.ehlo()
        code, text = server.docmd("XCLIENT", f"LOGIN={owner}")
        if code != 220:
            raise smtplib.SMTPResponseException(code, text)
        server.ehlo()
        options = ["body=8bitmime"] if server.has_extn("8bitmime") else []
        try:
            server.sendmail(sender, recipients, message, options)
        except smtplib.SMTPRecipientsRefused as refused:
            if any(code < 500 for code, _ in refused.recipients.values()):
                raise
            return False
    return True


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
