"""What Dovecot calls to send what a Sieve script sends:
`sendmail.py SOCKETS INBOX --owner ID -i -f SENDER -- RECIPIENT...`.

It hands the message on standard input to our own Postfix over SMTP on a unix socket in SOCKETS
(decision 0017), and says whose script it is: `replies` for what a script makes, `forwards` for what
it passes on. Each message runs it anew, alone, without the package and its libraries. Dovecot takes
any exit status but 0 for a passing failure and delivers later, so Postfix and its milters refuse
nothing here: they drop or turn aside what may not leave. The one exception is a recipient that is
no address for Postfix: a reply to it is dropped, and a forward goes to ID@INBOX, the owner's own.
"""

import smtplib
import socket
import sys
from pathlib import Path

TIMEOUT = 25
EX_TEMPFAIL = 75  # sysexits.h
# How Dovecot's Sieve begins a message that it forwards. What a script writes itself comes later in
# a message.
FORWARDED = (b"x-sieve:", b"x-sieve-redirected-from:")


class UnixSMTP(smtplib.SMTP):
    """SMTP over a unix socket; the "host" is its path."""

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
            send(str(Path(sockets, "replies")), owner, sender, arguments[mark + 1 :], message)
    except OSError as error:  # the socket's errors and smtplib's own
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EX_TEMPFAIL
    return 0


def is_forwarded(message: bytes) -> bool:
    """Whether the message came from elsewhere. Our milter looks again
    (postroom/milter/sieve.py)."""
    lines = message[:1024].lower().split(b"\n", 2)
    return all(line.startswith(begin) for line, begin in zip(lines, FORWARDED, strict=False)) and len(lines) > 1


def send(path: str, owner: str, sender: str, recipients: tuple[str, ...], message: bytes) -> bool:
    """One message through the smtpd behind the socket. Answers whether there is a recipient that
    is not refused for good."""
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
