"""Open sessions of each protocol, and which protocols accept a password."""

import poplib
import smtplib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from tests.mail.clients import HOST, Imap, Pop3, imap_login, message, sieve_command, sieve_login, submission
from tests.mail.platform import Mailbox

PROTOCOLS = ("imap", "pop3", "smtp", "sieve")


class Session:
    """An open session of one protocol."""

    def __init__(self, mailbox: Mailbox, protocol: str, password: str) -> None:
        """Raises an error of the client, or AssertionError, if the login is refused."""
        service, address = mailbox.platform.service, mailbox.address
        self.address = address
        self.ask: Callable[[], object]
        if protocol == "imap":
            imap = imap_login(service, address, password)
            self.ask = imap.noop
        elif protocol == "pop3":
            pop3 = Pop3(HOST, service.ports["pop3s_port"])
            pop3.user(address)
            pop3.pass_(password)
            self.ask = pop3.noop
        elif protocol == "smtp":
            self.smtp = submission(service, address, password)
            self.ask = self._send
        else:
            sieve = sieve_login(HOST, service.ports["sieve_port"], address, password)
            self.ask = lambda: sieve_command(sieve, b"LISTSCRIPTS")

    def _send(self) -> None:
        self.smtp.sendmail(self.address, [self.address], message(self.address, self.address, "x").as_bytes())

    def is_open(self) -> bool:
        try:
            self.ask()
        except (Imap.abort, poplib.error_proto, smtplib.SMTPException, AssertionError, OSError):
            return False
        return True


REFUSED = (Imap.error, poplib.error_proto, smtplib.SMTPAuthenticationError, AssertionError)


def works(mailbox: Mailbox, password: str) -> list[str]:
    """Returns the protocols that accept the password. A refusal takes Dovecot's delay."""

    def accepts(protocol: str) -> bool:
        with suppress(*REFUSED):
            return Session(mailbox, protocol, password).is_open()
        return False

    with ThreadPoolExecutor(len(PROTOCOLS)) as pool:
        return [
            protocol for protocol, is_right in zip(PROTOCOLS, pool.map(accepts, PROTOCOLS), strict=True) if is_right
        ]
