"""Client of Dovecot's auth process, over its unix socket: asks whether a password is right, as a
mail server does for a login. So the schemes, the networks and the delay of a wrong password are
those of IMAP.

The protocol is Dovecot's own (doc/auth-protocol.txt): lines of fields separated by tabs. Each
connection asks one question.
"""

import asyncio
import base64
import ipaddress
import random
import re
from dataclasses import dataclass
from pathlib import Path

from postroom.mailplane.internal_addresses import INTERNAL_DOMAIN

# The name of the protocol in Dovecot's log and metrics. No app password is for this protocol.
PROTOCOL = "me"
SOCKET = "auth-me"
# Dovecot answers a wrong password after 2 seconds.
LIMIT_SECONDS = 10.0
# The longest line of an answer, in bytes.
LONGEST_LINE = 2**16
# The login name of a main password.
MAIN_LOGIN = re.compile(rf"([1-9][0-9]{{0,17}})@([0-9]{{1,18}})\.{PROTOCOL}\.{re.escape(INTERNAL_DOMAIN)}")


class Failed(Exception):
    """Dovecot has not judged the password. The text says why."""


@dataclass(frozen=True)
class Login:
    """The account of a right main password, and its generation. `refusal` says why the account may
    not log in now; None if it may."""

    account_id: int
    generation: int
    refusal: str | None = None


async def check(sockets: Path, address: str, password: str, client_address: str) -> Login | None:
    """Returns the account whose address and main password these are, or None if they are wrong.
    `sockets` is the folder of Dovecot's sockets; `client_address` counts as the remote address.
    Raises Failed."""
    if "\0" in address + password:
        return None
    plain = f"\0{address}\0{password}".encode("utf-8", "surrogatepass")
    question = ["AUTH", "1", "PLAIN", f"service={PROTOCOL}", *_remote(client_address), "secured"]
    question.append(f"resp={base64.b64encode(plain).decode()}")  # must be the last field
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            return _judged(await _ask(sockets / SOCKET, "\t".join(question)))
    except TimeoutError:
        raise Failed("auth gave no answer in time") from None
    except (OSError, ValueError) as error:
        raise Failed(str(error)) from error


async def _ask(socket: Path, question: str) -> list[str]:
    """Sends a question and returns the fields of its answer."""
    reader, writer = await asyncio.open_unix_connection(socket, limit=LONGEST_LINE)
    try:
        # Dovecot knows a client by a number, and refuses a second client with the same one.
        number = random.randrange(1, 2**31)  # noqa: S311 - not a secret
        writer.write(f"VERSION\t1\t1\nCPID\t{number}\n{question}\n".encode())
        await writer.drain()
        while line := (await reader.readline()).decode("utf-8", "replace"):
            fields = line.rstrip("\n").split("\t")
            if fields[0] == "VERSION" and fields[1] != "1":
                raise Failed(f"auth speaks version {fields[1]}")
            if fields[0] in ("OK", "FAIL", "CONT"):
                return fields
    finally:
        writer.close()
    raise Failed("auth has closed the connection")


def _judged(fields: list[str]) -> Login | None:
    """Returns what an answer says. Raises Failed if Dovecot could not judge the password."""
    kind, values = fields[0], {name: value for name, _, value in (field.partition("=") for field in fields[2:])}
    if kind == "FAIL" and ("temp" in values or values.get("code") == "temp_fail"):
        raise Failed(values.get("reason") or "a temporary failure")
    if kind != "OK":
        return None
    name = MAIN_LOGIN.fullmatch(values.get("user", ""))
    if name is None:
        return None
    refusal = values.get("reason", "This account may not log in now.") if "nologin" in values else None
    return Login(int(name[1]), int(name[2]), refusal)


def _remote(client_address: str) -> list[str]:
    """Returns the field with the client's address, which Dovecot counts wrong passwords by."""
    try:
        parsed = ipaddress.ip_address(client_address)
    except ValueError:
        return []
    return [f"rip={getattr(parsed, 'ipv4_mapped', None) or parsed}"]
