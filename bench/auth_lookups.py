"""The look-ups that Dovecot's `auth` answers over its sockets, without a mail session around them:
a login (SASL PLAIN, as Postfix asks) and the account of a delivery (as LMTP asks)."""

import base64
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import mail


def _ask(stream: Any, line: str) -> bytes:
    """The kind of the answer to a request: OK, FAIL, USER, NOTFOUND."""
    stream.write(f"{line}\n".encode())
    stream.flush()
    kind: bytes = stream.readline().partition(b"\t")[0]
    return kind


def _per_second(path: Path, hello: str, last: bytes, seconds: float, question: Callable[[int], str]) -> float:
    """Answers a second. `last` begins the last line of the server's greeting."""
    end, counts = time.perf_counter() + seconds, []

    def work(place: int) -> None:
        count = 0
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(path))
            with client.makefile("rwb") as stream:
                stream.write(hello.encode())
                stream.flush()
                while not stream.readline().startswith(last):
                    pass
                while time.perf_counter() < end:
                    count += 1
                    kind = _ask(stream, question(place + count).format(id=count))
                    assert kind in (b"OK", b"USER"), kind
        counts.append(count)

    return mail.together(work) and sum(counts) / seconds


def logins(socket_of_postfix: Path, mailboxes: Sequence[mail.Mailbox], seconds: float) -> float:
    """Logins a second."""

    def question(number: int) -> str:
        name, password = mailboxes[number % len(mailboxes)]
        response = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        return f"AUTH\t{{id}}\tPLAIN\tservice=smtp\tsecured\tresp={response}"

    # CPID, the client's number, differs for each connection.
    return _per_second(
        socket_of_postfix, f"VERSION\t1\t2\nCPID\t{time.monotonic_ns() % 2**31}\n", b"DONE", seconds, question
    )


def accounts(socket_of_lmtp: Path, names: Sequence[str], seconds: float) -> float:
    """Accounts a second, by the names that deliveries have."""

    def question(number: int) -> str:
        return f"USER\t{{id}}\t{names[number % len(names)]}\tservice=lmtp"

    return _per_second(socket_of_lmtp, "VERSION\t1\t1\n", b"SPID", seconds, question)
