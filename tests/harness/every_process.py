"""Connections to each API process of an instance, chosen by the test."""

import http.client
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tests.harness.service import LONG, Service


class Caller:
    """An open connection to one API process."""

    def __init__(self, service: Service, key: str = "") -> None:
        self.key = key
        self._connection = http.client.HTTPConnection("127.0.0.1", service.ports["port"], timeout=LONG)

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, key: str | None = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Returns status, JSON and headers of an answer."""
        sent = {"content-type": "application/json"} if body is not None else {}
        if key if key is not None else self.key:
            sent["x-api-key"] = key if key is not None else self.key
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, sent | dict(headers or {}))
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None, {k.lower(): v for k, v in answer.getheaders()}

    def close(self) -> None:
        self._connection.close()


def names(service: Service) -> list[str]:
    """Returns the names of the API processes."""
    count = int(service.settings.get("workers", "1"))
    return ["api", *(f"api-{number}" for number in range(2, count + 1))]


def call_on(service: Service, name: str, key: str = "") -> Caller:
    """Returns a connection that this process has accepted. The other processes are stopped
    meanwhile."""
    caller = Caller(service, key)
    with _stopped([service.pid(other) for other in names(service) if other != name]):
        assert caller.call("GET", "/healthz")[0] == 200
    return caller


@contextmanager
def _stopped(pids: list[int]) -> Iterator[None]:
    assert all(pids)  # 0 would be this process and its group
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
