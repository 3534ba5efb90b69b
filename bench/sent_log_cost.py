"""What reading Postfix's log costs the worker: CPU time for each message, and how large the rows
are (docs/outbound.md).

    python -m bench.sent_log_cost [--quick] [--postgres]

The log has the lines that Postfix writes for a message: eight with one recipient. They come in
portions of 50 messages, as in a second of a busy server. The database's own CPU time is not counted
on PostgreSQL, which is another process.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from bench.report import Row, median, show
from postroom.accounts import commands as accounts
from postroom.accounts.commands import CreateAccount
from postroom.actor import Actor
from postroom.db import Database, Tx, migrate, open_database
from postroom.mailplane.postfix.deliveries import DIGITS, DeliveryLog
from postroom.service import bootstrap
from postroom.service.sent_log import SentLog
from postroom.tenants import organizations
from tests.harness.postgres import PostgresServer

PORTION = 50
SUBMITTED = """\
{at}submissions/smtpd[1]: connect from unknown[192.0.2.7]
{at}submissions/smtpd[1]: {id}: client=unknown[192.0.2.7], sasl_method=PLAIN, sasl_username=1@1.acct.internal
{at}cleanup[2]: {id}: message-id=<{id}.{n}@client.example>
{at}qmgr[3]: {id}: from=<alice@p1.test>, size=2630, nrcpt=1 (queue active)
{at}submissions/smtpd[1]: disconnect from unknown[192.0.2.7] ehlo=1 auth=1 mail=1 rcpt=1 data=1 quit=1 commands=6
{at}smtp[4]: Untrusted TLS connection established to mx.far.example[192.0.2.9]:25: TLSv1.3 with cipher X (256/256 bits)
{at}smtp[4]: {id}: to=<r{n}@far.example>, relay=mx.far.example[192.0.2.9]:25, delay=0.15, delays=0.05/0.04/0.03/0.02, \
dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 4jd31V4dnyzK3Wq)
{at}qmgr[3]: {id}: removed
"""
FROM_OUTSIDE = SUBMITTED.replace("submissions/smtpd", "smtpd").replace(
    ", sasl_method=PLAIN, sasl_username=1@1.acct.internal", ""
)
AT = "Nov 29 23:16:14 mail postfix/"


def queue_id(number: int) -> str:
    """A long queue id of this moment."""

    def digits(value: int, width: int) -> str:
        text = ""
        while value or len(text) < width:
            value, digit = divmod(value, len(DIGITS))
            text = "".join(DIGITS)[digit] + text
        return text

    return f"{digits(int(time.time()), 6)}{digits(number % 10**6, 4)}zK3{number % 10}"


def lines(template: str, start: int, number: int) -> str:
    return "".join(template.format(at=AT, id=queue_id(start + n), n=start + n) for n in range(number))


async def spend(log: SentLog) -> float:
    """The CPU seconds of one call, with those of the database's threads."""
    began = time.process_time()
    await log()
    return time.process_time() - began


def prepared(url: str) -> Database:
    migrate(url)
    database = open_database(url)

    def fill(tx: Tx) -> None:
        bootstrap.create_domain(tx, "x.test", "x.test", None, "active")
        actor = Actor(organizations.ensure(tx, "x.test"))
        accounts.create(tx, actor, CreateAccount("x.test", "a", "u", None, "{SSHA512}x"))

    database.write_sync(fill)
    return database


def rows(url: str, folder: Path, messages: int) -> Iterator[Row]:
    database, path = prepared(url), folder / "postfix.log"
    log = SentLog(database, DeliveryLog(path))
    number = 0
    for name, template in (("a submitted message", SUBMITTED), ("a message from outside", FROM_OUTSIDE)):
        spent = []
        for _ in range(messages // PORTION):
            with path.open("a") as file:
                file.write(lines(template, number, PORTION))
            number += PORTION
            spent.append(asyncio.run(spend(log)) / PORTION * 1e6)
        found = median(spent)
        yield Row(f"CPU of the worker for {name}", found.value, "µs", found.spread)
    (kept,) = database.write_sync(lambda tx: tx.one("SELECT COUNT(*) FROM sent_recipients")) or (0,)
    assert kept == messages // PORTION * PORTION
    again = asyncio.run(spend(SentLog(database, DeliveryLog(path))))
    yield Row(f"CPU of a start that reads {path.stat().st_size / 1e6:.0f} MB again", again, "s", 0.0)
    if url.startswith("sqlite"):
        size = database.write_sync(lambda tx: tx.one(SIZE)) or (0,)
        yield Row("database for each recipient, with indexes", size[0] / kept, "B", 0.0)
    database.close()


SIZE = "SELECT SUM(pgsize) FROM dbstat WHERE name LIKE 'sent_%'"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    messages = 1_000 if options.quick else 20_000
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        url = f"sqlite:///{folder}/postroom.db"
        if options.postgres:
            url = stack.enter_context(PostgresServer.start()).new_database()
        for row in rows(url, Path(folder), messages):
            print(show(row))


if __name__ == "__main__":
    main()
