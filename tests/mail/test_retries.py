"""Idempotency-Key against `kill -9`: a create is interrupted before, during and after its commit
and sent again. Afterwards there is one account, whose password opens the mailbox."""

import http.client
import json
import os
import re
import signal
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest

from tests.harness.service import Service, is_alive, wait_for
from tests.mail.clients import imap_login
from tests.mail.platform import Platform

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Postfix needs root")

TRACED = re.compile(r"^TracerPid:\s+[1-9]", re.M)
# System calls at which a create is interrupted: writes to the database, syncs to disk, and the
# write of the answer.
WRITE, SYNC, ANSWER = "pwrite64", "fsync,fdatasync", "write"
STEP = 6  # fewer than the writes of a transaction that changes a row


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Service.new(workers="2") as service:
        service.start()
        yield Platform.new(service)


def create(platform: Platform, local_part: str, once: str) -> tuple[int, bytes, bool] | None:
    """Returns status, body and whether the answer is a replay; None if there was no answer."""
    body = json.dumps({"domain": platform.domain, "local_part": local_part, "user_id": "u"})
    headers = {"x-api-key": platform.key, "content-type": "application/json", "Idempotency-Key": once}
    address = ("127.0.0.1", platform.service.ports["port"])
    with closing(http.client.HTTPConnection(*address, timeout=60)) as connection:
        try:
            connection.request("POST", "/v2/email-accounts/create", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("idempotent-replayed") == "true"
        except (OSError, http.client.HTTPException):
            return None


def test_any_worker_answers_again(platform: Platform) -> None:
    once = str(uuid4())
    answers = [create(platform, "billing", once) for _ in range(20)]
    assert {(answer[0], answer[1]) for answer in answers if answer} == {(201, answers[0][1])}  # type: ignore[index]
    assert [answer and answer[2] for answer in answers] == [False] + [True] * 19


def test_a_create_survives_being_cut(platform: Platform) -> None:
    """The process dies at a later and later system call of the create, until a create is answered.
    The repeated request creates the account or, if the first request was committed, gets its stored
    answer."""
    for calls, committed in {WRITE: False, SYNC: False, ANSWER: True}.items():
        tries = (survives(platform, f"{calls.partition(',')[0]}{n}", calls, 1) for n in range(5))
        assert committed in tries, calls  # the process also makes such calls without a create, and may die earlier
    number = 1 + STEP
    while survives(platform, f"b{number}", WRITE, number) is not None:
        number += STEP
    assert number > 1 + STEP


def survives(platform: Platform, local_part: str, calls: str, number: int) -> bool | None:
    """Interrupts a create and sends it again. Returns whether the interruption came after the
    commit, or None if the create was answered first."""
    once, address = str(uuid4()), f"{local_part}@{platform.domain}"
    with killed_at(platform.service, calls, number):
        first = create(platform, local_part, once)
    was_there = is_in_database(platform.service, address)
    again = wait_for("an answer", lambda: create(platform, local_part, once))
    assert again
    assert (again[0], again[2]) == (201, was_there), again
    check(platform, address, again)
    return was_there if first is None else None


def is_in_database(service: Service, address: str) -> bool:
    with closing(sqlite3.connect(f"file:{service.data}/db/postroom.db?mode=ro", uri=True)) as database:
        return database.execute("SELECT 1 FROM accounts WHERE address = ?", (address,)).fetchone() is not None


def test_a_create_survives_a_kill_after_its_answer(platform: Platform) -> None:
    for number in range(2):
        once, local_part = str(uuid4()), f"a{number}"
        first = create(platform, local_part, once)
        kill_apis(platform.service)
        again = wait_for("an answer", lambda o=once, p=local_part: create(platform, p, o))  # type: ignore[misc]
        assert first
        assert again == (201, first[1], True)
        check(platform, f"{local_part}@{platform.domain}", again)


def check(platform: Platform, address: str, answer: tuple[int, bytes, bool]) -> None:
    """Checks that there is one account of this address, and that the password in the answer opens
    it."""
    made = json.loads(answer[1])
    imap_login(platform.service, made["account"]["address"], made["password"]).logout()
    status, page = platform.try_call("GET", f"/v2/email-accounts?q={address}", None)
    assert (status, [item["address"] for item in page["items"]]) == (200, [address])


@contextmanager
def killed_at(service: Service, calls: str, number: int) -> Iterator[None]:
    """In this block strace kills the API process that first makes the call with this number."""
    names = ("api", "api-2")
    wait_for("both processes", lambda: all(is_alive(service.pid(name)) for name in names) and service.ready())
    pids = [service.pid(name) for name in names]
    inject = ["-e", f"trace={calls}", "-e", f"inject={calls}:signal=KILL:when={number}"]
    attach = [argument for pid in pids for argument in ("-p", str(pid))]
    with tempfile.TemporaryFile("w+") as said:
        strace = subprocess.Popen(["strace", "-f", *inject, *attach], stderr=said, text=True)

        def is_attached() -> bool:
            said.seek(0)
            assert strace.poll() is None, said.read()
            return all(TRACED.search(Path(f"/proc/{pid}/status").read_text()) for pid in pids)

        wait_for("strace", is_attached)
        try:
            yield
        finally:
            strace.kill()  # the kernel releases the traced processes; strace itself may wait for dead ones
            strace.wait()


def kill_apis(service: Service) -> None:
    for name in ("api", "api-2"):
        with suppress(ProcessLookupError):
            if pid := service.pid(name):
                os.kill(pid, signal.SIGKILL)
