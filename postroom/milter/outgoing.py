"""Mail that the API sends: only what it has announced, from the account's own addresses, within the
account's send limits, and each message once (decision 0320)."""

from functools import partial

from postroom.accounts import senders
from postroom.accounts.outgoing_messages import NotAnnounced
from postroom.accounts.senders import Account
from postroom.accounts.sent_counts import NotSent, SendLimitReached
from postroom.address import Address, BadAddress
from postroom.db import Database, Tx
from postroom.messages.hand_over import LIMIT_REACHED, NOT_ANNOUNCED, NOT_SENT, NOT_YOURS
from postroom.milter import identity
from postroom.milter.identity import Identity, NotOwn
from postroom.milter.message import CONTINUE, Answer, Message, refuse
from postroom.milter.protocol import TEMPORARY, Want
from postroom.milter.sending import Sending
from postroom.settings import Settings

MESSAGE_ID = b"message-id"


class Outgoing:
    """The listener `api`."""

    name = "api"
    wants = Want.RECIPIENTS
    macros = "{auth_authen} {mail_addr} i"

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._sending = Sending(database, settings)

    def keeps(self, name: bytes) -> bool:
        return identity.is_identity(name) or name == MESSAGE_ID

    async def judge(self, message: Message) -> Answer:
        login = message.macros.get("{auth_authen}", "")
        if not (login.isascii() and login.isdigit() and len(login) <= 18):
            return TEMPORARY
        account = Account(int(login))
        try:
            sender = senders.parse(message.macros.get("{mail_addr}", ""))
            named = identity.read(message.headers)
            await self._database.read(partial(_check, account=account, sender=sender, named=named))
            await self._sending.take(account.id, message, _message_id(message))
        except (BadAddress, NotOwn):
            return refuse(550, NOT_YOURS, "The sender must be an address of the account")
        except SendLimitReached as why:
            return refuse(450, LIMIT_REACHED, f"{why.next_at} {why}")
        except NotAnnounced as why:
            return refuse(550, NOT_ANNOUNCED, str(why))
        except NotSent as why:
            return refuse(550, NOT_SENT, str(why))
        return CONTINUE


def _check(tx: Tx, account: Account, sender: Address, named: Identity) -> None:
    if not senders.may_use(tx, account, sender):
        raise NotOwn("The envelope sender", "it is another one")
    named.check(tx, account)


def _message_id(message: Message) -> str:
    """Returns the Message-ID; empty if there is not exactly one."""
    found = [value for name, value in message.headers if name.strip().lower() == MESSAGE_ID]
    return found[0].decode("ascii", "replace").strip() if len(found) == 1 else ""
