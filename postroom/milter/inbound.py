"""Port 25: nobody outside can send as a hosted domain unless the domain allows it.

A MAIL FROM of a domain hosted here is accepted from a trusted forwarder, from a client for which
the domain's SPF record gives `pass` (RFC 7208), and if the message has a valid DKIM signature of
the same domain. We sign submitted mail, so a message that others forward back unchanged is
accepted. From is not checked, because mailing lists keep it (decision 0144).
"""

import time
from functools import partial

from postroom.accounts import senders
from postroom.auth import networks
from postroom.db import Database
from postroom.domains.resolver import Resolver
from postroom.domains.spf_check import check_host
from postroom.log import log
from postroom.milter import signed_by
from postroom.milter.message import ACCEPT, CONTINUE, Answer, Message, refuse
from postroom.milter.protocol import Want
from postroom.milter.signed_by import Unclear
from postroom.milter.slots import Full, Slots
from postroom.settings import Settings, split

SPF_SECONDS = 20.0
# Largest number of SPF evaluations at once: in all, and for one domain, because its name server may
# be slow on purpose.
EVALUATIONS = (64, 16)
# Largest size in octets of a message that is checked; and of all messages that wait for the check:
# in all, and of one client.
LARGEST_CHECKED = 64 * 1024 * 1024
WAITING_OCTETS = (4 * LARGEST_CHECKED, 2 * LARGEST_CHECKED)
# Seconds for which a domain is remembered as not hosted, because mail comes in bursts; and the
# largest number of such domains.
ELSEWHERE_SECONDS = 1.0
MOST_ELSEWHERE = 10_000
LATER = refuse(451, "4.7.1", "The sender's domain cannot be checked now: try again")
TOO_LARGE = "too_large"
NO_ROOM = "no_room"


class Inbound:
    """The listeners for mail from outside."""

    name = "inbound"
    wants = Want.SENDER | Want.BODY
    macros = "{mail_addr} {client_addr} i"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._trusted = split(settings.trusted_forwarders)
        self._resolver = Resolver(settings.resolver)
        self._evaluations = Slots(*EVALUATIONS)
        self._room = Slots(*WAITING_OCTETS)
        self._elsewhere: dict[str, float] = {}  # domains that are not hosted, and until when that is remembered
        self._kept: dict[int, int] = {}  # octets that are kept, by id() of the message

    def keeps(self, name: bytes) -> bool:  # noqa: ARG002 - every listener's
        return True

    async def judge_sender(self, message: Message) -> Answer:
        domain = domain_of(message)
        if not domain or not await self._is_hosted(domain):
            return ACCEPT
        client = _client(message)
        if networks.holds(self._trusted, client):
            return ACCEPT
        try:
            with self._evaluations.one(domain):
                found = await check_host(
                    self._resolver, client, domain, message.macros["{mail_addr}"], seconds=SPF_SECONDS
                )
        except (Full, ValueError):
            return LATER
        log.info("a hosted sender from outside", domain=domain, client=client, spf=found)
        return ACCEPT if found == "pass" else CONTINUE

    async def _is_hosted(self, domain: str) -> bool:
        now = time.monotonic()
        if self._elsewhere.get(domain, 0.0) > now:
            return False
        if await self._database.read(partial(senders.is_hosted, domain=domain)):
            return True
        if len(self._elsewhere) >= MOST_ELSEWHERE:
            self._elsewhere.clear()
        self._elsewhere[domain] = now + ELSEWHERE_SECONDS
        return False

    def has_room(self, message: Message, octets: int) -> bool:
        """Returns whether `octets` more of the message may be kept. If the message is too large to
        check, or there is no room, drops all that was kept of it."""
        if message.note:
            return False
        kept = self._kept.get(id(message), 0) + octets
        if kept > LARGEST_CHECKED:
            message.note = TOO_LARGE
        elif not self._room.take(_client(message), octets):
            message.note = NO_ROOM
        else:
            self._kept[id(message)] = kept
        if message.note:
            message.headers.clear()
            message.body.clear()
            self.forget(message)
        return not message.note

    def forget(self, message: Message) -> None:
        kept = self._kept.pop(id(message), 0)
        if kept:
            self._room.give_back(_client(message), kept)

    async def judge(self, message: Message) -> Answer:
        domain = domain_of(message)
        if message.note == NO_ROOM:
            return LATER
        try:
            if message.note == TOO_LARGE or message.is_cut or not _may_be_signed(message, domain):
                return _refusal(domain)
            signed = await signed_by.is_signed_by(domain, message.headers, message.body, self._resolver)
        except Unclear:
            return LATER
        return CONTINUE if signed else _refusal(domain)


def domain_of(message: Message) -> str:
    """Returns the domain of the envelope sender as Postfix has parsed it, in lower case. Empty if
    there is no sender, as in a bounce."""
    return message.macros.get("{mail_addr}", "").strip("<>").rpartition("@")[2].rstrip(".").lower()


def _client(message: Message) -> str:
    return message.macros.get("{client_addr}", "").removeprefix("IPv6:")


def _may_be_signed(message: Message, domain: str) -> bool:
    """Returns whether a signature field names the domain. This is checked first, because each
    verification starts a process."""
    return any(
        name.strip().lower() == b"dkim-signature" and domain.encode() in value.lower()
        for name, value in message.headers
    )


def _refusal(domain: str) -> Answer:
    return refuse(
        550,
        "5.7.1",
        f"{domain} is hosted here, where its users log in to send. Its mail from elsewhere needs SPF pass or a DKIM "
        f"signature with d={domain}",
    )
