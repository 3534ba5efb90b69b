"""Client of Dovecot's doveadm, over HTTP on its unix socket. It ends sessions and asks for the
sessions, the size and the Sieve scripts of mailboxes.

doveadm also answers 200 if a command fails. One of its failures is a success here: "nobody is
logged in" (exit code 68 of Dovecot 2.3; Dovecot 2.4 reports "0" kicked sessions).

Each login is kicked twice. Dovecot's anvil may read the first kick before it knows of a session
that the client already sees as open, but it knows of the session when it reads the second kick. A
kick is only a signal, and the session may still answer one command, so the kicks are repeated until
nobody is logged in. Each kick reads the list of all sessions, so where many logins are to end,
doveadm first says who is logged in, twice for the same reason as above. A login that is in progress
registers even later, so the worker kicks once more.
"""

import asyncio
import base64
import functools
import json
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from postroom.log import log
from postroom.mailplane.dovecot import traces
from postroom.mailplane.internal_addresses import delivery_name, every_login

LIMIT_SECONDS = 5.0
PAUSE_SECONDS = 0.002
# Number of logins up to which nobody is asked who is logged in.
FEW = 3
UNKNOWN_USER = 67
NO_SESSION = 68
KEY = "doveadm.key"
LONGEST_RESPONSE = 2**20
# Largest number of bytes of an answer, and of a piece in which it is read. The owner of a mailbox
# decides how long the fields of a message are.
MOST_BYTES, PIECE_BYTES = 2**25, 2**16
# Maximum number of Sieve scripts of an account.
MOST_SCRIPTS = 100
# The names of the login metrics in dovecot.conf, and the result that each counts.
LOGINS = {"logins": "success", "refused_logins": "failure"}


class Failed(Exception):
    """doveadm did not carry out a command. The text says why."""


class TooLarge(Failed):
    """An answer has more than MOST_BYTES."""


@dataclass(frozen=True)
class DoveadmEndpoint:
    """The endpoint of a Dovecot for commands: its unix socket, or a TLS port if the Dovecot is on
    another node."""

    key: str
    socket: Path | None = None
    address: str = ""
    port: int = 0
    host: str = ""
    bundle: Path | None = None

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.socket:
            return await asyncio.open_unix_connection(self.socket, limit=LONGEST_RESPONSE)
        tls = _tls(self.bundle, self.bundle.stat().st_mtime_ns) if self.bundle else None
        return await asyncio.open_connection(
            self.address, self.port, ssl=tls, server_hostname=self.host, limit=LONGEST_RESPONSE
        )


class Folder(NamedTuple):
    """A folder of mail. Its next message gets the UID `uidnext` or a higher one."""

    name: str
    guid: str
    uidvalidity: int
    uidnext: int


def local(run: Path) -> DoveadmEndpoint | None:
    """Returns the endpoint of this machine's Dovecot, below the `run` folder. Returns None if
    Dovecot has not started yet."""
    try:
        key = (run / KEY).read_text(encoding="ascii").strip()
    except OSError:
        return None
    return DoveadmEndpoint(key, socket=run / "dovecot" / "http")


@functools.lru_cache(2)
def _tls(bundle: Path, _changed: int) -> ssl.SSLContext:
    """Returns a TLS context that trusts the certificates in the file. `_changed` is part of the
    cache key."""
    return ssl.create_default_context(cafile=bundle)


async def end_account(endpoint: DoveadmEndpoint, account_id: int) -> bool:
    """Ends every session of an account. Logs the reason and returns False if that fails."""
    return await end(endpoint, [every_login(account_id)])


async def end(
    endpoint: DoveadmEndpoint, names: list[str], on_left: Callable[[list[str]], None] = lambda _: None
) -> bool:
    """Ends every session of these login names, and repeats that for the names that are left. Calls
    `on_left` with the remaining names each time. Logs the reason and returns False if that
    fails."""
    left = names
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            if len(left) > FEW:
                left = await _logged_in(endpoint, left)
                on_left(left)
            while left:
                answer = await ask(endpoint, [["kick", {"mask": [name]}, name] for name in left * 2])
                left = _still_there(answer, left)
                on_left(left)
                await asyncio.sleep(PAUSE_SECONDS if left else 0)
    except TimeoutError:
        return _not_ended("doveadm gave no answer in time, which is also how it refuses a key", len(left))
    except (OSError, ValueError, LookupError, TypeError, Failed) as error:
        return _not_ended(str(error), len(left))
    return True


async def _logged_in(endpoint: DoveadmEndpoint, names: list[str]) -> list[str]:
    """Returns the names that have sessions. Raises OSError, ValueError, Failed."""
    sessions: dict[str, set[str]] = {}
    # Without separateConnections, the answer of Dovecot 2.3 is malformed.
    everyone = {"mask": ["*"], "separateConnections": True}
    first, second = await ask(endpoint, [["who", everyone, "who"]] * 2)
    for kind, result, _ in (first, second):
        if kind != "doveadmResponse" or not isinstance(result, list):
            raise Failed(f"doveadm who failed: {json.dumps(result)}")
        for one in result:
            sessions.setdefault(_account(one["username"]), set()).add(one["username"])
    return [name for name in names if any(fnmatchcase(login, name) for login in sessions.get(_account(name), ()))]


def _account(login: str) -> str:
    return login.partition("@")[0]


async def logins(endpoint: DoveadmEndpoint) -> dict[tuple[str, str], int] | None:
    """Returns the number of logins by service and result (`success` or `failure`) since Dovecot's
    start. Returns None if Dovecot does not answer."""
    found: dict[tuple[str, str], int] = {}
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            answer = await ask(endpoint, [["statsDump", {"fields": "count"}, "logins"]])
        for metric in answer[0][1]:
            name, _, service = metric["metric_name"].rpartition("_")
            if name in LOGINS:
                found[service, LOGINS[name]] = int(metric["count"])
    except (TimeoutError, OSError, ValueError, LookupError, TypeError, Failed) as error:
        log.info("dovecot's statistics are not there", reason=str(error))
        return None
    return found


async def sessions(endpoint: DoveadmEndpoint, account_id: int) -> list[tuple[str, str]]:
    """Returns the open sessions of an account, each as Dovecot's name of the protocol and the
    client's address. Raises Failed."""
    answer = await _ask_one(endpoint, "who", {"mask": [every_login(account_id)], "separateConnections": True})
    return sorted((one["service"], one["ip"]) for one in answer)


async def usage(endpoint: DoveadmEndpoint, account_id: int) -> tuple[int, int] | None:
    """Returns the size of an account's mail in bytes and its number of messages. Returns None for
    an account that Dovecot does not know. Raises Failed."""
    what = {"user": delivery_name(account_id), "field": ["vsize", "messages"], "totalSum": True, "mailboxMask": ["*"]}
    answer = await _ask_one(endpoint, "mailboxStatus", what)
    return (int(answer[0]["vsize"]), int(answer[0]["messages"])) if answer is not None else None


async def folders(endpoint: DoveadmEndpoint, account_id: int) -> list[Folder]:
    """Returns the folders of an account; none for an account that Dovecot does not know. Raises
    Failed."""
    what = {"user": delivery_name(account_id), "field": ["guid", "uidvalidity", "uidnext"], "mailboxMask": ["*"]}
    answer = await _ask_one(endpoint, "mailboxStatus", what) or []
    return [Folder(one["mailbox"], one["guid"], int(one["uidvalidity"]), int(one["uidnext"])) for one in answer]


async def uids(endpoint: DoveadmEndpoint, account_id: int, folder: Folder, among: range, since: int) -> list[int]:
    """Returns the UIDs of the range whose messages arrived since a time in seconds since 1970 UTC.
    Raises Failed."""
    answer = await _ask_one(endpoint, "fetch", _messages(account_id, ["uid"], folder, among, since)) or []
    return sorted(int(one["uid"]) for one in answer)


async def received(
    endpoint: DoveadmEndpoint, account_id: int, folder: Folder, among: range, since: int
) -> dict[int, str]:
    """Returns the Received fields of these messages by UID, the topmost field first. Raises
    Failed."""
    fields = ["uid", "hdr.received"]
    answer = await _ask_one(endpoint, "fetch", _messages(account_id, fields, folder, among, since)) or []
    return {int(one["uid"]): one["hdr.received"] for one in answer}


async def find(endpoint: DoveadmEndpoint, account_id: int, trace: str, since: int) -> list[tuple[str, int]]:
    """Returns the folders and UIDs of the copies of a delivery, by its id, that arrived since a
    time in seconds since 1970 UTC. Raises Failed."""
    # Dovecot compares parts of any Received field; the id of a delivery may begin with another's.
    query = ["since", str(since), "header", "received", trace]
    what = {"user": delivery_name(account_id), "field": ["mailbox", "uid", "hdr.received"], "query": query}
    answer = await _ask_one(endpoint, "fetch", what) or []
    return [
        (one["mailbox"], int(one["uid"]))
        for one in answer
        if (found := traces.trace(one["hdr.received"])) and found.id == trace
    ]


def _messages(account_id: int, fields: list[str], folder: Folder, uids: range, since: int) -> dict[str, Any]:
    query = ["mailbox-guid", folder.guid, "uid", f"{uids.start}:{uids.stop - 1}", "since", str(since)]
    return {"user": delivery_name(account_id), "field": fields, "query": query}


async def scripts(endpoint: DoveadmEndpoint, account_id: int) -> tuple[str | None, dict[str, str]]:
    """Returns the name of an account's active Sieve script and the texts of all its scripts by
    name; None and no texts if no script is active. Raises Failed."""
    user = {"user": delivery_name(account_id)}
    listed = await _ask_one(endpoint, "sieveList", user) or []
    active = next((one["script"] for one in listed if one.get("active") == "ACTIVE"), None)
    if active is None:
        return None, {}
    names = [active, *(one["script"] for one in listed if one["script"] != active)][:MOST_SCRIPTS]
    answers = await _ask_all(endpoint, [["sieveGet", {**user, "scriptname": name}, name] for name in names])
    texts = {tag: result[0].get("sieve script", "") for kind, result, tag in answers if kind != "error" and result}
    if active not in texts:
        raise Failed("doveadm has not shown the active script")
    return active, texts


async def uids_before(endpoint: DoveadmEndpoint, account_id: int, folder: Folder, before: int) -> list[int]:
    """Returns the UIDs of the messages of a folder that arrived before a time in seconds since 1970
    UTC. Raises Failed."""
    query = ["mailbox-guid", folder.guid, "before", str(before)]
    answer = await _ask_one(endpoint, "fetch", {"user": delivery_name(account_id), "field": ["uid"], "query": query})
    return sorted(int(one["uid"]) for one in answer or [])


async def _ask_one(endpoint: DoveadmEndpoint, command: str, parameters: dict[str, Any]) -> Any:
    """Returns the result of one command; None if there is no such user. Raises Failed for every
    other failure."""
    kind, result, _ = (await _ask_all(endpoint, [[command, parameters, "asked"]]))[0]
    if kind == "error":
        if result.get("exitCode") == UNKNOWN_USER:
            return None
        raise Failed(f"doveadm {command} failed: {json.dumps(result)}")
    return result


async def _ask_all(endpoint: DoveadmEndpoint, commands: Sequence[Sequence[Any]]) -> Any:
    """Returns the results of some commands. Raises Failed if doveadm does not answer."""
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            return await ask(endpoint, commands)
    except TimeoutError:
        raise Failed("doveadm gave no answer in time, which is also how it refuses a key") from None
    except (OSError, ValueError) as error:
        raise Failed(str(error)) from error


def _not_ended(reason: str, sessions: int) -> bool:
    log.warning("sessions_not_ended", reason=reason, logins=sessions)
    return False


async def ask(endpoint: DoveadmEndpoint, commands: Sequence[Sequence[Any]]) -> Any:
    """Runs commands and returns a list of [kind, result, tag]. Raises OSError, ValueError, Failed,
    TooLarge."""
    reader, writer = await endpoint.open()
    try:
        credentials = base64.b64encode(endpoint.key.encode()).decode()
        content = json.dumps(commands).encode()
        head = (
            "POST /doveadm/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
            f"Authorization: X-Dovecot-API {credentials}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        writer.write(head.encode() + content)
        await writer.drain()
        return _decode(await _read(reader))
    finally:
        writer.close()


async def _read(reader: asyncio.StreamReader) -> bytearray:
    """Returns all that comes. Raises TooLarge, OSError."""
    data = bytearray()
    while piece := await reader.read(PIECE_BYTES):
        data += piece
        if len(data) > MOST_BYTES:
            raise TooLarge(f"doveadm answered more than {MOST_BYTES} bytes")
    return data


def _decode(data: bytearray) -> Any:
    """Returns the decoded JSON of an HTTP response. doveadm sends it with Content-Length, not in
    chunks, and then closes. Raises ValueError, Failed."""
    head, _, body = data.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode("ascii", "replace")
    if not status.startswith("HTTP/1.1 200 "):
        raise Failed(f"doveadm answered {status!r}")
    return json.loads(body)


def _still_there(answer: Any, names: list[str]) -> list[str]:
    """Returns the names whose last kick found a session. Raises Failed unless doveadm reports a
    success or "nobody is logged in" for every name."""
    found: dict[str, bool] = {}
    for kind, result, tag in answer:
        if kind == "error" and result.get("exitCode") not in (UNKNOWN_USER, NO_SESSION):
            raise Failed(f"doveadm kick failed: {json.dumps(result)}")
        found[tag] = kind != "error" and not any(one.get("count") == "0" for one in result)
    if missing := set(names) - found.keys():
        raise Failed(f"doveadm did not answer for {len(missing)} of {len(names)} logins")
    return [name for name in names if found[name]]
