"""Attempts to log in, asked of Dovecot's `auth` as Postfix asks: from any address, for any
protocol, and many at once, because each failure takes Dovecot's two seconds."""

import base64
import itertools
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from tests.harness.service import Service

_clients = itertools.count(os.getpid() * 1000)


@dataclass(frozen=True)
class Guess:
    """An address and a password, from a client's address."""

    client: str
    name: str
    password: str = "a wrong password"
    service: str = "imap"


def try_all(service: Service, guesses: Iterable[Guess]) -> list[bool]:
    """Tries all guesses at once. Returns whether each was let in."""
    asked = list(guesses)
    answers: dict[int, bool] = {}
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(service.data / "run" / "dovecot" / "auth-postfix"))
        with client.makefile("rwb") as stream:
            stream.write(f"VERSION\t1\t2\nCPID\t{next(_clients)}\n".encode())
            for number, guess in enumerate(asked, 1):
                secret = base64.b64encode(f"\0{guess.name}\0{guess.password}".encode()).decode()
                facts = f"service={guess.service}\tsecured\trip={guess.client}\tlip=127.0.0.1"
                stream.write(f"AUTH\t{number}\tPLAIN\t{facts}\tresp={secret}\n".encode())
            stream.flush()
            while len(answers) < len(asked):
                kind, *said = stream.readline().decode().rstrip("\n").split("\t")
                if kind in ("OK", "FAIL"):
                    assert "temp" not in said, said
                    answers[int(said[0])] = kind == "OK"
    return [answers[number] for number in range(1, len(asked) + 1)]


def lets_in(service: Service, client: str, name: str, password: str, protocol: str = "imap") -> bool:
    return try_all(service, [Guess(client, name, password, protocol)])[0]
