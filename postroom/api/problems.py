"""Errors as RFC 9457 problem details. One table gives each code its HTTP status and title.

No answer repeats a value that was sent, and none contains a traceback, SQL, a path or a hash.
"""

import msgspec

from postroom.errors import FieldError

MEDIA_TYPE = "application/problem+json"

# code → (HTTP status, title)
PROBLEMS: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "The request is not valid"),
    "not_available": (400, "Not available yet"),
    "unauthorized": (401, "No valid key"),
    "forbidden": (403, "This key may not do that"),
    "key_too_wide": (403, "The key is wider than yours"),
    "csrf_refused": (403, "The request did not come from the console"),
    "account_not_active": (403, "The account may not sign in"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "request_timeout": (408, "The request took too long"),
    "account_disabled": (409, "The account is disabled"),
    "account_suspended": (409, "The account is suspended"),
    "address_exists": (409, "The address is taken"),
    "domain_exists": (409, "The domain is taken"),
    "domain_not_empty": (409, "The domain has accounts or aliases"),
    "domain_gone": (409, "The domain is gone"),
    "domain_not_active": (409, "The domain is not active"),
    "mail_off": (409, "This instance runs without mail"),
    "idempotency_conflict": (409, "The same request is still running"),
    "outbound_off": (409, "Mail does not leave this server"),
    "recipient_refused": (409, "A recipient is refused"),
    "message_refused": (409, "The message is refused"),
    "sending_off": (409, "The account may not send"),
    "protocol_off": (409, "The protocol is switched off"),
    "webhook_disabled": (409, "The webhook is disabled"),
    "webhook_of_route": (409, "The webhook belongs to a route"),
    "limit_reached": (409, "A limit is reached"),
    "reserved_local_part": (409, "The local part is reserved"),
    "payload_too_large": (413, "The request body is too large"),
    "unsupported_media_type": (415, "Send JSON"),
    "idempotency_key_reused": (422, "The Idempotency-Key was used for another request"),
    "too_many_requests": (429, "Too many requests"),
    "headers_too_large": (431, "The request head is too large"),
    "internal_error": (500, "Something went wrong on our side"),
    "busy": (503, "Try again shortly"),
    "mail_unavailable": (503, "Dovecot does not answer"),
    "outcome_unknown": (503, "The request may have been carried out"),
}

# The text of a 404, by what the route is about. A route has one text, so that a foreign object and
# a missing one look the same to the byte (decision 0101).
NO_ACCOUNT = (
    "No account of yours has this id, for this user_id: GET /v2/email-accounts lists yours. "
    "Send the user_id that the account was made with, or none."
)
NO_MESSAGE = (
    "No account of yours has this id, for this user_id, or it has no such mailbox, message or attachment: "
    "GET /v2/email-accounts, GET /v2/email-accounts/:id/mailboxes and GET /v2/email-accounts/:id/messages list them."
)
NO_MAIL = (
    "The token does not open its user's default account, or the account has no such mailbox, message or attachment: "
    "POST /v2/mail-tokens with account_id makes a token for another account, POST /mail/sync lists the messages."
)
NO_MAILBOX = (
    "No account of yours has this id, for this user_id, or it has no such mailbox: GET /v2/email-accounts and "
    "GET /v2/email-accounts/:id/mailboxes list them."
)
NO_CREDENTIAL = (
    "No account of yours has this id, for this user_id, or it has no such app password: GET /v2/email-accounts and "
    "GET /v2/email-accounts/:account_id/app-passwords list them."
)
NO_OWN_CREDENTIAL = "Your account has no such app password: GET /v2/me/app-passwords lists them."
NO_ALIAS = (
    "No alias of yours has this id, for this user_id: GET /v2/email-aliases lists yours. "
    "Send the user_id that the alias was made with, or none."
)
NO_WEBHOOK = (
    "No webhook of yours has this id, for this user_id: GET /v2/webhooks lists yours. "
    "Send the user_id that the webhook was made with, or none."
)
NO_DELIVERY = (
    "No webhook of yours has this id, for this user_id, or it has no such delivery: GET /v2/webhooks and GET "
    "/v2/webhooks/:id/deliveries list them."
)
NO_SOURCE_OF_EVENTS = (
    "You have no such domain or account, for this user_id, or the account is on another domain: GET "
    "/v2/domains?every_user=true and GET /v2/email-accounts list yours."
)
NO_PLACE_FOR_ALIAS = (
    "The user has no such domain, or one of account_ids is no account of the user: GET /v2/domains and "
    "GET /v2/email-accounts list them. A domain without a user belongs to every user_id."
)
NO_DOMAIN = (
    "No domain of yours has this name, for this user_id: GET /v2/domains?every_user=true lists yours, POST /v2/domain "
    "claims one. A domain without a user belongs to every user_id."
)
NO_USER = "The user_id is not that of this key, or query and body name two: send the right one once, or none."
NO_HOST = "No active domain is served at this host name."
NO_PATH = "There is no such path. GET /openapi.json lists all of them, /docs explains them."


class ProblemField(msgspec.Struct, frozen=True):
    """One field that is wrong."""

    field: str
    code: str
    message: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error answer. `error` and `hint` repeat `title` and `detail` for clients
    that know only these names."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    error: str
    hint: str
    errors: tuple[ProblemField, ...] = ()
    limit: int | None = None


_encode = msgspec.json.Encoder().encode


def encode(
    code: str, detail: str, request_id: str, fields: tuple[FieldError, ...] = (), limit: int | None = None
) -> tuple[int, bytes]:
    """The HTTP status and the body of an error; `limit` is the limit that was reached."""
    status, title = PROBLEMS[code]
    errors = tuple(ProblemField(f.field, f.code, f.message) for f in fields)
    return status, _encode(
        Problem(f"urn:postroom:error:{code}", title, status, detail, code, request_id, title, detail, errors, limit)
    )
