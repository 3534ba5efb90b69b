"""Webhooks, the events of their organization, and a worker's part that sends: what the tests of
deliveries act on."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from postroom import events
from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.db import Database, Tx
from postroom.domains import dkim
from postroom.domains.commands import Domain
from postroom.domains.resolver import Resolver
from postroom.service import bootstrap
from postroom.service.webhooks import Webhooks
from postroom.tenants import organizations
from postroom.webhooks import webhooks
from postroom.webhooks.sender import Sender
from postroom.webhooks.webhooks import CreateWebhook
from tests.harness.dns_server import DnsServer
from tests.harness.server import KEY

DKIM = dkim.generate()
_numbers = count(1)


@dataclass
class Hook:
    id: int
    secret: str
    actor: Actor
    url: str


@dataclass
class World:
    database: Database
    dns: DnsServer
    engine: str
    allows_private: bool = True
    workers: dict[str, Webhooks] = field(default_factory=dict)

    def do(self, work: Callable[[Tx], Any]) -> Any:
        return self.database.write_sync(work)

    def rows(self, sql: str, **params: Any) -> list[Any]:
        return self.database.write_sync(lambda tx: tx.all(sql, **params))

    def run(self, sql: str, **params: Any) -> None:
        self.database.write_sync(lambda tx: tx.run(sql, **params))

    def actor(self, organization: str | None = None) -> Actor:
        name = organization or f"webhooks {next(_numbers)}"
        return Actor(self.do(lambda tx: organizations.ensure(tx, name)))

    def hook(self, url: str, *patterns: str, actor: Actor | None = None, user_id: str | None = None) -> Hook:
        actor = actor or self.actor()
        command = CreateWebhook(url, patterns or ("account.*",))
        made, secret = self.do(lambda tx: webhooks.create(tx, actor, user_id, command, KEY))
        return Hook(made.id, secret, actor, url)

    def known(self, id_: int) -> Hook:
        """A webhook that was made by the API."""
        ((organization, url),) = self.rows("SELECT organization_id, url FROM webhooks WHERE id = :id", id=id_)
        return Hook(id_, "", Actor(organization), url)

    def account(self, user_id: str) -> tuple[Domain, int]:
        """A domain of a new organization, and the id of an account in it."""
        number = next(_numbers)

        def work(tx: Tx) -> tuple[Domain, int]:
            domain = bootstrap.create_domain(tx, f"webhooks {number}", f"hooks{number}.example", None, "active", DKIM)
            command = CreateAccount(domain.name, "a", user_id, None, "{SSHA512}x")
            return domain, accounts.create(tx, Actor(domain.organization_id), command).id

        return self.do(work)

    def event(self, actor: Actor, type_: str = "account.created", **facts: Any) -> int:
        """Records an event and returns its id."""

        def work(tx: Tx) -> int:
            events.record(tx, actor, type_, **facts)
            return int(tx.all("SELECT MAX(id) FROM events")[0][0])

        found: int = self.do(work)
        return found

    def sender(self) -> Sender:
        return Sender(Resolver(self.dns.address), allows_private=self.allows_private)

    def worker(self) -> Webhooks:
        return Webhooks(self.database, self.sender(), KEY)

    def send(self, worker: Webhooks | None = None) -> None:
        """Sends everything that is due, as one worker."""
        used = worker or self.workers.setdefault("", self.worker())

        async def work() -> None:
            await used.look()
            await used.finish()

        self.together(work())

    def together(self, *work: Awaitable[object]) -> None:
        async def every() -> None:
            await asyncio.gather(*work)

        asyncio.run(every())

    def make_due(self, hook: Hook) -> None:
        """Lets the time pass until the next attempt."""

        def work(tx: Tx) -> None:
            pending = "webhook_id = :id AND status = 'pending'"
            tx.run(f"UPDATE webhook_deliveries SET next_at = 1 WHERE {pending}", id=hook.id)
            tx.run("UPDATE webhooks SET probe_at = NULL WHERE id = :id", id=hook.id)
            tx.run("UPDATE webhook_lanes SET due_at = 1, leased_until = 0 WHERE webhook_id = :id", id=hook.id)

        self.do(work)

    def end_pause(self, hook: Hook) -> None:
        """Lets the time pass until the endpoint is tried again, but not until a retry is due."""
        self.run("UPDATE webhooks SET probe_at = NULL WHERE id = :id", id=hook.id)
        self.run("UPDATE webhook_lanes SET due_at = 1 WHERE webhook_id = :id", id=hook.id)

    def statuses(self, hook: Hook) -> list[tuple[int, str, int]]:
        """Of each delivery its event, its status and its attempts."""
        sql = "SELECT source_id, status, attempts FROM webhook_deliveries WHERE webhook_id = :id ORDER BY source_id"
        return self.rows(sql, id=hook.id)

    def state(self, hook: Hook) -> dict[str, Any]:
        names = ("status", "disabled_reason", "failures", "failing_since", "probe_at", "last_success_at")
        (row,) = self.rows(f"SELECT {', '.join(names)} FROM webhooks WHERE id = :id", id=hook.id)
        return dict(zip(names, row, strict=True))
