"""Idempotency-Key against `kill -9`: a create is cut off anywhere, sent again, and there is one account whose password
opens the mailbox."""

import http.client
import json
import os
import random
import signal
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from uuid import uuid4

import pytest

from tests.mail.clients import imap_login
from tests.mail.platform import Platform
from tests.service import Service, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Postfix needs root")

ROUNDS = 6


@pytest.fixture
def platform() -> Iterator[Platform]:
    with Service.new(workers="2") as service:
        service.start()
        yield Platform.new(service)


def create(platform: Platform, local_part: str, once: str) -> tuple[int, bytes, bool] | None:
    """Status, body and whether it is a replay; None when nothing came back."""
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


def test_a_create_survives_being_killed(platform: Platform) -> None:
    replayed = 0
    for number in range(ROUNDS):
        once, local_part = str(uuid4()), f"a{number}"
        # Half of the rounds die at any moment of the create, the others when it has just been answered.
        if number % 2:
            killer = threading.Timer(random.uniform(0, 0.01), lambda: kill_apis(platform.service))
            killer.start()
            first = create(platform, local_part, once)
            killer.join()
        else:
            first = create(platform, local_part, once)
            kill_apis(platform.service)
        again = wait_for("an answer", lambda o=once, p=local_part: create(platform, p, o))  # type: ignore[misc]
        assert again
        assert again[0] == 201, again
        replayed += again[2]
        if first is not None and first[0] == 201:
            assert (again[1], again[2]) == (first[1], True)
        made = json.loads(again[1])
        imap_login(platform.service, made["account"]["address"], made["password"]).logout()
    assert replayed >= ROUNDS // 2
    status, page = platform.try_call("GET", f"/v2/domains/{platform.domain}/email-accounts", None)
    assert status == 200
    assert [item["address"] for item in page["items"]] == [f"a{number}@{platform.domain}" for number in range(ROUNDS)]


def kill_apis(service: Service) -> None:
    for name in ("api", "api-2"):
        with suppress(ProcessLookupError):
            if pid := service.pid(name):
                os.kill(pid, signal.SIGKILL)
