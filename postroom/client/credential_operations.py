"""The methods of both clients for app passwords, one for each route (see operations.py)."""

from collections.abc import Sequence
from typing import Literal

from postroom import parameters as p
from postroom.client import answers
from postroom.client import credential_shapes as shapes
from postroom.client.methods import operation
from postroom.client.request import Request, given

Protocol = Literal["imap", "pop3", "smtp", "sieve"]


class CredentialOperations:
    """The operations on app passwords."""

    @operation("POST", "/v2/email-accounts/:account_id/app-passwords/create")
    def create_app_password(
        self,
        account_id: p.AccountId,
        name: p.AppPasswordName,
        scopes: p.AppPasswordScopes[Sequence[Protocol]],
        *,
        user_id: p.UserId | None = None,
        networks: p.AppPasswordNetworks[Sequence[str]] | None = None,
        expires_at: p.ExpiresAt | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.AppPasswordWithSecret]:
        """Makes a further password of an account, for one program or device. Only this answer has
        the password. The key needs the scope credentials:write."""
        body = given(name=name, scopes=scopes, user_id=user_id, networks=networks, expires_at=expires_at)
        return Request(
            answers.app_password, path={"account_id": account_id}, body=body, idempotency_key=idempotency_key
        )

    @operation("GET", "/v2/email-accounts/:account_id/app-passwords")
    def list_app_passwords(
        self, account_id: p.AccountId, *, user_id: p.UserId | None = None
    ) -> Request[list[shapes.AppPassword]]:
        """Lists the app passwords of an account, without their secrets."""
        return Request(answers.app_passwords, path={"account_id": account_id}, query=given(user_id=user_id))

    @operation("POST", "/v2/email-accounts/:account_id/app-passwords/delete")
    def delete_app_password(
        self,
        account_id: p.AccountId,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.AppPasswordName]:
        """Deletes the app password `id` and ends its sessions, and no others. The key
        needs the scope credentials:write."""
        body = given(id=id, user_id=user_id)
        return Request(
            answers.deleted_app_password, path={"account_id": account_id}, body=body, idempotency_key=idempotency_key
        )
