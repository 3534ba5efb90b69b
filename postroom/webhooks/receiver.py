"""A receiver of deliveries for development: verifies them and prints them. It is no part of a
running instance."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from postroom.webhooks import signing

MOST_BYTES = 16_000_000


def serve(secret: str, port: int, answer: int) -> ThreadingHTTPServer:
    """Returns a server on the loopback that answers `answer` to what the secret has signed. Raises
    OSError."""

    class Receiver(_Receiver):
        pass

    Receiver.secret, Receiver.answer = secret, answer
    return ThreadingHTTPServer(("127.0.0.1", port), Receiver)


class _Receiver(BaseHTTPRequestHandler):
    secret: str
    answer: int
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > MOST_BYTES:
            self.close_connection = True
            self._say(413)
            return
        body = self.rfile.read(int(length))
        sent = {name.lower(): value for name, value in self.headers.items()}
        try:
            signing.verify(self.secret, sent, body, time.time())
            print(json.dumps({"id": sent["webhook-id"], **json.loads(body)}), flush=True)
        except (signing.BadSignature, ValueError) as refused:
            print(f"refused: {refused}", file=sys.stderr, flush=True)
            self._say(401)
            return
        self._say(self.answer)

    def _say(self, status: int) -> None:
        self.send_response(status)
        if status != 204:
            self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Prints nothing: the deliveries are the output."""
