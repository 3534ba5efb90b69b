"""What a delivery says. Its body is made from its source when it is sent, so a delivery is a small
row, and each kind of source has a function here."""

from datetime import UTC, datetime

import msgspec

from postroom.db import Row
from postroom.webhooks.received_messages import RECEIVED

# The prefix of the webhook-id of each kind of source.
PREFIXES = {"event": "evt", "message": "msg"}
# The type of a delivery on request, which has no event.
TEST = "webhook.test"


def message_id(source: str, source_id: int) -> str:
    """The webhook-id: the same at each attempt, so that a receiver can tell a repetition."""
    return f"{PREFIXES[source]}_{source_id}"


def of_event(row: Row) -> bytes:
    """The body of an event, as GET /v2/events shows it, with the name of its domain and without the
    key and the client's address. `row` is (id, type, account_id, domain_id, domain, user_id,
    request_id, data, created_at)."""
    id_, type_, account_id, domain_id, domain, user_id, request_id, data, created_at = row
    shown = {
        "id": id_,
        "type": type_,
        "account_id": account_id,
        "domain_id": domain_id,
        "domain": domain,
        "user_id": user_id,
        "request_id": request_id,
        "data": msgspec.json.decode(data),
        "created_at": _timestamp(created_at),
    }
    return _body(type_, created_at, shown)


def of_message(received_at: int, message: msgspec.Struct) -> bytes:
    """The body of a received message. `message` is the message as the API shows it."""
    return _body(RECEIVED, received_at, message)


def of_test(webhook_id: int, now: int) -> bytes:
    """The body of a delivery that somebody asked for."""
    return _body(TEST, now, {"webhook_id": webhook_id})


def _body(type_: str, at: int, data: object) -> bytes:
    return msgspec.json.encode({"type": type_, "timestamp": _timestamp(at), "data": data})


def _timestamp(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
