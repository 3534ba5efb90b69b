"""Mailboxes as Dovecot reports them."""

from postroom.errors import MailUnavailable, not_found
from postroom.log import log
from postroom.mailboxes.interface import OpenSession, ServiceName, Size, Usage
from postroom.mailboxes.session_terminator import SessionTerminator
from postroom.mailplane.dovecot import doveadm, sieve_scripts
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint

# ManageSieve is `sieve` to Dovecot 2.3, `managesieve` to 2.4.
SERVICES: dict[str, ServiceName] = {
    "imap": "imap", "pop3": "pop3", "sieve": "managesieve", "managesieve": "managesieve",
}  # fmt: skip
RETRY_SECONDS = 5


class DovecotMailboxes:
    """Asks Dovecot on each call. With several nodes, asks the nodes that have the account."""

    def __init__(self, session_terminator: SessionTerminator) -> None:
        self._session_terminator = session_terminator

    async def count(self, account_id: int) -> Size:
        endpoints = await self._endpoints(account_id)
        try:
            found = await doveadm.usage(endpoints[0], account_id) if endpoints else None
        except doveadm.Failed as error:
            raise _unavailable(error) from error
        if found is None:
            raise not_found()
        return Size(*found)

    async def usage(self, account_id: int) -> Usage:
        endpoints = await self._endpoints(account_id)
        try:
            found = await doveadm.usage(endpoints[0], account_id) if endpoints else None
            active, scripts = await doveadm.scripts(endpoints[0], account_id) if found else (None, {})
        except doveadm.Failed as error:
            raise _unavailable(error) from error
        if found is None:
            raise not_found()
        return Usage(*found, active is not None and sieve_scripts.forwards(active, scripts))

    async def sessions(self, account_id: int) -> list[OpenSession]:
        endpoints = await self._endpoints(account_id)
        try:
            found = [session for endpoint in endpoints for session in await doveadm.sessions(endpoint, account_id)]
        except doveadm.Failed as error:
            raise _unavailable(error) from error
        return [OpenSession(SERVICES[service], address) for service, address in found if service in SERVICES]

    async def _endpoints(self, account_id: int) -> list[DoveadmEndpoint]:
        endpoints = await self._session_terminator.endpoints(account_id)
        if None in endpoints:
            raise _unavailable(doveadm.Failed("it has not started yet"))
        return [endpoint for endpoint in endpoints if endpoint]


def _unavailable(error: Exception) -> MailUnavailable:
    log.warning("dovecot does not answer", reason=str(error))
    return MailUnavailable("Dovecot does not answer now. Try again.", RETRY_SECONDS)
