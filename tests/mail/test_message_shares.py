"""Who has many accounts takes neither the downloads, nor the streams, nor the IMAP sessions of the
others: those of the same platform, and those of another one."""

import contextlib
import itertools
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from postroom.api import event_stream
from postroom.api.connection import STALL_SECONDS
from postroom.messages import open_contents
from postroom.messages.imap_sessions import MOST_SESSIONS
from tests.harness.service import Service, wait_for
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import append, change, get, listed, read
from tests.mail.test_message_sessions import begun, platform, processes, service

__all__ = ["platform", "service"]  # a service of its own, because the tests use up what its process has

MANY = 8
# The system buffers a part of each answer.
LARGE = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n" + (b"y" * 70 + b"\r\n") * 120_000


@pytest.fixture
def other(service: Service) -> Mailbox:
    """An account of another organization."""
    return Platform.new(service).create()


def token_of(box: Mailbox) -> str:
    """A mail token for all accounts of the user."""
    status, answer = change(box, "POST", "/v2/mail-tokens", {"user_id": "user_123"})
    assert status == 201, answer
    token: str = answer["token"]
    return token


def begin_all(stack: ExitStack, paths: list[tuple[Mailbox, str]], key: str | None = None) -> int:
    """Begins an answer of each account in turn, until one is refused. Returns their number."""
    for number, (box, path) in enumerate(itertools.cycle(paths)):
        answer = begun(stack, box, path, key)
        if answer.status != 200:
            assert answer.status == 429
            assert answer.getheader("retry-after")
            return number
    raise AssertionError


def raw_of(box: Mailbox) -> str:
    return f"messages/{listed(box)[0]['id']}/raw"


def test_downloads(platform: Platform, other: Mailbox) -> None:
    boxes = [platform.create(f"box{number}") for number in range(MANY)]
    for box in (*boxes, other):
        append(box, LARGE)
    paths = [(box, raw_of(box)) for box in boxes]
    (first, path), token = paths[0], token_of(boxes[0])
    for _ in range(3):  # a machine that stands still for STALL_SECONDS gives places back
        began = time.monotonic()
        with ExitStack() as stack:
            of_user, renewed = begin_all(stack, paths, token), get(first, path, token_of(first))[0]
            of_key_itself, of_key = get(first, path)[0], begin_all(stack, paths)
            of_another = get(other, raw_of(other))[0]
        if time.monotonic() - began < STALL_SECONDS:
            break
    assert (of_user, renewed) == (open_contents.MOST_OF_USER, 429)
    assert (of_key_itself, of_key) == (200, open_contents.MOST_OF_KEY - open_contents.MOST_OF_USER)
    assert of_another == 200
    wait_for("the downloads to end", lambda: get(first, path, token)[0] == 200)


def test_streams(platform: Platform, other: Mailbox) -> None:
    boxes = [platform.create(f"box{number}") for number in range(MANY)]
    token = token_of(boxes[0])
    with ExitStack() as stack:
        assert begin_all(stack, [(box, "changes") for box in boxes], token) == event_stream.MOST_OF_USER
        assert begun(stack, boxes[0], "changes").status == 200
        assert begun(stack, other, "changes").status == 200
    wait_for("the streams to end", lambda: _begins(boxes[0], token))


def _begins(box: Mailbox, token: str) -> bool:
    with ExitStack() as stack:
        return begun(stack, box, "changes", token).status == 200


def test_sessions_that_hang(platform: Platform, other: Mailbox) -> None:
    """They are all of one key, whose other requests wait; those of another key do not."""
    boxes = [platform.create(f"box{number}") for number in range(MOST_SESSIONS)]
    for box in boxes:
        read(box, "mailboxes")
    hanging = processes(platform.service)
    assert len(hanging) == MOST_SESSIONS
    for process in hanging:
        os.kill(process, signal.SIGSTOP)
    with ThreadPoolExecutor(MOST_SESSIONS) as threads:
        try:
            waiting = [threads.submit(get, box, "mailboxes") for box in boxes]
            assert [get(other, "mailboxes")[0] for _ in range(20)] == [200] * 20
        finally:
            for process in hanging:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        assert {one.result()[0] for one in waiting} <= {200, 503}
    assert get(boxes[0], "mailboxes")[0] == 200
