"""Counts what an account sends, and stops what is over its limits: for the listeners of submission
and of Sieve. The milter counts because it sees each message and each recipient anyway (decision
0278)."""

from collections.abc import Callable
from functools import partial

from postroom.accounts import full_periods, known_recipients, outgoing_messages, sent_counts
from postroom.accounts.sent_counts import NotSent, SendLimitReached
from postroom.db import Database, Tx
from postroom.instance import digest_key
from postroom.milter.message import Answer, Message, refuse
from postroom.settings import Settings


class Sending:
    """Counts messages in the database, one transaction each."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._key, self._node = digest_key.ensure(settings.data), settings.node

    async def count(self, account_id: int, message: Message) -> None:
        """Counts a message that the account submits. Raises NotSent, Busy."""
        await self._count(account_id, message, self._hashes(account_id, message), by_script=False)

    async def count_forward(self, account_id: int, message: Message) -> None:
        """Counts a message that a script forwards. Raises NotSent, Busy."""
        await self._count(account_id, message, self._hashes(account_id, message), by_script=True)

    async def count_reply(self, account_id: int, message: Message) -> None:
        """Counts a reply of a script, whose recipient has written first. Raises NotSent, Busy."""
        await self._count(account_id, message, [], by_script=True)

    async def take(self, account_id: int, message: Message, message_id: str) -> None:
        """Counts a message that the API sends, and takes it. Raises NotSent, Busy."""
        number, hashes = len(message.recipients), self._hashes(account_id, message)

        def work(tx: Tx) -> None:
            outgoing_messages.take(tx, account_id, message_id, message.macros.get("i", ""), self._node)
            sent_counts.count(tx, account_id, number, hashes)

        await self._write(work)

    async def _count(self, account_id: int, message: Message, hashes: list[int], *, by_script: bool) -> None:
        number = len(message.recipients)
        await self._write(
            partial(sent_counts.count, account_id=account_id, recipients=number, hashes=hashes, by_script=by_script)
        )

    async def _write(self, work: Callable[[Tx], None]) -> None:
        try:
            await self._database.write(work)
        except SendLimitReached as refused:
            await self._database.write(partial(full_periods.note, refused=refused))
            raise

    def _hashes(self, account_id: int, message: Message) -> list[int]:
        texts = (one.decode("ascii", "replace").removeprefix("<").removesuffix(">") for one in message.recipients)
        return known_recipients.digests(self._key, account_id, texts)


def refusal(why: NotSent) -> Answer:
    """Returns the answer to a client: temporary if the message may be sent later."""
    return refuse(450, "4.7.1", str(why)) if isinstance(why, SendLimitReached) else refuse(550, "5.7.1", str(why))
