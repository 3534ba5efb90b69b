"""A client of the API that works while a fault happens."""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode


class Client:
    """A client with one connection, which is opened again if it is lost."""

    def __init__(self, port: int, key: str, **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"x-api-key": key, "content-type": "application/json", **headers}

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}
    ) -> tuple[int, Any, Any] | None:
        """Returns status, headers and body; None if no answer arrived."""
        try:
            content = None if body is None else json.dumps(body)
            self._connection.request(method, path, content, {**self._headers, **headers})
            answer = self._connection.getresponse()
            return answer.status, answer.headers, json.loads(answer.read())
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None

    def get(self, path: str, **query: Any) -> Any:
        """Returns an answer whose status must be 200."""
        answer = self.call("GET", f"{path}?{urlencode(query)}" if query else path)
        assert answer, path
        assert answer[0] == 200, answer
        return answer[2]

    def close(self) -> None:
        self._connection.close()
