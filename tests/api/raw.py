"""Requests as bytes, for requests that an ordinary client cannot send."""

import json
import socket
from typing import Any

from tests.harness.server import Response, Tenant

PATH = "/v2/email-accounts"
CREATE = "/v2/email-accounts/create"


def plain(tenant: Tenant, method: str, target: bytes | str, *headers: str) -> tuple[int, bytes]:
    """Sends a request with exactly this line and these headers. Returns the status and the whole
    answer."""
    line = method.encode() + b" " + (target.encode() if isinstance(target, str) else target) + b" HTTP/1.1"
    more = ["Host: x", f"x-api-key: {tenant.key}", "Connection: close", *headers, "", ""]
    with socket.create_connection(("127.0.0.1", tenant.api.port), timeout=30) as connection:
        connection.sendall(b"\r\n".join([line, *(header.encode() for header in more)]))
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1]), answer


def create_raw(tenant: Tenant, body: bytes, content_type: str = "application/json") -> Response:
    """Sends a create with this body and this content type."""
    return tenant.post(CREATE, raw=body, headers={"content-type": content_type})


def body_for(tenant: Tenant, local_part: str, **more: Any) -> bytes:
    """The JSON of a create."""
    return json.dumps({"domain": tenant.domain, "local_part": local_part, "user_id": "u", **more}).encode()
