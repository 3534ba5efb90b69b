"""The endpoint that sends a message of an account."""

import msgspec
from msgspec import UNSET, UnsetType

from postroom.accounts import commands as accounts
from postroom.accounts import outgoing_messages, send_checks
from postroom.accounts.model import Account
from postroom.api.context import RequestContext, Result, path_id, resolve_user
from postroom.api.endpoints.draft_bodies import SendMessageBody, read_draft
from postroom.api.endpoints.draft_sizes import size_problems
from postroom.api.endpoints.messages import check_text, look_at
from postroom.api.fields import raise_if_any, text_problems
from postroom.api.message_sending import MessageSending, SentMessageAnswer
from postroom.api.problems import NO_MESSAGE
from postroom.api.route import LargeBody, route
from postroom.db import Tx
from postroom.errors import FieldError, Refused, invalid
from postroom.messages.drafts import Draft
from postroom.messages.message_ids import message_id_of
from postroom.messages.parsed import ParsedMessage
from postroom.messages.people import LONGEST_NAME, Person, is_one_line
from postroom.parameters import UserId

READS = "messages:read"
LARGEST_BODY = 25 * 1024 * 1024
REFUSES = (
    *("account_suspended", "account_disabled", "sending_off", "domain_not_active", "limit_reached", "outbound_off"),
    *("recipient_refused", "message_refused", "mail_off", "mail_unavailable"),
)


class SendMessageQuery(msgspec.Struct, frozen=True):
    user_id: UserId | UnsetType = UNSET


@route(
    "POST",
    "/v2/email-accounts/:id/messages/send",
    "messages:send",
    "Send message",
    SentMessageAnswer,
    status=202,
    missing=NO_MESSAGE,
    refuses=REFUSES,
    large=LargeBody(LARGEST_BODY, size_problems),
)
async def send(context: RequestContext, query: SendMessageQuery, body: SendMessageBody) -> Result:
    """Sends a message in the name of the account. Answers once Postfix has it on its disk, signed
    and counted by the send limits; to all recipients, or to none. With an Idempotency-Key it is
    sent once, however often the request comes. A copy goes to the mailbox for sent mail."""
    problems = text_problems(query.user_id, body.user_id)
    check_text(body.in_reply_to_mailbox, "in_reply_to_mailbox", problems)
    draft = read_draft(body, problems)
    raise_if_any(problems)
    if body.in_reply_to_id is not None and READS not in context.actor.scopes:
        raise Refused("forbidden", f"With in_reply_to_id, this needs the scope {READS} too: send a key that has it.")
    account, was_taken = await _account(context, draft, query.user_id, body.user_id)
    if body.from_ is None:
        draft = msgspec.structs.replace(draft, from_=_own(account))
    if body.in_reply_to_id is not None:
        try:
            draft = draft.answering(await _original(context, account, body.in_reply_to_mailbox, body.in_reply_to_id))
        except Refused:
            if not was_taken:
                raise
    return await MessageSending(context, account, draft, saves=body.save_sent).run()


async def _original(context: RequestContext, account: Account, mailbox: str, id_: str) -> ParsedMessage:
    """The message that is answered, which counts as read by the key. Raises `invalid_request` if
    there is none."""
    try:
        _, tell = await look_at(context, account.id, account.user_id)
        found = await context.services.messages.get(account.id, mailbox, message_id_of(id_))
        await tell()
        return found.parsed
    except Refused as error:
        if error.code != "not_found" or not error.fields:  # without a field, the account itself is gone
            raise
        names = {"mailbox": "in_reply_to_mailbox"}
        fields = (FieldError(names.get(one.field, "in_reply_to_id"), one.code, one.message) for one in error.fields)
        raise invalid(*fields) from None


async def _account(context: RequestContext, draft: Draft, *sent_users: str | UnsetType) -> tuple[Account, bool]:
    """Returns the account, and whether the message of this Idempotency-Key was taken before. Such a
    message is not refused: it is in the queue, whatever has changed since."""
    id_, user_id = path_id(context), resolve_user(context.actor, *sent_users)
    sender = draft.from_.address or None
    number = len(draft.recipients)

    def work(tx: Tx) -> tuple[Account, bool]:
        if context.attempt and outgoing_messages.was_taken(tx, id_, context.attempt):
            return accounts.get(tx, context.actor, id_, user_id), True
        return send_checks.check(tx, context.actor, id_, user_id, sender, number), False

    return await context.services.database.read(work)


def _own(account: Account) -> Person:
    """The account's own address and name."""
    name = account.display_name or ""
    return Person(name if name.strip() and len(name) <= LONGEST_NAME and is_one_line(name) else None, account.address)
