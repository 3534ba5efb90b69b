"""Errors as RFC 9457 problem details. One table gives each code its HTTP status and title.

No answer repeats a value that was sent, and none holds a traceback, SQL, path or hash.
"""

import msgspec

from postroom.errors import FieldError

MEDIA_TYPE = "application/problem+json"

# code → (HTTP status, title)
PROBLEMS: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "The request is not valid"),
    "not_available": (400, "Not available yet"),
    "unauthorized": (401, "No valid API key"),
    "forbidden": (403, "This key may not do that"),
    "key_too_wide": (403, "The key is wider than yours"),
    "csrf_refused": (403, "The request did not come from the console"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "request_timeout": (408, "The request took too long"),
    "account_disabled": (409, "The account is disabled"),
    "address_exists": (409, "The address is taken"),
    "domain_exists": (409, "The domain is taken"),
    "domain_not_empty": (409, "The domain has accounts"),
    "domain_gone": (409, "The domain is gone"),
    "domain_not_active": (409, "The domain is not active"),
    "mail_off": (409, "This instance runs without mail"),
    "idempotency_conflict": (409, "The same request is still running"),
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

# What a path's 404 says. One sentence a path, so that foreign and missing, whichever of the path's
# things it is, look the same to the byte.
_ACCOUNT = (
    "No account of yours has this id, for this user_id: GET /v2/email-accounts lists yours. "
    "Send the user_id that the account was made with, or none."
)
_DOMAIN = (
    "No domain of yours has this name, for this user_id: GET /v2/domains?every_user=true lists yours, POST /v2/domain "
    "claims one. A domain without a user belongs to every user_id."
)
_KEY = (
    "Your key can neither see nor make such a key: GET /v2/keys lists your keys, GET "
    "/v2/domains?every_user=true your domains."
)
_USER = "The user_id is not that of this key, or query and body name two: send the right one once, or none."
_HOST = "No active domain is served at this host name."
NO_PATH = "There is no such path. GET /openapi.json lists all of them, /docs explains them."
MISSING = {
    "/v2/email-accounts": _USER,
    "/v2/email-accounts/create": _DOMAIN,
    "/v2/email-accounts/delete": f"{_ACCOUNT} Deleted accounts are in GET /v2/email-accounts?deleted=true.",
    "/v2/email-accounts/:id": _ACCOUNT,
    "/v2/email-accounts/:id/client-settings": _ACCOUNT,
    "/v2/email-accounts/:id/client-settings.mobileconfig": _ACCOUNT,
    "/v2/email-accounts/:id/password/reset": _ACCOUNT,
    "/v2/email-accounts/:id/sessions": _ACCOUNT,
    "/v2/email-accounts/:id/sessions/end": _ACCOUNT,
    "/v2/email-accounts/:id/usage": _ACCOUNT,
    "/v2/email-accounts/:id/restore": (
        "No account of yours that can be restored has this id, for this user_id: "
        "GET /v2/email-accounts?deleted=true lists those whose mail is not erased yet."
    ),
    "/v2/domain": "The organization_id or the user_id is not this key's own: leave it out, or send the key's.",
    "/v2/domains": _USER,
    "/v2/domains/delete": _DOMAIN,
    "/v2/domains/:domain/consent": _DOMAIN,
    "/v2/domains/:domain/dkim/rotate": _DOMAIN,
    "/v2/domains/:domain/email-accounts": _DOMAIN,
    "/v2/domains/:domain/info": _DOMAIN,
    "/v2/domains/:domain/route": _DOMAIN,
    "/v2/domains/:domain/verify": _DOMAIN,
    "/v2/events": _USER,
    "/v2/keys": _KEY,
    "/v2/keys/delete": "No live key of yours has this id: GET /v2/keys lists yours.",
    "/v2/limits": _USER,
    "/v2/stats": _USER,
    "/.well-known/mta-sts.txt": _HOST,
    "/mail/config-v1.1.xml": _HOST,
    "/.well-known/autoconfig/mail/config-v1.1.xml": _HOST,
    "/autodiscover/autodiscover.xml": _HOST,
}


def missing(route: str | None) -> str:
    """What a 404 says: of a path of the table, or of no path at all."""
    return MISSING.get(route or "", NO_PATH)


class ProblemField(msgspec.Struct, frozen=True):
    """One field at fault."""

    field: str
    code: str
    message: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error answer."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str
    errors: tuple[ProblemField, ...] = ()
    limit: int | None = None


_encode = msgspec.json.Encoder().encode


def encode(
    code: str, detail: str, request_id: str, fields: tuple[FieldError, ...] = (), limit: int | None = None
) -> tuple[int, bytes]:
    """HTTP status and body of an error; `limit` is the cap that was reached."""
    status, title = PROBLEMS[code]
    errors = tuple(ProblemField(f.field, f.code, f.message) for f in fields)
    return status, _encode(
        Problem(f"urn:postroom:error:{code}", title, status, detail, code, request_id, errors, limit)
    )
