"""Messages over HTTP: a list of 50, a message of 10 KB and an attachment of 20 MB of an account
with 1,000 messages; sending 1 KB and 18 MB; the memory that the API takes for them, and GET of an
account while others read and send.

python -m bench.messages        (as root)
"""

import base64
import http.client
import itertools
import json
import os
import re
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import closing
from email.message import EmailMessage
from pathlib import Path

from postroom.supervision.stale_processes import read_pid
from tests.harness.service import Service
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, listed

MESSAGES = 1000
CALLS = 300
ATTACHMENT_BYTES = 20_000_000
READERS = 4


class Caller:
    """One connection that stays open."""

    def __init__(self, box: Mailbox) -> None:
        self._box = box
        self._connection = http.client.HTTPConnection("127.0.0.1", box.platform.service.ports["port"], timeout=60)

    def get(self, rest: str) -> int:
        """Reads a whole answer. Returns its length."""
        path = f"/v2/email-accounts/{self._box.id}{rest}"
        self._connection.request("GET", path, headers={"x-api-key": self._box.platform.key})
        with closing(self._connection.getresponse()) as answer:
            assert answer.status == 200
            length = 0
            while piece := answer.read(65536):
                length += len(piece)
            return length

    def send(self, to: str, **fields: object) -> None:
        """Sends a message."""
        body = json.dumps({"to": [to], "subject": "Order", "text": "Where is it? " * 80, **fields})
        headers = {"x-api-key": self._box.platform.key, "content-type": "application/json"}
        self._connection.request("POST", f"/v2/email-accounts/{self._box.id}/messages/send", body, headers)
        with closing(self._connection.getresponse()) as answer:
            assert answer.status == 202, answer.read()
            answer.read()


def letter(number: int) -> bytes:
    made = EmailMessage()
    made["From"], made["To"], made["Subject"] = "Ann Lee <ann@example.org>", "box@demo.test", f"Message {number}"
    made.set_content("Where is the order of last week? " * 290)
    return made.as_bytes()


def times(call: Callable[[], object], number: int = CALLS) -> list[float]:
    """The milliseconds of each call, sorted."""
    found = []
    for _ in range(number):
        started = time.perf_counter()
        call()
        found.append((time.perf_counter() - started) * 1000)
    return sorted(found)


def tell(what: str, found: list[float]) -> None:
    print(f"{what}: p50 {statistics.median(found):.1f} ms, p99 {found[len(found) * 99 // 100]:.1f} ms")


def private_megabytes(service: Service) -> float:
    """The memory of the API that is no file, at its largest of now."""
    text = Path(f"/proc/{read_pid(service.data / 'run' / 'api.pid')}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", text)
    assert found
    return int(found[1]) / 1024


def beside(box: Mailbox, work: Callable[[Caller], object], call: Callable[[], object]) -> list[float]:
    """The times of `call` while READERS others repeat `work`."""
    stop = threading.Event()

    def read() -> None:
        caller = Caller(box)
        while not stop.is_set():
            work(caller)

    threads = [threading.Thread(target=read) for _ in range(READERS)]
    for thread in threads:
        thread.start()
    try:
        return times(call, 1000)
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def main() -> None:
    with Service.new(rate_limit="off") as service:
        service.start()
        platform = Platform.new(service)
        box = platform.create()
        append(box, *map(letter, range(MESSAGES)))
        large = EmailMessage()
        large["Subject"] = "large"
        large.add_attachment(os.urandom(ATTACHMENT_BYTES), maintype="application", subtype="zip", filename="a.zip")
        append(box, large.as_bytes())
        newest, *_, oldest = listed(box)
        caller, account = Caller(box), Caller(box)
        tell("get account", times(lambda: account.get(""), 1000))
        cold = [platform.create(f"c{number}") for number in range(20)]
        tell("list of an account without a session", sorted(times(lambda: Caller(cold.pop()).get("/messages"), 20)))
        tell("list of 50", times(lambda: caller.get("/messages")))
        starts = itertools.cycle(range(51, MESSAGES + 1, 50))  # more rows than a session keeps
        tell("list of 50 others each time", times(lambda: caller.get(f"/messages?before_uid={next(starts)}")))
        tell("message of 10 KB", times(lambda: caller.get(f"/messages/{oldest['id']}")))
        tell("raw message of 10 KB", times(lambda: caller.get(f"/messages/{oldest['id']}/raw")))
        tell("search of 1,000 texts", times(lambda: caller.get("/messages?q=nothing"), 20))
        other = platform.create("other")
        tell("send a message of 1 KB", times(lambda: caller.send(other.address)))
        tell("send without a copy", times(lambda: caller.send(other.address, save_sent=False)))
        text = base64.b64encode(os.urandom(ATTACHMENT_BYTES * 9 // 10)).decode()
        file = {"filename": "a.zip", "content_type": "application/zip", "content_base64": text}
        before = private_megabytes(service)
        tell("send 18 MB", times(lambda: caller.send(other.address, attachments=[file]), 10))
        print(f"memory of the API: {before:.0f} MB before these, {private_megabytes(service):.0f} MB after")
        before = private_megabytes(service)
        path = f"/messages/{newest['id']}/attachments/1"
        tell("attachment of 20 MB", times(lambda: caller.get(path), 20))
        print(f"memory of the API: {before:.0f} MB before the attachments, {private_megabytes(service):.0f} MB after")
        tell(
            f"get account beside {READERS} that list",
            beside(box, lambda one: one.get("/messages"), lambda: account.get("")),
        )
        tell(
            f"get account beside {READERS} that send 18 MB",
            beside(box, lambda one: one.send(other.address, attachments=[file]), lambda: account.get("")),
        )
        tell(
            f"get account beside {READERS} attachments", beside(box, lambda one: one.get(path), lambda: account.get(""))
        )


if __name__ == "__main__":
    main()
