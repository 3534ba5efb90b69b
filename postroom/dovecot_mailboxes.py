"""Mailboxes as this instance's Dovecot has them, asked with the key of Dovecot's present life."""

import structlog

from postroom.errors import MailUnavailable, not_found
from postroom.mailboxes import OpenSession, ServiceName, Usage
from postroom.mailplane import doveadm
from postroom.settings import Settings

SERVICES: dict[str, ServiceName] = {"imap": "imap", "pop3": "pop3", "sieve": "managesieve"}
RETRY_SECONDS = 5

log = structlog.get_logger()


class DovecotMailboxes:
    """Asks Dovecot when it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._run = settings.data / "run"
        self._socket = self._run / "dovecot" / "http"

    async def usage(self, account_id: int) -> Usage:
        try:
            found = await doveadm.usage(self._socket, self._key(), account_id)
        except (OSError, doveadm.Failed) as error:
            raise _unavailable(error) from error
        if found is None:
            raise not_found()
        return Usage(*found)

    async def sessions(self, account_id: int) -> list[OpenSession]:
        try:
            found = await doveadm.sessions(self._socket, self._key(), account_id)
        except (OSError, doveadm.Failed) as error:
            raise _unavailable(error) from error
        return [OpenSession(SERVICES[service], address) for service, address in found if service in SERVICES]

    def _key(self) -> str:
        return (self._run / doveadm.KEY).read_text(encoding="ascii").strip()


def _unavailable(error: Exception) -> MailUnavailable:
    log.warning("dovecot does not answer", reason=str(error))
    return MailUnavailable("Dovecot does not answer now. Try again.", RETRY_SECONDS)
