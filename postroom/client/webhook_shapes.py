"""The answers of the API about webhooks, as the client returns them.

Generated from the server's structs by tests/client/make.py (decision 0194): do not edit.
"""

from datetime import datetime

from postroom.client.shape import Shape


class Webhook(Shape, frozen=True):
    """A webhook, without its secret."""

    id: int
    url: str
    events: tuple[str, ...]
    user_id: str | None
    domain: str | None
    account_id: int | None
    forward_mode: str | None
    description: str | None
    status: str
    disabled_reason: str | None
    former_secret_ends_at: datetime | None
    last_success_at: datetime | None
    failing_since: datetime | None
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(Shape, frozen=True):
    """Only this call's answer has the secret."""

    webhook: Webhook
    secret: str
    note: str


class ShownWebhookAnswer(Shape, frozen=True):
    webhook: Webhook


class WebhookName(Shape, frozen=True):
    id: int
    url: str


class WebhookMessage(Shape, frozen=True):
    """A message in an account, with the id that it had when it arrived."""

    account_id: int
    id: str


class WebhookDelivery(Shape, frozen=True):
    """An event or a message for a webhook, and what became of the last attempt to send it.
    `message` is the message with the id that it had when it arrived."""

    id: int
    event_id: int | None
    type: str
    message: WebhookMessage | None
    status: str
    attempts: int
    next_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    duration_ms: int | None
    created_at: datetime


class WebhookReplay(Shape, frozen=True):
    """`more`: the same call, with `after_event_id` where it is set, goes on."""

    replayed: int
    more: bool
    after_event_id: int | None


class WebhookAttempt(Shape, frozen=True):
    """`error` is null if the endpoint has answered 2xx."""

    delivered: bool
    status_code: int | None
    error: str | None
    duration_ms: int


class WebhookTest(Shape, frozen=True):
    attempt: WebhookAttempt


class DeletedWebhook(Shape, frozen=True):
    deleted: WebhookName
