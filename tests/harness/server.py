"""The API over real HTTP for the tests: one server per database, one tenant per test."""

import http.client
import itertools
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import msgspec
import uvicorn

from postroom.actor import ALL_SCOPES, Actor
from postroom.api.app import create_app
from postroom.api.connection import configure
from postroom.api.context import Measured
from postroom.api.rate_limits import Clock
from postroom.api.request_metrics import ALONE, ProcessSlot
from postroom.auth.keys import CreateKey
from postroom.auth.tokens import digest
from postroom.cluster import digest_keys
from postroom.db import Database, Tx
from postroom.domains import commands as domains
from postroom.domains.commands import Status
from postroom.instance import digest_key
from postroom.mailboxes.interface import Mailboxes, OpenSession, SignIn, Size, Usage
from postroom.mailboxes.session_revocations import MAIN_PASSWORD, Ended
from postroom.service import bootstrap
from postroom.settings import Settings
from postroom.tenants import organizations
from tests.harness.dns_server import DnsServer
from tests.harness.kept import KeptDatabase
from tests.harness.told_messages import ToldMessages
from tests.harness.told_outbox import ToldOutbox

_numbers = itertools.count(1)
KEY = "0" * 64

# The tests share a server and an address. Tests of a rate limit start their own server.
UNLIMITED = Settings(rate_limit="off")


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> str:
        """The error code of a problem."""
        assert self.headers["content-type"] == "application/problem+json"
        code: str = self.json["code"]
        return code

    def problem(self, field_: str) -> str:
        """Returns the error code for one field."""
        found = {error["field"]: error["code"] for error in self.json["errors"]}
        code: str = found[field_]
        return code


@dataclass
class Told(Mailboxes):
    """Mailboxes without a Dovecot: they return the values that the test set, or fail for the reason
    that it set."""

    problem: Exception | None = None
    asked: list[int] = field(default_factory=list)
    size: Usage = field(default_factory=lambda: Usage(0, 0))
    open: list[OpenSession] = field(default_factory=list)
    right: dict[tuple[str, str], SignIn] = field(default_factory=dict)
    """The accounts of the addresses and passwords that are right."""
    tried_from: list[str] = field(default_factory=list)
    """The addresses of the clients that tried a password, in order."""

    async def count(self, account_id: int) -> Size:
        self._ask(account_id)
        return self.size

    async def usage(self, account_id: int) -> Usage:
        self._ask(account_id)
        return self.size

    async def sessions(self, account_id: int) -> list[OpenSession]:
        self._ask(account_id)
        return self.open

    async def sign_in(self, address: str, password: str, client_address: str) -> SignIn | None:
        self.tried_from.append(client_address)
        if self.problem:
            raise self.problem
        return self.right.get((address, password))

    def _ask(self, account_id: int) -> None:
        self.asked.append(account_id)
        if self.problem:
            raise self.problem


@dataclass
class ApiServer:
    port: int
    database: Database
    ended: list[tuple[int, int]] = field(default_factory=list)
    """The sessions that the API asked to end, as (account id, generation), in order."""
    ended_credentials: list[int] = field(default_factory=list)
    """The app passwords whose sessions the API asked to end, in order."""
    ended_switches: list[Ended] = field(default_factory=list)
    """The sessions of a protocol or of the main password that the API asked to end, in order."""
    ends: bool = True
    """Whether sessions can be ended now."""
    meanwhile: Callable[[], None] = lambda: None
    """What happens while sessions are being ended."""
    reasons: dict[str, str | None] = field(default_factory=dict)
    """What the probe answers."""

    mailboxes: Told = field(default_factory=Told)
    """What is told of mailboxes."""

    messages: ToldMessages = field(default_factory=ToldMessages)
    """What is told of messages."""

    outbox: ToldOutbox = field(default_factory=ToldOutbox)
    """The way out."""

    measured: Measured = field(default_factory=Measured)
    """What the parts beside the API are found to be."""

    @classmethod
    @contextmanager
    def start(
        cls, url: str, settings: Settings = UNLIMITED, clock: Clock = time.monotonic, place: ProcessSlot = ALONE
    ) -> "Iterator[ApiServer]":
        listener = socket.create_server(("127.0.0.1", 0))
        server = cls(listener.getsockname()[1], KeptDatabase(url))
        server.outbox.database = server.database
        server.database.write_sync(lambda tx: digest_keys.claim(tx, digest_key.fingerprint(KEY)))
        app = create_app(
            server.database,
            settings,
            end_sessions=server._end_sessions,
            digest_key=KEY,
            mailboxes=server.mailboxes,
            messages=server.messages,
            outbox=server.outbox,
            probe=server._probe,
            measure=server._measure,
            instance="test",
            place=place,
            clock=clock,
        )
        running = uvicorn.Server(configure(app, loop="uvloop"))
        thread = threading.Thread(target=running.run, args=([listener],))
        thread.start()
        try:
            yield server
        finally:
            running.should_exit = True
            thread.join()
            server.database.close()

    async def _end_sessions(self, sessions: Sequence[Ended]) -> bool:
        every = [one for one in sessions if (one.credential_id, one.protocol) == (None, None)]
        self.ended += [(one.account_id, one.generation) for one in every]
        self.ended_credentials += [one.credential_id for one in sessions if one.credential_id]
        self.ended_switches += [one for one in sessions if one.protocol or one.credential_id == MAIN_PASSWORD]
        self.meanwhile()
        return self.ends

    async def _measure(self) -> Measured:
        return self.measured

    async def _probe(self) -> dict[str, str | None]:
        return self.reasons

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        **query: Any,
    ) -> Response:
        """Sends one HTTP request. `body` is sent as JSON, `raw` unchanged."""
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        sent = {"content-type": "application/json"} if data is not None else {}
        if key:
            sent["x-api-key"] = key
        sent |= headers or {}
        target = f"{path}?{urlencode(query)}" if query else path
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, target, data, sent)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
            return Response(answer.status, {k.lower(): v for k, v in answer.getheaders()}, text)
        finally:
            connection.close()

    def new_tenant(self) -> "Tenant":
        number = next(_numbers)
        organization, domain = f"organization {number}", f"d{number}.test"

        def work(tx: Tx) -> tuple[int, str]:
            bootstrap.create_domain(tx, organization, domain, None, "active")
            return organizations.ensure(tx, organization), bootstrap.create_key(
                tx, organization, CreateKey(scopes=ALL_SCOPES)
            )

        organization_id, key = self.database.write_sync(work)
        return Tenant(self, organization_id, organization, domain, key)


@contextmanager
def serve(url: str) -> Iterator[ApiServer]:
    """Starts an API without rate limits, with the test's DNS server as its resolver."""
    with (
        DnsServer.start() as dns,
        ApiServer.start(url, msgspec.structs.replace(UNLIMITED, resolver=dns.address)) as api,
    ):
        yield api


@dataclass
class Tenant:
    """An organization and its requests over HTTP."""

    api: ApiServer
    organization_id: int
    organization: str
    domain: str
    key: str

    def request(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        return self.api.request(method, path, body, **{"key": self.key, **options})

    def get(self, path: str, **options: Any) -> Response:
        return self.request("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Response:
        return self.request("POST", path, body, **options)

    def put(self, path: str, body: Any = None, **options: Any) -> Response:
        return self.request("PUT", path, body, **options)

    def create(self, local_part: str = "billing", **fields: Any) -> Response:
        """POST /v2/email-accounts/create, by default on this tenant's domain and for user_123."""
        body = {"domain": self.domain, "local_part": local_part, "user_id": "user_123", **fields}
        return self.post("/v2/email-accounts/create", {k: v for k, v in body.items() if v is not ...})

    def account(self, local_part: str = "billing", **fields: Any) -> dict[str, Any]:
        """Creates an account and returns all of its fields."""
        made = self.create(local_part, **fields)
        assert made.status == 201, made.text
        return self.full(made.json["account"]["id"])

    def full(self, id_: int) -> dict[str, Any]:
        answer = self.get(f"/v2/email-accounts/{id_}", fields="*")
        assert answer.status == 200, answer.text
        found: dict[str, Any] = answer.json["account"]
        return found

    def new_domain(self, name: str | None = None, user_id: str | None = None, status: Status = "active") -> str:
        """Creates another domain of this organization."""
        name = name or f"d{next(_numbers)}.test"
        self.api.database.write_sync(lambda tx: bootstrap.create_domain(tx, self.organization, name, user_id, status))
        return name

    def set_domain_status(self, name: str, status: Status) -> None:
        def work(tx: Tx) -> None:
            domain = domains.get(tx, Actor(self.organization_id), name, None)
            domains.set_status(tx, Actor(self.organization_id), domain, status)

        self.api.database.write_sync(work)

    def new_key(self, scopes: Sequence[str] = ALL_SCOPES, domains: Sequence[str] | None = None, **fields: Any) -> str:
        """Creates another key of this organization as the operator."""
        command = CreateKey(scopes=tuple(scopes), domains=None if domains is None else tuple(domains), **fields)
        return self.api.database.write_sync(lambda tx: bootstrap.create_key(tx, self.organization, command))

    def key_id(self, key: str) -> int:
        """Returns the id of a key."""
        sql = "SELECT id FROM api_keys WHERE digest = :digest"
        row = self.api.database.write_sync(lambda tx: tx.one(sql, digest=digest(key)))
        assert row
        return int(row[0])

    def events(self, **filters: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get("/v2/events", limit=500, **filters).json["items"]
        return found
