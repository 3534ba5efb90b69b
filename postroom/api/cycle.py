"""One request and its answer, for uvicorn: a complete answer is sent in one write."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

# Statuses of the answer to a request whose body does not end or comes too late (decision 0132).
HOPELESS = (408, 413)


class Cycle(RequestResponseCycle):
    """One request and its answer. Head and body are sent in one write: a second write costs another
    system call, and usually another packet."""

    _head: Any = None  # the head of the answer, until the body is sent with it

    is_endless = False  # the answer has begun, and has no length
    _is_stopped = False

    def stop(self) -> None:
        """Ends an endless answer: for the application, the client is gone."""
        self._is_stopped = True
        self.message_event.set()

    async def receive(self) -> Any:
        message = None if self._is_stopped else await super().receive()
        return {"type": "http.disconnect"} if self._is_stopped else message

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start" and not self.response_started:
            # A client that waits for 100 (Continue) and gets another answer may send either its
            # body or the next request.
            if self.more_body and (self.waiting_for_100_continue or message["status"] in HOPELESS):
                self.keep_alive = False
            self._head = message
            return
        head, self._head = self._head, None
        if head is None:
            await super().send(message)
        elif not self._send_whole(head, message):
            self.is_endless = all(name != b"content-length" for name, _ in head["headers"])
            await super().send(head)
            await super().send(message)

    def _send_whole(self, head: Any, message: Any) -> bool:
        """Sends a complete answer in one write, and returns whether it did. Other answers are left
        to uvicorn: a file in pieces, an answer without its length, a client that reads slowly, and
        a header with a line break in it, which uvicorn refuses."""
        sent = [*self.default_headers, *head["headers"]]
        lines = b"".join([b"%b: %b\r\n" % header for header in sent])
        is_plain = lines.count(b"\n") == lines.count(b"\r") == len(sent) and b"content-length: " in lines
        if not is_plain or self.disconnected or self.flow.write_paused or message.get("more_body"):
            return False
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self.response_started = self.response_complete = True
        self.transport.write(b"".join((STATUS_LINE[head["status"]], lines, end, message["body"])))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()
        return True
