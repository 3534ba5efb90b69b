"""Mail that a Sieve script sends. A reply of the script must come from the script's owner; a
forwarded message keeps its From.

Nothing is refused, because Dovecot treats a refusal as a temporary failure and would defer all mail
of the script's owner. A reply that does not come from the owner is dropped (decision 0138); the
message that it replies to stays in the INBOX. A forward that would vouch for somebody else goes
into the owner's INBOX instead. The same happens to mail over the owner's send limits.
"""

from dataclasses import dataclass
from functools import cache, partial

import idna
from publicsuffixlist import PublicSuffixList

from postroom.accounts import senders
from postroom.accounts.senders import Account
from postroom.accounts.sent_counts import NotSent
from postroom.address import Address, BadAddress
from postroom.db import Database, Tx
from postroom.domains import dkim
from postroom.log import log
from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN, SIGNING_HEADER, SPAM_HEADER, inbox_name
from postroom.milter import header_from, identity, own_signature
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
from postroom.milter.sending import Sending
from postroom.settings import Settings

# The first two fields of a message that Dovecot's Sieve forwards. A script can add fields to a
# reply, but none at the beginning.
FORWARDED = [b"x-sieve", b"x-sieve-redirected-from"]
# Largest number of times that scripts of this instance forward a message. The scripts of one
# account can make 14 messages of one (`sieve_max_redirects`); those of several accounts together
# could make any number (decision 0232).
MOST_FORWARDS = 3
# Fields that a reply must not have: they claim the mail host's authentication results (RFC 8601,
# section 5), the filter's verdict, or the milter's own words.
CLAIMS = (b"authentication-results", SPAM_HEADER.lower().encode(), SIGNING_HEADER.lower().encode())


class Replies:
    """The listener `replies`: vacation and reject."""

    name = "replies"
    wants = Want.RECIPIENTS
    macros = "{auth_authen} i"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._sending = Sending(database, settings)

    def keeps(self, name: bytes) -> bool:
        return identity.is_identity(name) or name in CLAIMS

    async def judge(self, message: Message) -> Answer:
        account = _owner(message)
        if account is None:
            return TEMPORARY
        try:
            if message.is_cut:
                raise NotOwn("Every field", "they are too long")
            if message.sender != b"<>":
                raise NotOwn("The envelope sender", "a reply has none")
            if not all(identity.is_identity(name.strip().lower()) for name, _ in message.headers):
                raise NotOwn("Every field", "one is not clear, or not a reply's")
            named = identity.read(message.headers)
            await self._database.read(partial(named.check, account=account))
            await self._sending.count_reply(account.id, message)
        except NotOwn as error:
            log.warning("a reply was dropped", account_id=account.id, reason=str(error))
            return DISCARD
        except NotSent as why:
            log.info("a reply was dropped", account_id=account.id, reason=str(why))
            return DISCARD
        return CONTINUE.after(insert_header(0, SIGNING_HEADER, named.author.domain))


class Forwards:
    """The listener `forwards`: redirect."""

    name = "forwards"
    wants = Want.RECIPIENTS | Want.BODY
    macros = "{auth_authen} {mail_addr} i"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._sending = Sending(database, settings)

    def keeps(self, name: bytes) -> bool:  # noqa: ARG002 - every listener's
        return True

    async def judge(self, message: Message) -> Answer:
        account = _owner(message)
        if account is None:
            return TEMPORARY
        if [name.strip().lower() for name, _ in message.headers[:2]] != FORWARDED:
            log.warning("what is no forward was dropped", account_id=account.id)
            return DISCARD
        try:
            forward = await self._database.read(partial(Forward.look_at, account=account, message=message))
            if forward.needs_signature and not await self._is_ours(forward, message):
                raise NotForwarded("it would vouch for somebody else")
            await self._sending.count_forward(account.id, message)
        except (NotForwarded, NotSent) as why:
            log.info("a forward was kept", account_id=account.id, reason=str(why))
            return _into_the_inbox(message, account)
        return CONTINUE

    async def _is_ours(self, forward: "Forward", message: Message) -> bool:
        """Returns whether this instance has signed the message for its author. The author was
        checked when the message was signed."""
        if forward.author is None:
            return False
        for signature in own_signature.signatures(message.headers, forward.author.domain):
            find = partial(dkim.record, domain=signature.domain, selector=signature.selector)
            record = await self._database.read(find)
            if record and await own_signature.verify(signature, record, message.headers, message.body):
                return True
        return False


class NotForwarded(Exception):
    """The message is not forwarded. The text says why, for the log."""


@dataclass(frozen=True, slots=True)
class Forward:
    """What a forward would claim. `author` is the mailbox in From, or None if From is unclear.

    SPF vouches for the domain of the envelope sender, and DMARC accepts this for any From of the
    same organizational domain (RFC 7489 3.1.1), so a forged From of a neighbor would pass. Such a
    message is therefore forwarded only if this instance has signed it, and this instance signs only
    for the author.
    """

    author: Address | None
    needs_signature: bool

    @classmethod
    def look_at(cls, tx: Tx, account: Account, message: Message) -> "Forward":
        """Returns the claims of a forward. Raises NotForwarded if there must be none."""
        if message.sender == b"<>":
            # A bounce of the message would go nowhere, and the mail host's name would vouch for the
            # message in place of a sender.
            raise NotForwarded("it has no envelope sender")
        if any(_is_closed(tx, recipient) for recipient in message.recipients):
            raise NotForwarded("a recipient takes no mail")
        sender = _address(message.macros.get("{mail_addr}", ""))
        if sender is None or not senders.may_use(tx, account, sender):
            raise NotForwarded("its envelope sender is not the owner's")
        if message.is_cut:
            raise NotForwarded("its header is too long")
        if sum(name.strip().lower() == FORWARDED[1] for name, _ in message.headers) > MOST_FORWARDS:
            raise NotForwarded("it was forwarded too often")
        authors = [value for name, value in message.headers if name.strip().lower() == b"from"]
        organization = _organization(sender.domain)
        if len(authors) != 1:  # if there are several, each receiver chooses one of them
            return cls(None, bool(authors))
        try:
            author = header_from.parse(authors[0]).address
        except Unclear:
            return cls(None, _mentions(authors[0], organization))
        is_near = _organization(author.domain) == organization
        return cls(author, is_near and not senders.may_use(tx, account, author))


def _is_closed(tx: Tx, recipient: bytes) -> bool:
    """Returns whether mail to the recipient would bounce: the recipient is an internal name, a host
    by its IP address, or a disabled account."""
    text = recipient.decode("ascii", "replace").removeprefix("<").removesuffix(">")
    domain = text.rpartition("@")[2].lower().rstrip(".")
    if domain.startswith("[") or domain == INTERNAL_DOMAIN or domain.endswith(f".{INTERNAL_DOMAIN}"):
        return True
    address = _address(text)
    return address is not None and senders.is_closed(tx, address)


def _address(text: str) -> Address | None:
    try:
        return senders.parse(text)
    except BadAddress:
        return None


@cache
def _suffixes() -> PublicSuffixList:
    """Only the public suffixes of registries, as some receivers use them: this gives the wider
    organizational domains."""
    return PublicSuffixList(only_icann=True)


def _organization(domain: str) -> str:
    return _suffixes().privatesuffix(domain) or domain


def _mentions(value: bytes, organization: str) -> bool:
    """Returns whether an unclear From could be read as an address in this organizational
    domain."""
    if len(value) > header_from.LONGEST_FIELD:
        return True
    text = header_from.squeezed(value)
    try:
        spellings = {organization, idna.decode(organization)}
    except idna.IDNAError:  # a name that only older rules allow
        spellings = {organization}
    return any(spelling in text for spelling in spellings)


def _owner(message: Message) -> Account | None:
    """Returns the owner of the script, whom sendmail.py has named to Postfix by XCLIENT LOGIN, or
    None."""
    login = message.macros.get("{auth_authen}", "")
    return Account(int(login)) if login.isascii() and login.isdigit() and len(login) <= 18 else None


def _into_the_inbox(message: Message, account: Account) -> Answer:
    """Returns the changes that deliver the original message only to its owner, past the script."""
    return CONTINUE.after(
        *(delete_recipient(recipient) for recipient in message.recipients),
        add_recipient(inbox_name(account.id)),
        change_sender(""),
        *(delete_header(1, name) for name in ("X-Sieve", "X-Sieve-Redirected-From")),
    )
