"""The methods of both clients for deliveries of webhooks, one for each route (see
operations.py)."""

from typing import Literal

from postroom import parameters as p
from postroom.client import answers
from postroom.client import webhook_shapes as shapes
from postroom.client.methods import listing, operation
from postroom.client.request import Request, given
from postroom.client.shape import Page

DeliveryStatus = Literal["pending", "delivered", "failed"]


class WebhookDeliveryOperations:
    """The operations on deliveries of webhooks."""

    @listing("/v2/webhooks/:id/deliveries")
    def list_webhook_deliveries(
        self,
        id: p.Id,
        *,
        status: p.DeliveryStatus[DeliveryStatus] | None = None,
        user_id: p.UserId | None = None,
        limit: p.Limit | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.WebhookDelivery]]:
        """Lists the deliveries of a webhook, the newest first."""
        query = given(status=status, user_id=user_id, limit=limit, after=after)
        return Request(answers.webhook_deliveries, path={"id": id}, query=query)

    @operation("POST", "/v2/webhooks/:id/replay")
    def replay_webhook(
        self,
        id: p.Id,
        *,
        delivery_id: p.ReplayDelivery | None = None,
        after_event_id: p.ReplayAfter | None = None,
        failed: p.ReplayFailed | None = None,
        user_id: p.UserId | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.WebhookReplay]:
        """Sends deliveries again: one, all that have failed, or all events after one. Takes at most
        500 in a call; while `more` is true, call again, with the `after_event_id` of the answer if
        there is one."""
        body = given(delivery_id=delivery_id, after_event_id=after_event_id, failed=failed, user_id=user_id)
        return Request(answers.webhook_replay, path={"id": id}, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/webhooks/:id/test")
    def test_webhook(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.WebhookAttempt]:
        """Sends a test to the endpoint now and returns what became of it, within 10 seconds."""
        return Request(answers.webhook_attempt, path={"id": id}, body=given(user_id=user_id))
