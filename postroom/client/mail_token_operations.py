"""The method of both clients for mail tokens (see operations.py)."""

from collections.abc import Sequence

from postroom import parameters as p
from postroom.client import answers
from postroom.client import credential_shapes as shapes
from postroom.client.methods import operation
from postroom.client.request import Request, given


class MailTokenOperations:
    """The operation on mail tokens."""

    @operation("POST", "/v2/mail-tokens")
    def create_mail_token(
        self,
        *,
        user_id: p.UserId | None = None,
        account_id: p.TokenAccountId | None = None,
        expires_in: p.TokenExpiresIn | None = None,
        scopes: p.TokenScopes[Sequence[str]] | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.MailToken]:
        """Makes a token with which a browser or an agent reads and changes the mail of one user,
        without an API key. Only this answer contains `token`."""
        body = given(user_id=user_id, account_id=account_id, expires_in=expires_in, scopes=scopes)
        return Request(answers.mail_token, body=body, idempotency_key=idempotency_key)
