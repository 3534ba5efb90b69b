"""The methods of both clients for webhooks, one for each route (see operations.py)."""

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, UnsetType

from postroom import parameters as p
from postroom.client import answers
from postroom.client import webhook_shapes as shapes
from postroom.client.methods import listing, operation
from postroom.client.request import Request, changed, given
from postroom.client.shape import Page


class WebhookOperations:
    """The operations on webhooks."""

    @operation("POST", "/v2/webhooks/create")
    def create_webhook(
        self,
        url: p.WebhookUrl,
        events: p.WebhookEvents[Sequence[str]],
        *,
        user_id: p.UserId | None = None,
        domain: p.WebhookDomain | None = None,
        account_id: p.WebhookAccountId | None = None,
        description: p.WebhookDescription | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.WebhookWithSecret]:
        """Makes a webhook: events from now on are sent to its URL. Only this answer has the secret
        that signs them."""
        body = given(url=url, events=events, user_id=user_id, domain=domain, account_id=account_id)
        body |= given(description=description)
        return Request(answers.webhook_with_secret, body=body, idempotency_key=idempotency_key)

    @listing("/v2/webhooks")
    def list_webhooks(
        self,
        *,
        user_id: p.UserId | None = None,
        limit: p.Limit | None = None,
        offset: p.Offset | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Webhook]]:
        """Lists the webhooks, without their secrets."""
        return Request(answers.webhooks, query=given(user_id=user_id, limit=limit, offset=offset, after=after))

    @operation("GET", "/v2/webhooks/:id")
    def get_webhook(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.Webhook]:
        """Returns one webhook, without its secret."""
        return Request(answers.webhook, path={"id": id}, query=given(user_id=user_id))

    @operation("PUT", "/v2/webhooks/:id")
    def update_webhook(
        self,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        url: p.WebhookUrl | None = None,
        events: p.WebhookEvents[Sequence[str]] | None = None,
        description: p.WebhookDescription | UnsetType | None = UNSET,
        status: p.WebhookStatus[Literal["active"]] | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Webhook]:
        """Changes the given fields and leaves the rest as it is. `status` "active" makes a disabled
        webhook active again. None removes a description."""
        body = given(user_id=user_id, url=url, events=events, status=status) | changed(description=description)
        return Request(answers.webhook, path={"id": id}, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/webhooks/:id/secret/rotate")
    def rotate_webhook_secret(
        self, id: p.Id, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.WebhookWithSecret]:
        """Makes a new secret, which only this answer has. The present one signs beside it for 24
        hours."""
        return Request(
            answers.webhook_with_secret, path={"id": id}, body=given(user_id=user_id), idempotency_key=idempotency_key
        )

    @operation("POST", "/v2/webhooks/delete")
    def delete_webhook(
        self, id: p.Id, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.WebhookName]:
        """Deletes a webhook. Nothing is sent to its URL any more."""
        return Request(answers.deleted_webhook, body=given(id=id, user_id=user_id), idempotency_key=idempotency_key)
