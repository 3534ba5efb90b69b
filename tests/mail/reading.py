"""Reading messages over HTTP in the mail tests."""

import http.client
import json
import re
from collections.abc import Mapping
from contextlib import closing
from typing import Any

from tests.mail.platform import Mailbox


def credential(secret: str) -> dict[str, str]:
    """The header of an API key or of a mail token."""
    return {"authorization": f"Bearer {secret}"} if secret.startswith("mt_") else {"x-api-key": secret}


def get(box: Mailbox, rest: str, key: str | None = None, method: str = "GET") -> tuple[int, bytes, Mapping[str, str]]:
    """Returns status, body and headers of a path below the account, or of another path."""
    path = rest if rest.startswith("/") else f"/v2/email-accounts/{box.id}/{rest}"
    port = box.platform.service.ports["port"]
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, headers=credential(key or box.platform.key))
        answer = connection.getresponse()
        return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}


def read(box: Mailbox, rest: str) -> Any:
    """Returns the JSON of a success."""
    status, body, _ = get(box, rest)
    assert status == 200, body
    return json.loads(body)


def listed(box: Mailbox, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = read(box, f"messages{query}")["items"]
    return found


def append(box: Mailbox, *messages: bytes, mailbox: str = "INBOX") -> None:
    with box.login() as imap:
        for message in messages:
            assert imap.append(mailbox, "", "", message)[0] == "OK"


def by_imap(box: Mailbox, mailbox: str = "INBOX") -> dict[int, bytes]:
    """Returns every message by UID, as IMAP gives it."""
    found: dict[int, bytes] = {}
    with box.login() as imap:
        imap.select(mailbox, readonly=True)
        _, numbers = imap.uid("SEARCH", "ALL")
        for uid in numbers[0].split():
            _, data = imap.uid("FETCH", uid.decode(), "(BODY.PEEK[])")
            found[int(uid)] = data[0][1]
    return found


def read_events(box: Mailbox) -> int:
    """The number of events that tell of reading."""
    return len(read(box, f"/v2/events?type=message.read&account_id={box.id}")["items"])


def change(box: Mailbox, method: str, rest: str, body: Any, key: str | None = None, **headers: str) -> tuple[int, Any]:
    """Sends a change below the account, or to another path. Returns the status and the answer."""
    port = box.platform.service.ports["port"]
    sent = credential(key or box.platform.key) | {"content-type": "application/json", **headers}
    path = rest if rest.startswith("/") else f"/v2/email-accounts/{box.id}/{rest}"
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, json.dumps(body), sent)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def flags_by_imap(box: Mailbox, mailbox: str = "INBOX") -> dict[int, set[str]]:
    """Returns the flags of every message by UID, as IMAP shows them."""
    with box.login() as imap:
        imap.select(mailbox, readonly=True)
        _, lines = imap.uid("FETCH", "1:*", "(FLAGS)")
    found = {}
    for line in lines:
        if matched := re.search(rb"UID (\d+).*FLAGS \(([^)]*)\)", line or b""):
            found[int(matched[1])] = set(matched[2].decode().split()) - {"\\Recent"}
        elif matched := re.search(rb"FLAGS \(([^)]*)\).*UID (\d+)", line or b""):
            found[int(matched[2])] = set(matched[1].decode().split()) - {"\\Recent"}
    return found
