"""Deliveries to webhooks: how many a second one worker sends to an endpoint on this machine, and
how long it takes from the commit of an event to its POST, alone and beside dead endpoints. With
`--mail`, the same for messages, from SMTP to the POST, with a whole service and its daemons.

python -m bench.webhooks [--postgresql] [--dead 1000] [--events 2000]
python -m bench.webhooks --mail 10000 [--postgresql]

The database is new, the endpoint answers at once, and the worker has its real pauses. Of the dead
endpoints half hang and half answer 500, and an event waits for each of them. `--mail` is the number
of recipients: messages to 50 mailboxes each, and then 100 messages to one, two a second.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from postroom import events
from postroom.actor import Actor
from postroom.cluster import digest_keys
from postroom.db import Database, Tx, migrate, open_database
from postroom.domains.resolver import Resolver
from postroom.instance import digest_key
from postroom.service.webhooks import Webhooks
from postroom.tenants import organizations
from postroom.webhooks import webhooks
from postroom.webhooks.sender import Sender
from postroom.webhooks.webhooks import CreateWebhook
from tests.harness.postgres import PostgresServer
from tests.harness.service import Service
from tests.mail.clients import deliver, smtp
from tests.mail.platform import Platform
from tests.webhooks.endpoint import Endpoint as Receiver

RECIPIENTS = 50
KEY = "0" * 64
OK = b"HTTP/1.1 204 Fine\r\n\r\n"
FAILED = b"HTTP/1.1 500 Failed\r\nContent-Length: 0\r\n\r\n"


class Endpoint:
    """Answers in the loop of the worker: it costs little beside sending."""

    def __init__(self) -> None:
        self.arrived: dict[int, float] = {}
        self.dead = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().lower().split("\r\n")
                length = next(int(line[15:]) for line in lines if line.startswith("content-length:"))
                await reader.readexactly(length)
                path = lines[0].split(" ")[1]
                if path == "/alive":
                    found = next(line for line in lines if line.startswith("webhook-id:"))
                    self.arrived.setdefault(int(found.partition("evt_")[2]), time.time())
                else:
                    self.dead += 1
                if path == "/hang":
                    await reader.read(1)  # until the worker gives up
                    return
                writer.write(OK if path == "/alive" else FAILED)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()


def hooks(database: Database, actor: Actor, urls: list[str], pattern: str) -> None:
    def work(tx: Tx) -> None:
        for url in urls:
            webhooks.create(tx, actor, None, CreateWebhook(url, (pattern,)), KEY)

    database.write_sync(work)


def record(tx: Tx, actor: Actor, type_: str = "account.created") -> int:
    events.record(tx, actor, type_, data={"address": "billing@customer.com"})
    row = tx.one("SELECT MAX(id) FROM events")
    return int(row[0]) if row else 0


async def burst(database: Database, actor: Actor, endpoint: Endpoint, number: int) -> float:
    """Deliveries a second of events that are all there at once."""
    endpoint.arrived.clear()
    await database.write(lambda tx: [record(tx, actor) for _ in range(number)])
    started = time.time()
    while len(endpoint.arrived) < number:
        await asyncio.sleep(0.02)
    return number / (max(endpoint.arrived.values()) - started)


async def stream(database: Database, actor: Actor, endpoint: Endpoint, number: int, pause: float) -> list[float]:
    """The seconds from the commit to the POST of events that come one by one, sorted."""
    endpoint.arrived.clear()
    committed: dict[int, float] = {}
    for _ in range(number):
        id_ = await database.write(lambda tx: record(tx, actor))
        committed[id_] = time.time()
        await asyncio.sleep(pause)
    while len(endpoint.arrived) < number:
        await asyncio.sleep(0.02)
    return sorted(endpoint.arrived[id_] - at for id_, at in committed.items())


def tell(what: str, waits: list[float]) -> None:
    p99 = waits[len(waits) * 99 // 100]
    print(f"{what}: commit to POST p50 {statistics.median(waits):.2f} s, p99 {p99:.2f} s, longest {waits[-1]:.2f} s")


async def measure(database: Database, options: argparse.Namespace) -> None:
    endpoint = Endpoint()
    server = await asyncio.start_server(endpoint.serve, "127.0.0.1", 0, backlog=4096)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    actor = Actor(database.write_sync(lambda tx: organizations.ensure(tx, "bench")))
    hooks(database, actor, [f"{url}/alive"], "account.*")
    worker = asyncio.create_task(Webhooks(database, Sender(Resolver(), allows_private=True), KEY).run())
    await stream(database, actor, endpoint, 5, 0.1)
    print(f"one endpoint: {await burst(database, actor, endpoint, options.events):.0f} deliveries a second")
    tell("one endpoint, 20 events a second", await stream(database, actor, endpoint, 200, 0.05))
    hooks(database, actor, [f"{url}/{'hang' if n % 2 else 'fail'}" for n in range(options.dead)], "domain.*")
    await database.write(lambda tx: [record(tx, actor, "domain.lost")])
    tell(f"while {options.dead} endpoints die", await stream(database, actor, endpoint, 100, 0.2))
    await asyncio.sleep(60)
    endpoint.dead = 0
    waits = await stream(database, actor, endpoint, 100, 0.2)
    tell(f"beside {options.dead} endpoints that are dead", waits)
    print(f"attempts at dead endpoints meanwhile: {endpoint.dead}")
    worker.cancel()
    server.close()


def measure_mail(url: str, recipients: int) -> None:
    """Delivers messages to 50 mailboxes each, and then single ones."""
    settings = {"database_url": url} if url.startswith("postgresql") else {}
    with Service.new(rate_limit="off", webhook_allow="private", **settings) as service, Receiver.start() as endpoint:
        platform = Platform.new(service.start())
        boxes = [platform.create(f"r{number}", user_id="m").address for number in range(RECIPIENTS)]
        body = {"url": endpoint.url(), "events": ["message.received"]}
        platform.call("POST", "/v2/webhooks/create", body)
        started, total = time.time(), recipients // RECIPIENTS * RECIPIENTS
        for number in range(recipients // RECIPIENTS):
            with smtp(service) as client:
                client.sendmail("a@elsewhere.example", boxes, f"Subject: {number}\r\n\r\n{'x' * 4000}\r\n")
        taken = time.time()
        endpoint.wait(lambda found: len({post.id for post in found.posts}) == total, 3600)
        last = max(post.at for post in endpoint.posts)
        print(
            f"{total} recipients: taken in {taken - started:.0f} s, all POSTed {last - started:.0f} s after the first"
        )
        at = {}
        for number in range(100):
            deliver(service, "a@elsewhere.example", boxes[0], f"single {number}")
            at[f"single {number}"] = time.time()
            time.sleep(0.5)
        endpoint.wait(lambda found: len({post.id for post in found.posts}) == total + 100, 600)
        found = {post.json["data"]["subject"]: post.at for post in endpoint.posts[total:]}
        waits = sorted(found[subject] - sent for subject, sent in at.items())
        print(f"one by one: SMTP to POST p50 {statistics.median(waits):.2f} s, p99 {waits[98]:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--dead", type=int, default=1000)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--mail", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{folder / 'postroom.db'}"
        if options.postgresql:
            url = stack.enter_context(PostgresServer.start()).new_database()
        if options.mail:
            measure_mail(url, options.mail)
            return
        migrate(url)
        database = open_database(url)
        database.write_sync(lambda tx: digest_keys.claim(tx, digest_key.fingerprint(KEY)))
        webhooks.MOST = options.dead + 1
        asyncio.run(measure(database, options))
        database.close()


if __name__ == "__main__":
    main()
