"""What a person submits: the envelope sender and From are one of the account's own addresses."""

from functools import partial

from postroom import senders
from postroom.address import BadAddress
from postroom.db import Database
from postroom.milter.message import CONTINUE, Answer, Message, refuse
from postroom.milter.protocol import Want
from postroom.senders import Account


class Submission:
    """The listeners `submission` and `submissions`."""

    name = "submission"
    wants = Want.NOTHING
    macros = "{auth_authen} {mail_addr}"

    def __init__(self, database: Database) -> None:
        self._database = database

    def keeps(self, name: bytes) -> bool:
        return name == b"from"

    async def judge(self, message: Message) -> Answer:
        account = Account.of_login(message.macros.get("{auth_authen}", ""))
        if account is None:
            return refuse(550, "5.7.1", "Log in before you send")
        try:
            sender = senders.parse(message.macros.get("{mail_addr}", ""))
        except BadAddress:
            return refuse(553, "5.7.1", "Sender address must be your own")
        if not await self._database.read(partial(senders.may_use, account=account, address=sender)):
            return refuse(553, "5.7.1", "Sender address must be your own")
        return CONTINUE
