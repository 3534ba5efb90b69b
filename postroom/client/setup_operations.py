"""The methods of both clients for setup links, one for each route (see operations.py)."""

from postroom import parameters as p
from postroom.client import answers
from postroom.client import credential_shapes as shapes
from postroom.client.methods import operation
from postroom.client.request import Request, given


class SetupOperations:
    """The operations on setup links."""

    @operation("POST", "/v2/email-accounts/:id/setup-link")
    def create_setup_link(
        self,
        id: p.Id,
        *,
        user_id: p.UserId | None = None,
        expires_in: p.ExpiresIn | None = None,
        idempotency_key: p.IdempotencyKey | None = None,
    ) -> Request[shapes.SetupLink]:
        """Makes a link with which the owner of an account sets the password, once. It ends an
        earlier link."""
        body = given(user_id=user_id, expires_in=expires_in)
        return Request(answers.setup_link, path={"id": id}, body=body, idempotency_key=idempotency_key)

    @operation("POST", "/setup/look")
    def look_setup_link(self, *, token: p.SetupToken) -> Request[shapes.SetupLook]:
        """Shows the address of a setup link, and until when the link works. Needs no key."""
        return Request(answers.setup_look, body=given(token=token))

    @operation("POST", "/setup/accept")
    def accept_setup_link(self, *, token: p.SetupToken, password: p.Password) -> Request[shapes.SetupDone]:
        """Sets the password that the owner chose, and uses the link up. Needs no key."""
        return Request(answers.setup_done, body=given(token=token, password=password))
