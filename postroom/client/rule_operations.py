"""The methods of both clients for what happens to an account's mail: forwarding, vacation, and what
became of sent messages (see operations.py)."""

from collections.abc import Sequence

from postroom import parameters as p
from postroom.client import answers, mail_shapes, shapes
from postroom.client.methods import listing, operation
from postroom.client.request import Request, given
from postroom.client.shape import Page


class RuleOperations:
    """The operations on forwarding, vacation and sent mail."""

    @operation("GET", "/v2/email-accounts/:id/forwarding")
    def get_forwarding(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.Forwarding]:
        """Shows to whom the mail of an account is forwarded."""
        return Request(answers.forwarding, path={"id": id}, query=given(user_id=user_id))

    @operation("PUT", "/v2/email-accounts/:id/forwarding")
    def set_forwarding(
        self,
        id: p.Id,
        enabled: p.RuleEnabled,
        *,
        to: p.ForwardTo[Sequence[str]] | None = None,
        keep_copy: p.KeepCopy | None = None,
        user_id: p.UserId | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Forwarding]:
        """Replaces the forwarding of an account: what is not given gets its default. The next
        message is forwarded by the new rule."""
        body = given(enabled=enabled, to=to, keep_copy=keep_copy, user_id=user_id)
        return Request(answers.forwarding, path={"id": id}, body=body, idempotency_key=idempotency_key)

    @operation("GET", "/v2/email-accounts/:id/vacation")
    def get_vacation(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.Vacation]:
        """Shows the reply that senders get while the owner of an account is away."""
        return Request(answers.vacation, path={"id": id}, query=given(user_id=user_id))

    @operation("PUT", "/v2/email-accounts/:id/vacation")
    def set_vacation(
        self,
        id: p.Id,
        enabled: p.RuleEnabled,
        *,
        text: p.VacationText | None = None,
        subject: p.VacationSubject | None = None,
        from_at: p.VacationFrom | None = None,
        until_at: p.VacationUntil | None = None,
        days: p.VacationDays | None = None,
        user_id: p.UserId | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Vacation]:
        """Replaces the reply of an account: what is not given gets its default. The next message
        is answered by the new rule."""
        body = given(enabled=enabled, text=text, subject=subject, from_at=from_at, until_at=until_at)
        body |= given(days=days, user_id=user_id)
        return Request(answers.vacation, path={"id": id}, body=body, idempotency_key=idempotency_key)

    @listing("/v2/email-accounts/:id/sent")
    def list_sent(
        self,
        id: p.Id,
        *,
        message_id: p.SentMessageId | None = None,
        user_id: p.UserId | None = None,
        limit: p.Limit | None = None,
        after: p.After | None = None,
    ) -> Request[Page[mail_shapes.SentRecipient]]:
        """Lists what became of the messages that an account has submitted in the last 7 days, by
        recipient."""
        query = given(message_id=message_id, user_id=user_id, limit=limit, after=after)
        return Request(answers.sent, path={"id": id}, query=query)

    @operation("GET", "/v2/email-accounts/:id/sent/days")
    def count_sent(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[list[mail_shapes.SentDay]]:
        """Counts the recipients to whom an account has written on each of the last 30 days, by what
        became of them."""
        return Request(answers.sent_days, path={"id": id}, query=given(user_id=user_id))
