"""What a Sieve script sends. A reply that it makes comes from its owner alone; mail that it forwards keeps its From.

Nothing is refused: Dovecot takes a refusal for a passing failure and would defer all mail of the script's owner. A
reply that is not its owner's own is dropped, and the mail that it answers stays in the INBOX. A forward that would
vouch for somebody else goes into the owner's INBOX instead.
"""

from collections.abc import Iterable
from functools import partial

import idna
import structlog
from publicsuffixlist import PublicSuffixList

from postroom import senders
from postroom.address import BadAddress
from postroom.db import Database, Tx
from postroom.mailplane.names import SIGNING_HEADER, inbox_name
from postroom.milter import header_from, identity
from postroom.milter.header_from import Unclear
from postroom.milter.identity import NotOwn
from postroom.milter.message import (
    CONTINUE,
    DISCARD,
    Answer,
    Message,
    add_recipient,
    change_sender,
    delete_header,
    delete_recipient,
    insert_header,
)
from postroom.milter.protocol import TEMPORARY, Want
from postroom.senders import Account
from postroom.settings import Settings

log = structlog.get_logger()

# The first two fields of what Dovecot's Sieve forwards. A script can add fields to a reply, but none before these.
FORWARDED = [b"x-sieve", b"x-sieve-redirected-from"]


class Replies:
    """The listener `replies`: vacation and reject."""

    name = "replies"
    wants = Want.NOTHING
    macros = "{auth_authen} i"

    def __init__(self, database: Database, settings: Settings) -> None:  # noqa: ARG002 - every listener's
        self._database = database

    def keeps(self, name: bytes, value: bytes) -> bool:
        return identity.is_identity(name) or name == SIGNING_HEADER.lower().encode() or b"\r" in value

    async def judge(self, message: Message) -> Answer:
        account = _owner(message)
        if account is None:
            return TEMPORARY
        try:
            if message.sender != b"<>":
                raise NotOwn("The envelope sender", "a reply has none")
            if not all(identity.is_identity(name.strip().lower()) for name, _ in message.headers):
                raise NotOwn("Every field", "one is not clear")
            named = identity.read(message.headers)
            await self._database.read(partial(named.check, account=account))
        except NotOwn as error:
            log.warning("a reply was dropped", account_id=account.id, reason=str(error))
            return DISCARD
        return CONTINUE.after(insert_header(0, SIGNING_HEADER, named.author.domain))


class Forwards:
    """The listener `forwards`: redirect."""

    name = "forwards"
    wants = Want.RECIPIENTS
    macros = "{auth_authen} {mail_addr} i"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._hostname = settings.hostname
        # Some receivers count only the public suffixes of registries.
        self._suffixes = PublicSuffixList(only_icann=True)

    def keeps(self, name: bytes, value: bytes) -> bool:  # noqa: ARG002 - every listener's
        return True

    async def judge(self, message: Message) -> Answer:
        account = _owner(message)
        if account is None:
            return TEMPORARY
        if [name.strip().lower() for name, _ in message.headers[:2]] != FORWARDED:
            log.warning("what is no forward was dropped", account_id=account.id)
            return DISCARD
        if await self._database.read(partial(self._may_leave, account=account, message=message)):
            return CONTINUE
        log.warning("a forward was kept", account_id=account.id, reason="it would vouch for somebody else")
        return _into_the_inbox(message, account)

    def _may_leave(self, tx: Tx, account: Account, message: Message) -> bool:
        """Whether the forward vouches for nobody but its owner.

        SPF vouches for the domain of the envelope sender, without one for the mail host, and DMARC takes that for any
        From of the same organizational domain (RFC 7489 3.1.1).
        """
        vouching = self._hostname
        if message.sender != b"<>":
            try:
                sender = senders.parse(message.macros.get("{mail_addr}", ""))
            except BadAddress:
                return False
            if not senders.may_use(tx, account, sender):
                return False
            vouching = sender.domain
        organization = self._organization(vouching)
        authors = [value for name, value in message.headers if name.strip().lower() == b"from"]
        return all(self._is_harmless(tx, account, value, organization) for value in authors)

    def _is_harmless(self, tx: Tx, account: Account, value: bytes, organization: str) -> bool:
        try:
            author = header_from.parse(value).address
        except Unclear:
            text = header_from.squeezed(value)
            return organization not in text and idna.decode(organization) not in text
        return self._organization(author.domain) != organization or senders.may_use(tx, account, author)

    def _organization(self, domain: str) -> str:
        return self._suffixes.privatesuffix(domain) or domain


def _owner(message: Message) -> Account | None:
    """Whose script it is, as sendmail.py told Postfix by XCLIENT LOGIN."""
    login = message.macros.get("{auth_authen}", "")
    return Account(int(login)) if login.isascii() and login.isdigit() and len(login) <= 18 else None


def _into_the_inbox(message: Message, account: Account) -> Answer:
    """The message as it came, for its owner alone, past the script."""
    recipients: Iterable[bytes] = message.recipients
    return CONTINUE.after(
        *(delete_recipient(recipient) for recipient in recipients),
        add_recipient(inbox_name(account.id)),
        change_sender(""),
        *(delete_header(1, name) for name in ("X-Sieve", "X-Sieve-Redirected-From")),
    )
