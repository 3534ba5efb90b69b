"""The methods of both clients for aliases, one for each route (see operations.py)."""

from collections.abc import Sequence
from typing import Literal

from msgspec import UNSET, UnsetType

from postroom import parameters as p
from postroom.client import answers, shapes
from postroom.client.methods import listing, operation
from postroom.client.request import Request, changed, given
from postroom.client.shape import Page

AliasKind = Literal["alias", "group", "catch_all", "former"]


class AliasOperations:
    """The operations on aliases."""

    @operation("POST", "/v2/email-aliases/create")
    def create_alias(
        self,
        domain: p.DomainName,
        local_part: p.AliasLocalPart,
        account_ids: p.AccountIds[Sequence[int]],
        *,
        user_id: p.UserId | None = None,
        may_send: p.MaySend | None = None,
        expires_at: p.ExpiresAt | None = None,
        name: p.AliasName | None = None,
        allow_reserved: p.AllowReserved | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Alias]:
        """Makes an alias of one account, a group of several, or with `*` the catch-all of a domain.
        Mail to it arrives by the time of the answer."""
        body = given(domain=domain, local_part=local_part, account_ids=account_ids, user_id=user_id, name=name)
        body |= given(may_send=may_send, expires_at=expires_at, allow_reserved=allow_reserved)
        return Request(answers.alias, body=body, idempotency_key=idempotency_key)

    @listing("/v2/email-aliases")
    def list_aliases(
        self,
        *,
        user_id: p.UserId | None = None,
        domain: p.DomainName | None = None,
        account_id: p.AccountId | None = None,
        kind: p.AliasKind[AliasKind] | None = None,
        q: p.AddressPrefix | None = None,
        limit: p.Limit | None = None,
        offset: p.Offset | None = None,
        after: p.After | None = None,
    ) -> Request[Page[shapes.Alias]]:
        """Lists aliases. `q` is the beginning of the address."""
        query = given(user_id=user_id, domain=domain, account_id=account_id, kind=kind, q=q)
        return Request(answers.aliases, query=query | given(limit=limit, offset=offset, after=after))

    @operation("GET", "/v2/email-aliases/resolve")
    def resolve_address(self, address: p.Address, *, user_id: p.UserId | None = None) -> Request[shapes.Resolution]:
        """Says what would happen now to mail to an address."""
        return Request(answers.resolution, query=given(address=address, user_id=user_id))

    @operation("GET", "/v2/email-aliases/:id")
    def get_alias(self, id: p.Id, *, user_id: p.UserId | None = None) -> Request[shapes.Alias]:
        """Returns one alias."""
        return Request(answers.alias, path={"id": id}, query=given(user_id=user_id))

    @operation("PUT", "/v2/email-aliases/:id")
    def update_alias(
        self,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        account_ids: p.AccountIds[Sequence[int]] | None = None,
        may_send: p.MaySend | None = None,
        expires_at: p.ExpiresAt | UnsetType | None = UNSET,
        name: p.AliasName | UnsetType | None = UNSET,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.Alias]:
        """Changes the given fields and leaves the rest as it is. None removes an expiry or a
        name."""
        body = given(user_id=user_id, account_ids=account_ids, may_send=may_send)
        body |= changed(expires_at=expires_at, name=name)
        return Request(answers.alias, path={"id": id}, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/v2/email-aliases/delete")
    def delete_alias(
        self, id: p.Id, *, user_id: p.UserId | None = None, idempotency_key: p.IdempotencyKey | None = None
    ) -> Request[shapes.AliasName]:
        """Deletes an alias. Its address is free at once."""
        return Request(answers.deleted_alias, body=given(id=id, user_id=user_id), idempotency_key=idempotency_key)
