"""The IMAP processes of the API: few, ended when nobody needs them, and replaced when they die. A
message of 20 MB does not fill the API's memory."""

import http.client
import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from email.message import EmailMessage
from pathlib import Path

import pytest

from postroom.messages.imap_sessions import IDLE_SECONDS, MOST_SESSIONS
from postroom.messages.open_contents import MOST_OF_ACCOUNT
from postroom.supervision.stale_processes import read_pid
from tests.harness.service import Service, wait_for
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, credential, get, listed, read


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """A service of its own, because the tests count and end its processes."""
    with Service.new() as new:
        new.start()
        yield new
        assert new.stop() == 0


@pytest.fixture
def platform(service: Service) -> Platform:
    return Platform.new(service)


def api(service: Service) -> int:
    pid = read_pid(service.data / "run" / "api.pid")
    assert pid
    return pid


def processes(service: Service) -> list[int]:
    """The IMAP processes of the API."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended
            continue
        if int(fields[1]) == api(service) and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def private_bytes(service: Service) -> int:
    """The memory of the API that is no file."""
    text = Path(f"/proc/{api(service)}/status").read_text()
    found = re.search(r"RssAnon:\s+(\d+) kB", text)
    assert found
    return int(found[1]) * 1024


def test_it_works(platform: Platform) -> None:
    """A session is kept, and serves the next request of its account."""
    box = platform.create()
    listed(box)
    (first,) = {*processes(platform.service)}
    for _ in range(5):
        listed(box)
        read(box, "mailboxes")
    assert processes(platform.service) == [first]


def test_many_accounts_share_few_processes(platform: Platform) -> None:
    boxes = [platform.create(f"box{number}") for number in range(MOST_SESSIONS * 3)]
    for box in boxes:
        read(box, "mailboxes")
        assert len(processes(platform.service)) <= MOST_SESSIONS + 1
    with ThreadPoolExecutor(40) as threads:
        answers = [*threads.map(lambda box: wait_for("an answer", lambda: _listed(box)), boxes * 2)]
    assert answers == [200] * len(boxes) * 2
    wait_for("few processes", lambda: len(processes(platform.service)) <= MOST_SESSIONS)


def _listed(box: Mailbox) -> int:
    """The status of a list; 0 while all sessions are taken."""
    status = get(box, "messages")[0]
    assert status in (200, 503)
    return status if status == 200 else 0


@pytest.mark.long
def test_a_thousand_accounts(platform: Platform) -> None:
    with ThreadPoolExecutor(8) as threads:
        boxes = [*threads.map(lambda number: platform.create(f"box{number}"), range(1000))]
    for box in boxes:
        assert get(box, "messages")[0] == 200
        assert len(processes(platform.service)) <= MOST_SESSIONS + 1


@pytest.mark.long
def test_an_idle_process_ends(platform: Platform) -> None:
    listed(platform.create())
    assert processes(platform.service)
    wait_for("the end of the processes", lambda: not processes(platform.service), IDLE_SECONDS + 30)


def test_a_process_that_dies_is_replaced(platform: Platform) -> None:
    box = platform.create()
    append(box, b"Subject: x\r\n\r\nhi\r\n")
    before = listed(box)
    for process in processes(platform.service):
        os.kill(process, signal.SIGKILL)
    assert listed(box) == before


def test_a_process_that_hangs_holds_up_nobody_else(platform: Platform) -> None:
    box, other = platform.create(), platform.create("other")
    listed(box)
    (stopped,) = set(processes(platform.service)) - _others(platform, other, box)
    os.kill(stopped, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(get, box, "messages")
        for _ in range(50):
            assert get(other, f"/v2/email-accounts/{other.id}")[0] == 200
            assert get(other, "messages")[0] == 200
        assert not waiting.done()
        os.kill(stopped, signal.SIGKILL)
        assert waiting.result()[0] == 200


def _others(platform: Platform, other: Mailbox, box: Mailbox) -> set[int]:
    """The processes of accounts other than `box`."""
    listed(other)
    mine = f"{box.id}@acct.internal"
    return {
        pid for pid in processes(platform.service) if mine not in Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    }


def test_the_processes_end_with_the_api(platform: Platform) -> None:
    box = platform.create()
    listed(box)
    found, before = processes(platform.service), api(platform.service)
    assert found
    os.kill(before, signal.SIGKILL)
    wait_for("their end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in found))
    wait_for("a new API", lambda: platform.service.pid("api") not in (0, before) and _answers(box))
    assert get(box, "messages")[0] == 200


def _answers(box: Mailbox) -> bool:
    try:
        return get(box, f"/v2/email-accounts/{box.id}")[0] == 200
    except OSError:
        return False


def test_a_purged_account_leaves_nothing(platform: Platform) -> None:
    box = platform.create()
    append(box, b"Subject: x\r\n\r\nhi\r\n")
    (item,) = listed(box)
    assert get(box, f"messages/{item['id']}")[0] == 200
    platform.call("POST", "/v2/email-accounts/delete", {"id": box.id, "purge": True})
    wait_for("the purge", lambda: not box.home.exists())
    for process in processes(platform.service):
        os.kill(process, signal.SIGTERM)
    wait_for("the end of the processes", lambda: not processes(platform.service))
    assert not box.home.exists()
    assert platform.sql("SELECT 1 FROM message_reads WHERE account_id = :id", id=box.id) == []


def test_a_large_attachment_is_streamed(platform: Platform) -> None:
    """The API holds only pieces of a message of 28 MB, also while slow clients read."""
    box, content = platform.create(), os.urandom(20_000_000)
    made = EmailMessage()
    made["Subject"] = "large"
    made.add_attachment(content, maintype="application", subtype="octet-stream", filename="large")
    append(box, made.as_bytes(), b"Subject: smaller\r\n\r\n" + b"0123456789\r\n" * 700_000)
    smaller, item = listed(box)
    assert get(box, f"messages/{item['id']}/attachments/1")[1] == content
    before = private_bytes(platform.service)
    with ExitStack() as stack:
        # The API waits for STALL_SECONDS, so most are of a smaller message, which begins sooner.
        large = [f"messages/{item['id']}/{rest}" for rest in ("attachments/1", "raw")]
        for path in [*large, *[f"messages/{smaller['id']}/raw"] * (MOST_OF_ACCOUNT - 2)]:
            answer = begun(stack, box, path)
            assert answer.read(1_000_000)
        assert get(box, f"messages/{item['id']}")[0] == 200
        assert private_bytes(platform.service) - before < 30_000_000
        assert get(box, f"messages/{item['id']}/raw")[0] == 429
    wait_for("the downloads to end", lambda: get(box, f"messages/{item['id']}/raw")[0] == 200)
    assert get(box, f"messages/{item['id']}/attachments/1")[1] == content


def begun(stack: ExitStack, box: Mailbox, rest: str, key: str | None = None) -> http.client.HTTPResponse:
    """An answer that has begun; the system takes no more of it than the test reads."""
    connection = http.client.HTTPConnection("127.0.0.1", box.platform.service.ports["port"], timeout=60)
    stack.enter_context(closing(connection))
    connection.sock = socket.socket()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.sock.settimeout(60)
    connection.sock.connect((connection.host, connection.port))
    headers = credential(key or box.platform.key)
    connection.request("GET", f"/v2/email-accounts/{box.id}/{rest}", headers=headers)
    return connection.getresponse()


def test_a_message_of_ten_thousand_parts_breaks_no_list(platform: Platform) -> None:
    """Its structure is a line that nobody should read; the others of the page have theirs."""
    box = platform.create()
    part = b"--b\r\nContent-Type: application/x; name=" + b"n" * 60 + b"\r\n\r\nx\r\n"
    bomb = b"Subject: bomb\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" + part * 10_000 + b"--b--\r\n"
    plain = b"Subject: plain\r\n\r\nhi\r\n"
    append(box, plain, bomb, plain, bomb, plain)
    assert [one["has_attachments"] for one in listed(box)] == [False, True, False, True, False]
    shown = read(box, f"messages/{listed(box)[1]['id']}")["message"]
    assert len(shown["attachments"]) == 1000
    assert "1000 parts" in shown["parse_error"]
