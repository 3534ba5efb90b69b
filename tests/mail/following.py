"""A client of the stream of changes in the mail tests."""

import contextlib
import http.client
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.harness.service import wait_for
from tests.mail.platform import Mailbox
from tests.mail.reading import credential


@dataclass
class Stream:
    """What a stream has said, read in a thread."""

    response: http.client.HTTPResponse
    events: list[dict[str, Any]] = field(default_factory=list)
    last_id: str = ""
    comments: int = 0
    is_over: bool = False

    def read(self) -> None:
        id_ = ""
        try:
            for line in self.response:
                text = line.decode().rstrip("\n")
                name, _, value = text.partition(": ")
                if name == "data":
                    self.events.append(json.loads(value))
                elif name == "id":
                    id_ = value
                elif text == ":":
                    self.comments += 1
                elif not text:
                    self.last_id = id_ or self.last_id
        except (OSError, http.client.HTTPException, ValueError, AttributeError):
            pass
        self.is_over = True

    def wait_for(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Waits for an event."""
        try:
            found: list[dict[str, Any]] = wait_for("the event", lambda: [one for one in self.events if wanted(one)])
        except AssertionError as error:
            error.add_note(f"It said: {self.events}, and is {'over' if self.is_over else 'open'}.")
            raise
        return found[0]

    def wait_for_end(self) -> None:
        wait_for("the end of the stream", lambda: self.is_over)


def is_of(mailbox: str, kind: str) -> Callable[[dict[str, Any]], bool]:
    return lambda event: (event["mailbox"], event["eventType"]) == (mailbox, kind)


@contextmanager
def following(
    box: Mailbox, last_id: str = "", key: str | None = None, port: int | None = None, query: str = ""
) -> Iterator[Stream]:
    """Follows an account, directly or through a proxy."""
    connection = http.client.HTTPConnection("127.0.0.1", port or box.platform.service.ports["port"], timeout=60)
    headers = credential(key or box.platform.key) | ({"Last-Event-ID": last_id} if last_id else {})
    connection.request("GET", f"/v2/email-accounts/{box.id}/changes{query}", headers=headers)
    response = connection.getresponse()
    assert response.status == 200, response.read()
    socket = connection.sock
    stream = Stream(response)
    thread = threading.Thread(target=stream.read)
    thread.start()
    try:
        yield stream
    finally:
        if socket is not None:
            with contextlib.suppress(OSError):
                socket.shutdown(2)
        thread.join()
        connection.close()
