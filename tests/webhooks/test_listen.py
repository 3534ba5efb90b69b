"""`postroom webhooks listen`: what a developer sees."""

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from standardwebhooks import Webhook as Signer

from postroom.webhooks import secrets
from tests.harness.service import COMMAND

SECRET = secrets.make()
BODY = b'{"type":"account.created","timestamp":"2026-01-31T12:00:00.000Z","data":{"id":1}}'


@contextmanager
def listening(*options: str) -> "Iterator[tuple[int, subprocess.Popen[str]]]":
    command = [str(COMMAND), "webhooks", "listen", "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        try:
            yield int(line.rpartition("127.0.0.1:")[2].partition("/")[0]), process
        finally:
            process.terminate()


def headers(secret: str = SECRET, seconds: float = 0, body: bytes = BODY) -> dict[str, str]:
    """As the published library signs."""
    at = datetime.fromtimestamp(time.time() + seconds, UTC)
    signature = Signer(secret).sign("evt_1", at, body.decode())
    return {"webhook-id": "evt_1", "webhook-timestamp": str(int(at.timestamp())), "webhook-signature": signature}


def post(port: int, sent: dict[str, str], body: bytes = BODY) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("POST", "/", body, sent)
    status = connection.getresponse().status
    connection.close()
    return status


def test_it_works(tmp_path: Path) -> None:
    """It answers 2xx to what the secret signed, prints it, and refuses everything else."""
    (tmp_path / "secret").write_text(SECRET + "\n")
    with listening("--secret-file", str(tmp_path / "secret")) as (port, process):
        assert post(port, headers()) == 204
        assert process.stdout
        assert json.loads(process.stdout.readline()) == {"id": "evt_1"} | json.loads(BODY)
        assert post(port, headers(secrets.make())) == 401
        assert post(port, headers(seconds=-400)) == 401
        assert post(port, headers(), BODY + b" ") == 401
        assert post(port, {}) == 401
        both = headers()
        both["webhook-signature"] = f"v1,AAAA {both['webhook-signature']}"
        assert post(port, both) == 204


def test_mail() -> None:
    """A message is larger than any event."""
    mail = json.dumps({"type": "message.received", "data": {"text": "x" * 2_000_000}}).encode()
    with listening("--secret", SECRET) as (port, process), ThreadPoolExecutor() as pool:
        answer = pool.submit(post, port, headers(body=mail), mail)
        assert process.stdout
        assert json.loads(process.stdout.readline())["data"] == {"text": "x" * 2_000_000}
        assert answer.result() == 204


def test_it_answers_as_asked() -> None:
    with listening("--secret", SECRET, "--answer", "503") as (port, _):
        assert post(port, headers()) == 503


@pytest.mark.parametrize("options", [(), ("--secret", "whsec_!"), ("--secret-file", "/nowhere")])
def test_it_refuses(options: tuple[str, ...]) -> None:
    command = [str(COMMAND), "webhooks", "listen", "--port", "0", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("postroom: ")
