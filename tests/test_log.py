"""The lines of the log: their shape, their level, and what never gets into them."""

import json
from datetime import datetime

import pytest

from postroom.accounts import mail_tokens
from postroom.auth.tokens import new_token
from postroom.log import LEVELS, Log
from postroom.webhooks import secrets

KEY = "pr_" + "a" * 43


def read(capture: pytest.CaptureFixture[bytes]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capture.readouterr().out.splitlines()]


def test_a_line_has_its_facts_then_event_level_and_time(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Log().info("request", method="GET", status=200, key_id=None)
    (line,) = read(capfdbinary)
    assert list(line) == ["method", "status", "key_id", "event", "level", "timestamp"]
    assert {**line, "timestamp": None} == {
        **{"method": "GET", "status": 200, "key_id": None},
        **{"event": "request", "level": "info", "timestamp": None},
    }
    assert str(line["timestamp"]).endswith("Z")
    assert datetime.fromisoformat(str(line["timestamp"])).tzinfo


@pytest.mark.parametrize("level", LEVELS)
def test_lines_below_the_level_are_not_written(level: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = Log()
    log.configure(level)
    for write in (log.debug, log.info, log.warning, log.error):
        write("told")
    told = [line["level"] for line in read(capfdbinary)]
    assert told == list(LEVELS[LEVELS.index(level) :]) == [one for one in LEVELS if log.has(one)]


def test_an_exception_is_a_traceback_in_the_line(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    try:
        raise ValueError(f"the key {KEY}")
    except ValueError as error:
        Log().error("request failed", request_id="r", exc_info=error)
    (line,) = read(capfdbinary)
    assert list(line) == ["request_id", "event", "level", "timestamp", "exception"]
    told = str(line["exception"]).splitlines()
    assert told[0] == "Traceback (most recent call last):"
    assert told[-1] == "ValueError: the key [redacted]"


@pytest.mark.parametrize(
    "name", ["new_Password", "client_secret", "api_key", "authorization", "csrf_token", "private_key"]
)
def test_a_fact_with_a_secret_name_is_redacted(name: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Log().info("told", **{name: "hunter2"})
    (line,) = read(capfdbinary)
    assert line[name] == "[redacted]"


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        mail_tokens.MARK + new_token(),
        secrets.make(),
        f"/setup#{new_token()}",
        f"#link={new_token()}",
    ],
    ids=["key", "mail token", "secret of a webhook", "setup link", "console link"],
)
def test_a_secret_is_redacted_wherever_it_stands(secret: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Log().info("told", reason=f"key={secret}&", path=secret, prefix=secret[:10])
    (line,) = read(capfdbinary)
    assert (line["reason"], line["path"]) == ("key=[redacted]&", "[redacted]")
    assert line["prefix"] == secret[:10], "the prefix of a key is public"


def test_what_json_cannot_hold_is_text(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Log().info("told", reason=OSError(28, "No space left on device"))
    (line,) = read(capfdbinary)
    assert line["reason"] == "[Errno 28] No space left on device"
