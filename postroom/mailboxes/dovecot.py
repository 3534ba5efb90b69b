"""Mailboxes as Dovecot reports them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from postroom.errors import MailUnavailable, not_found
from postroom.log import log
from postroom.mailboxes.interface import OpenSession, ServiceName, SignIn, Size, Usage
from postroom.mailboxes.session_terminator import SessionTerminator
from postroom.mailplane.dovecot import auth_client, doveadm, sieve_scripts
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint, Folder

T = TypeVar("T")

# ManageSieve is `sieve` to Dovecot 2.3, `managesieve` to 2.4.
SERVICES: dict[str, ServiceName] = {
    "imap": "imap", "pop3": "pop3", "sieve": "managesieve", "managesieve": "managesieve",
}  # fmt: skip
RETRY_SECONDS = 5
# Largest number of passwords that a process asks about at a time: each wrong one takes seconds.
MOST_SIGN_INS = 100
# How long a further sign-in waits.
WAIT_SECONDS = 5.0


class DovecotMailboxes:
    """Asks Dovecot on each call. With several nodes, asks the nodes that have the account."""

    def __init__(self, session_terminator: SessionTerminator) -> None:
        self._session_terminator = session_terminator
        self._sign_ins = asyncio.Semaphore(MOST_SIGN_INS)

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

    async def sign_in(self, address: str, password: str, client_address: str) -> SignIn | None:
        """Asks the Dovecot of this machine, which knows the password of every account."""
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._sign_ins.acquire()
        except TimeoutError:
            raise MailUnavailable("Too many people sign in now. Try again.", RETRY_SECONDS) from None
        try:
            found = await auth_client.check(self._session_terminator.sockets, address, password, client_address)
        except auth_client.Failed as error:
            raise _unavailable(error) from error
        finally:
            self._sign_ins.release()
        return SignIn(found.account_id, found.generation, found.refusal) if found else None

    async def folders(self, account_id: int) -> list[Folder]:
        """Returns the folders of an account; none for an account that does not exist."""
        return await self._ask(account_id, doveadm.folders, []) or []

    async def uids(self, account_id: int, folder: Folder, uids: range, since: int) -> list[int]:
        """Returns the UIDs of the range whose messages arrived since a time in seconds since 1970
        UTC."""
        return await self._ask(account_id, doveadm.uids, [], folder, uids, since)

    async def received(self, account_id: int, folder: Folder, uids: range, since: int) -> dict[int, str]:
        """Returns the Received fields of these messages, by UID. One message whose fields are too
        large is left out."""
        endpoints = await self._endpoints(account_id)
        try:
            return await doveadm.received(endpoints[0], account_id, folder, uids, since) if endpoints else {}
        except doveadm.Failed as error:
            if isinstance(error, doveadm.TooLarge) and len(uids) == 1:
                log.warning("a message has fields that are too large", account=account_id, uid=uids.start)
                return {}
            raise _unavailable(error) from error

    async def uids_before(self, account_id: int, folder: Folder, before: int) -> list[int]:
        """Returns the UIDs of the messages that arrived before a time in seconds since 1970 UTC."""
        return await self._ask(account_id, doveadm.uids_before, [], folder, before)

    async def find(self, account_id: int, trace: str, since: int) -> list[tuple[str, int]]:
        """Returns the folders and the UIDs of the copies of a message, by the id in the topmost
        Received field, that arrived since a time in seconds since 1970 UTC."""
        return await self._ask(account_id, doveadm.find, [], trace, since)

    async def _ask(self, account_id: int, question: Callable[..., Awaitable[T]], nothing: T, *rest: object) -> T:
        endpoints = await self._endpoints(account_id)
        try:
            return await question(endpoints[0], account_id, *rest) if endpoints else nothing
        except doveadm.Failed as error:
            raise _unavailable(error) from error

    async def _endpoints(self, account_id: int) -> list[DoveadmEndpoint]:
        endpoints = await self._session_terminator.endpoints(account_id)
        if None in endpoints:
            raise _unavailable(doveadm.Failed("it has not started yet"))
        return [endpoint for endpoint in endpoints if endpoint]


def _unavailable(error: Exception) -> MailUnavailable:
    log.warning("dovecot does not answer", reason=str(error))
    return MailUnavailable("Dovecot does not answer now. Try again.", RETRY_SECONDS)
