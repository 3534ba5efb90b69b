"""What a Sieve script sends: replies come from its owner alone, forwarded mail keeps its From."""

from postroom.db import Database
from postroom.milter.message import CONTINUE, Answer, Message
from postroom.milter.protocol import Want


class Sieve:
    """The listener `sieve`."""

    name = "sieve"
    wants = Want.NOTHING
    macros = "{auth_authen} {mail_addr}"

    def __init__(self, database: Database) -> None:
        self._database = database

    def keeps(self, name: bytes) -> bool:
        return name == b"from"

    async def judge(self, message: Message) -> Answer:  # noqa: ARG002
        return CONTINUE
