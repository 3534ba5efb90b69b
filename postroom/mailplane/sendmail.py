"""What Dovecot calls to send what a Sieve script sends: `sendmail.py SOCKET -i -f SENDER -- RECIPIENT...`.

It hands the message on standard input to our own Postfix over SMTP on a unix socket, which the system's sendmail
would not. A stranger would get wrong: it runs alone, without the package and its libraries, for each message; and
Dovecot takes any exit status but 0 for a passing failure and delivers later, so Postfix refuses nothing here.
"""

import smtplib
import socket
import sys

TIMEOUT = 25
EX_TEMPFAIL = 75  # sysexits.h


class UnixSMTP(smtplib.SMTP):
    """SMTP over a unix socket; the "host" is its path."""

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:  # noqa: ARG002 - smtplib's
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        connection.connect(host)
        return connection


def main(path: str, *arguments: str) -> int:
    mark = arguments.index("--")
    sender = arguments[arguments.index("-f") + 1]
    try:
        send(path, "" if sender == "<>" else sender, arguments[mark + 1 :], sys.stdin.buffer.read())
    except OSError as error:  # the socket's errors and smtplib's own
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return EX_TEMPFAIL
    return 0


def send(path: str, sender: str, recipients: tuple[str, ...], message: bytes) -> None:
    """One message through the smtpd behind the socket."""
    with UnixSMTP(path, local_hostname="localhost", timeout=TIMEOUT) as server:
        server.ehlo_or_helo_if_needed()
        options = ["body=8bitmime"] if server.has_extn("8bitmime") else []
        server.sendmail(sender, recipients, message, options)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
