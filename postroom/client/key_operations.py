"""The methods of both clients for API keys, one for each route (see operations.py)."""

from collections.abc import Sequence

from postroom import parameters as p
from postroom.client import answers, shapes
from postroom.client.methods import listing, operation
from postroom.client.request import Request, given
from postroom.client.shape import Page


class KeyOperations:
    """The operations on API keys."""

    @operation("POST", "/v2/keys")
    def create_key(
        self,
        *,
        name: p.KeyName | None = None,
        user_id: p.UserId | None = None,
        scopes: p.Scopes[Sequence[str]] | None = None,
        domains: p.KeyDomains[Sequence[str]] | None = None,
        networks: p.Networks[Sequence[str]] | None = None,
        expires_at: p.ExpiresAt | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.KeyWithSecret]:
        """Makes a key that is no wider than the key in use and is revoked with it. Only this answer
        contains `api_key`."""
        body = given(name=name, user_id=user_id, scopes=scopes, domains=domains)
        body |= given(networks=networks, expires_at=expires_at)
        return Request(answers.key, body=body, idempotency_key=idempotency_key)

    @listing("/v2/keys")
    def list_keys(
        self,
        *,
        user_id: p.UserId | None = None,
        limit: p.Limit | None = None,
        offset: p.Offset | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Key]]:
        """Lists the keys, without their secrets."""
        return Request(answers.keys, query=given(user_id=user_id, limit=limit, offset=offset, after=after))

    @operation("POST", "/v2/keys/delete")
    def delete_key(
        self,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        keep_webhooks: p.KeepWebhooks | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.KeyName]:
        """Revokes a key and every key that was made with it, and disables their webhooks unless
        `keep_webhooks` is set."""
        body = given(id=id, user_id=user_id, keep_webhooks=keep_webhooks)
        return Request(answers.deleted_key, body=body, idempotency_key=idempotency_key)
