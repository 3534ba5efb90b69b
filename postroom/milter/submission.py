"""Submitted mail: the envelope sender, From, and every other field that names a sender must be the
account's own addresses, and the recipients must be within the account's send limits."""

from functools import partial

from postroom.accounts import senders
from postroom.accounts.senders import Account
from postroom.accounts.sent_counts import NotSent
from postroom.address import Address, BadAddress
from postroom.db import Database, Tx
from postroom.milter import identity, sending
from postroom.milter.identity import Identity, NotOwn
from postroom.milter.message import CONTINUE, Answer, Message, refuse
from postroom.milter.protocol import Want
from postroom.milter.sending import Sending
from postroom.settings import Settings


class Submission:
    """The listeners `submission` and `submissions`."""

    name = "submission"
    wants = Want.RECIPIENTS
    macros = "{auth_authen} {mail_addr}"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._sending = Sending(database, settings)

    def keeps(self, name: bytes) -> bool:
        return identity.is_identity(name)

    async def judge(self, message: Message) -> Answer:
        account = Account.of_login(message.macros.get("{auth_authen}", ""))
        if account is None:
            return refuse(550, "5.7.1", "Log in before you send")
        if message.is_cut:
            return refuse(552, "5.3.4", "The header fields that name a sender are too long")
        try:
            sender = _sender(message)
            named = identity.read(message.headers)
            await self._database.read(partial(_check, account=account, sender=sender, named=named))
            await self._sending.count(account.id, message)
        except _ForeignSender:
            return refuse(553, "5.7.1", "Sender address must be your own, in the form name@domain")
        except NotOwn as error:
            return refuse(550, "5.7.1", str(error))
        except NotSent as why:
            return sending.refusal(why)
        return CONTINUE


class _ForeignSender(Exception):
    """The envelope sender is unclear, or is not an address of the account."""


def _sender(message: Message) -> Address:
    """Returns the envelope sender. The client's text and Postfix's rewritten text must parse to the
    same address: opendkim chooses the key by the client's text, and Postfix queues its own. Raises
    _ForeignSender."""
    try:
        written = senders.parse(message.sender.decode("ascii").removeprefix("<").removesuffix(">"))
        taken = senders.parse(message.macros.get("{mail_addr}", ""))
    except (BadAddress, UnicodeDecodeError):
        raise _ForeignSender from None
    if written != taken:
        raise _ForeignSender
    return written


def _check(tx: Tx, account: Account, sender: Address, named: Identity) -> None:
    if not senders.may_use(tx, account, sender):
        raise _ForeignSender
    named.check(tx, account)
