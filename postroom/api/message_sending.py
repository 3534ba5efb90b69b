"""Sends a message: announces it in the database, hands it to Postfix, saves a copy, and tells of it
(decision 0320). A retry with the same Idempotency-Key goes on where the first attempt ended."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import IO, Literal, NoReturn

import msgspec

from postroom.accounts import outgoing_messages, send_checks
from postroom.accounts.model import Account
from postroom.accounts.outgoing_messages import Announced
from postroom.api.context import RequestContext, Result
from postroom.api.projections import timestamp
from postroom.db import Tx
from postroom.errors import Busy, FieldError, MailUnavailable, OutcomeUnknown, Refused, TooMany, invalid
from postroom.log import log
from postroom.messages.drafts import Draft
from postroom.messages.hand_over import (
    LIMIT_REACHED,
    NOT_ANNOUNCED,
    NOT_SENT,
    NOT_YOURS,
    NotTaken,
    RefusedRecipient,
    Unknown,
)
from postroom.messages.outbox import RETRY_SECONDS, queued_at

SentCopy = Literal["saved", "off", "failed"]
# Pauses in seconds before another look at what became of a message.
LOOKS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)
# Why Postfix refuses a recipient, by its code (RFC 3463).
RECIPIENTS = {
    "5.1.1": FieldError("", "unknown_recipient", "There is no such address on this server."),
    "5.2.1": FieldError("", "mailbox_disabled", "This mailbox takes no mail."),
    "5.2.2": FieldError("", "mailbox_full", "This mailbox is full."),
    "5.7.1": FieldError("", "outbound_off", "This address is on another server, and mail does not leave this one."),
}
SEND_LIMIT = FieldError("to", "send_limit_reached", "The account has reached a send limit of an hour or a day.")
REFUSED = FieldError("", "refused", "This address is refused.")


class SentMessage(msgspec.Struct, frozen=True):
    """A message that is in Postfix's queue. `id` and `mailbox` are those of the copy; None if there
    is no copy, and `sent_copy` says why."""

    id: str | None
    mailbox: str | None
    rfc_message_id: str
    queued_at: str
    recipients: list[str]
    sent_copy: SentCopy


class SentMessageAnswer(msgspec.Struct, frozen=True):
    message: SentMessage


class MessageSending:
    """One request that sends a message of the account, which was checked before."""

    def __init__(self, context: RequestContext, account: Account, draft: Draft, *, saves: bool) -> None:
        self._context, self._services = context, context.services
        self._account, self._draft, self._saves = account, draft, saves

    async def run(self) -> Result:
        """Returns the answer, once Postfix has the message on its disk. Raises Refused, Busy."""
        offered = f"<{secrets.token_hex(16)}@{self._draft.from_.address.rpartition('@')[2]}>"
        now = time.time_ns() // 1_000_000
        async with self._composed(offered, now) as file:  # a draft that cannot be built is not announced
            announced = await self._announce(offered)
            if announced.message_id == offered:
                queue_id = await self._hand_over(file, offered)
                return await self._finish(file, offered, queue_id, is_new=True)
        async with self._composed(announced.message_id, announced.announced_at) as file:
            is_new = announced.queue_id is None
            find = self._hand_over(file, announced.message_id) if is_new else self._settle(announced.message_id)
            return await self._finish(file, announced.message_id, await find, is_new=is_new)

    def _composed(self, message_id: str, at: int) -> AbstractAsyncContextManager[IO[bytes]]:
        moment = datetime.fromtimestamp(at // 1000, UTC)
        return self._services.outbox.composed(self._draft, message_id, moment)

    async def _announce(self, message_id: str) -> Announced:
        work = partial(
            outgoing_messages.announce,
            account_id=self._account.id,
            message_id=message_id,
            tried=self._context.attempt,
            node=self._services.outbox.node,
        )
        return await self._services.database.write(work)

    async def _hand_over(self, file: IO[bytes], message_id: str) -> str:
        """Returns the queue id. Raises Refused, Busy."""
        try:
            return await self._services.outbox.hand_over(
                self._account.id, self._draft.from_.address, self._draft.recipients, file
            )
        except Unknown:
            return await self._settle(message_id)
        except NotTaken as error:
            if _code(error.text) == NOT_ANNOUNCED:
                raise Refused("idempotency_conflict", "This message is just being sent. Try again shortly.") from None
            work = partial(outgoing_messages.withdraw, account_id=self._account.id, message_id=message_id)
            await self._services.database.write(work)
            await self._refuse(error)

    async def _settle(self, message_id: str) -> str:
        """Returns the queue id of a message that the milter has taken, or may have. Raises
        OutcomeUnknown."""
        find = partial(outgoing_messages.find, account_id=self._account.id, message_id=message_id)
        for seconds in LOOKS:
            progress = await self._services.database.read(find)
            if progress.queue_id is not None and (
                progress.has_status or await self._services.outbox.has_queued(progress.queue_id)
            ):
                return progress.queue_id
            await asyncio.sleep(seconds)
        raise OutcomeUnknown("Postfix did not say whether it has the message")

    async def _finish(self, file: IO[bytes], message_id: str, queue_id: str, *, is_new: bool) -> Result:
        """Saves the copy and tells of the message. From here on, nothing is refused."""
        place = None
        if self._saves:
            place = await self._services.messages.save_sent(self._account.id, file, message_id, not is_new)
        recipients = self._draft.recipients
        sent = SentMessage(
            id=place and f"{place.uidvalidity}.{place.uid}",
            mailbox=place and place.mailbox,
            rfc_message_id=message_id,
            queued_at=timestamp(queued_at(queue_id)),
            recipients=recipients,
            sent_copy="saved" if place else "failed" if self._saves else "off",
        )

        def work(tx: Tx) -> Result:
            outgoing_messages.tell(tx, self._context.actor, self._account, message_id, len(recipients))
            return Result(SentMessageAnswer(sent), 202)

        try:
            return await self._context.write(work)
        except Busy as error:
            raise OutcomeUnknown from error

    async def _refuse(self, error: NotTaken) -> NoReturn:
        if error.recipients and all(one.code >= 500 for one in error.recipients):
            raise _recipient_refusal(self._draft, error.recipients)
        code, number = _code(error.text), len(self._draft.recipients)
        if code == LIMIT_REACHED and not error.recipients:
            at, _, why = error.text.removeprefix(LIMIT_REACHED).strip().partition(" ")
            raise TooMany(f"{why}.", max(1, int(at) // 1000 - int(time.time()) + 1), SEND_LIMIT)
        if code in (NOT_YOURS, NOT_SENT) and not error.recipients:
            # Changed since the first check, or what only the milter knows.
            check = partial(
                send_checks.check,
                actor=self._context.actor,
                id_=self._account.id,
                user_id=None,
                sender=self._draft.from_.address,
                recipients=number,
            )
            await self._services.database.read(check)
            if code == NOT_YOURS:
                raise invalid(send_checks.not_yours())
        if code == "5.3.4":
            raise Refused("payload_too_large", "The message is larger than this server sends.")
        if error.code >= 500 and code != NOT_SENT and not error.recipients:
            reason = error.text.removeprefix(code).strip().rstrip(".")
            raise Refused("message_refused", f"Postfix refuses the message, and nothing was sent: {reason[:300]}.")
        log.warning("a message was not taken", account_id=self._account.id, code=error.code, enhanced_code=code)
        raise MailUnavailable("Postfix does not take the message now. Try again.", RETRY_SECONDS) from error


def _code(text: str) -> str:
    return text.partition(" ")[0]


def _recipient_refusal(draft: Draft, refused: Sequence[RefusedRecipient]) -> Refused:
    """Says which recipients are refused, by their places in the request."""
    places, recipients = draft.places(), draft.recipients
    fields = [
        replace(RECIPIENTS.get(_code(one.text), REFUSED), field=places[recipients[one.place].lower()])
        for one in refused
    ]
    if all(field.code == "outbound_off" for field in fields):
        detail = "Mail does not leave this server (POSTROOM_OUTBOUND=off): nothing was sent."
        return Refused("outbound_off", detail, *fields)
    return Refused("recipient_refused", "Not every recipient takes mail: nothing was sent. See errors.", *fields)
