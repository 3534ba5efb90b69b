"""The mail side: logins and deliveries beside stock daemons over flat files, an account's first
login, and what ends sessions beside doveadm.

    python -m bench.mail [--quick] [--postgres]       (as root: Postfix)

The client runs on the same cores, so a ratio is nearer to 1 than the daemons alone are.
"""

import argparse
import asyncio
import base64
import dataclasses
import http.client
import itertools
import json
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from bench import stock
from bench.http_calls import LIST, deletion, each, reset
from bench.instance import Instance, start
from bench.report import Row, show, side_by_side
from postroom.accounts.passwords import generate, hash_generated
from postroom.mailplane.dovecot import doveadm
from postroom.mailplane.dovecot.doveadm import DoveadmEndpoint
from postroom.mailplane.internal_addresses import delivery_name, login_name
from tests.harness.service import wait_for
from tests.mail.clients import own_address, tls

SAYS = (
    "Stock is Dovecot and Postfix over flat files, with the same hash of the password. Clients run on the same "
    "cores, eight at a time. IMAP runs on the loopback without TLS, so that the cost of the look-up stays "
    "visible. For a message that SMTP accepts, Postfix asks our database four questions through proxymap; stock "
    "looks into its own memory and does not check the sender. With the delivery included, these questions are a "
    "small part."
)
CLIENTS = 8
MAILBOXES = 50
NAMES = [f"m{number}" for number in range(MAILBOXES)]
MESSAGE = "From: <a@elsewhere.example>\r\nTo: <{to}>\r\nSubject: hello\r\nMessage-ID: <{id}@x>\r\n\r\nHello.\r\n.\r\n"

Mailbox = tuple[str, str]


def login(port: int, user: str, password: str) -> bool:
    """One session: a login and a logout. Whether the login was let in."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client, client.makefile("rwb") as stream:
        stream.readline()
        stream.write(f'a LOGIN "{user}" "{password}"\r\nb LOGOUT\r\n'.encode())
        stream.flush()
        return any(line.startswith(b"a OK") for line in stream)


def logins(port: int, mailboxes: Sequence[Mailbox], seconds: float) -> float:
    """Logins a second."""
    end, counts = time.perf_counter() + seconds, []

    def work(place: int) -> None:
        count = 0
        while time.perf_counter() < end:
            assert login(port, *mailboxes[(place + count) % len(mailboxes)])
            count += 1
        counts.append(count)

    return together(work) and sum(counts) / seconds


def deliveries(port: int, mailboxes: Sequence[Mailbox], mail: Path, each: int) -> float:
    """Messages a second, from the first connection to the last file in a mailbox."""
    before, began = _arrived(mail), time.perf_counter()
    together(lambda place: _send(port, mailboxes, place, each, began))
    wait_for("all messages", lambda: _arrived(mail) >= before + CLIENTS * each)
    return CLIENTS * each / (time.perf_counter() - began)


def accepts(port: int, mailboxes: Sequence[Mailbox], mail: Path, each: int) -> float:
    """Messages a second that SMTP takes; whether they have arrived yet does not count."""
    before, began = _arrived(mail), time.perf_counter()
    together(lambda place: _send(port, mailboxes, place, each, began))
    spent = time.perf_counter() - began
    wait_for("all messages", lambda: _arrived(mail) >= before + CLIENTS * each)
    return CLIENTS * each / spent


def submissions(port: int, mailboxes: Sequence[tuple[str, str]], mail: Path, each: int) -> float:
    """Messages a second that submission over TLS takes from as many accounts as there are
    clients, each to itself."""
    before, began = _arrived(mail), time.perf_counter()
    together(lambda place: _submit(port, mailboxes[place], each, f"{began}.{place}"))
    spent = time.perf_counter() - began
    wait_for("all messages", lambda: _arrived(mail) >= before + CLIENTS * each)
    return CLIENTS * each / spent


def lmtp(path: Path, recipients: Sequence[str], each: int) -> float:
    """Messages a second that Dovecot delivers, without Postfix."""
    began = time.perf_counter()

    def work(place: int) -> None:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(60)
            client.connect(str(path))
            with client.makefile("rwb") as stream:
                say(stream, None, b"220")
                say(stream, "LHLO client.example", b"250")
                for number in range(each):
                    to = recipients[(place * each + number) % len(recipients)]
                    _transact(stream, to, f"{began}.{place}.{number}")

    together(work)
    return CLIENTS * each / (time.perf_counter() - began)


def _send(port: int, mailboxes: Sequence[Mailbox], place: int, each: int, run: float) -> None:
    """One client's messages."""
    source = (own_address(), 0)  # one address may send so much
    with (
        socket.create_connection(("127.0.0.1", port), 60, source) as client,
        client.makefile("rwb") as stream,
    ):
        say(stream, None, b"220")
        say(stream, "EHLO client.example", b"250")
        for number in range(each):
            to = mailboxes[(place * each + number) % len(mailboxes)][0]
            _transact(stream, to, f"{run}.{place}.{number}")


def _submit(port: int, mailbox: Mailbox, each: int, run: str) -> None:
    """One client's session: a login and its messages."""
    address, password = mailbox
    secret = base64.b64encode(f"\0{address}\0{password}".encode()).decode()
    plain = socket.create_connection(("127.0.0.1", port), 60, (own_address(), 0))
    with tls().wrap_socket(plain) as client, client.makefile("rwb") as stream:
        say(stream, None, b"220")
        say(stream, "EHLO client.example", b"250")
        say(stream, f"AUTH PLAIN {secret}", b"235")
        for number in range(each):
            text = MESSAGE.format(to=address, id=f"{run}.{number}").replace("a@elsewhere.example", address)
            say(stream, f"MAIL FROM:<{address}>", b"250")
            say(stream, f"RCPT TO:<{address}>", b"250")
            say(stream, "DATA", b"354")
            say(stream, text.removesuffix("\r\n"), b"250")


def _transact(stream: object, to: str, id_: str) -> None:
    say(stream, "MAIL FROM:<a@elsewhere.example>", b"250")
    say(stream, f"RCPT TO:<{to}>", b"250")
    say(stream, "DATA", b"354")
    say(stream, MESSAGE.format(to=to, id=id_).removesuffix("\r\n"), b"250")


def say(stream: object, line: str | None, expected: bytes) -> None:
    if line is not None:
        stream.write(line.encode() + b"\r\n")  # type: ignore[attr-defined]
        stream.flush()  # type: ignore[attr-defined]
    while (answer := stream.readline())[3:4] == b"-":  # type: ignore[attr-defined]
        continue
    assert answer.startswith(expected), answer


def _arrived(mail: Path) -> int:
    return sum(1 for _ in mail.glob("**/new/*"))


def together(work: Callable[[int], None]) -> bool:
    failed: list[BaseException] = []

    def run(place: int) -> None:
        try:
            work(place)
        except BaseException as error:  # raised below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return True


def create(instance: Instance, local_part: str) -> Mailbox:
    """An account by HTTP: address and password."""
    with closing(http.client.HTTPConnection("127.0.0.1", instance.service.ports["port"], timeout=30)) as connection:
        body = {"domain": "d0.test", "local_part": local_part, "user_id": "user_mail"}
        headers = {"x-api-key": instance.key, "content-type": "application/json"}
        connection.request("POST", "/v2/email-accounts/create", json.dumps(body), headers)
        answer = json.loads(connection.getresponse().read())
        return answer["account"]["address"], answer["password"]


def first_logins(instance: Instance, accounts: int) -> Iterator[Row]:
    """A login right after each create, tried once."""
    failed, spent = 0, []
    for number in range(accounts):
        began = time.perf_counter()
        failed += not login(instance.service.ports["imap_port"], *create(instance, f"first{number}"))
        spent.append((time.perf_counter() - began) * 1000)
    yield Row(f"first logins refused, of {accounts:,}", failed, "", 0.0, at_most=0)
    yield Row("from the request to the first login's end", statistics.median(spent), "ms", 0.0)


def revocations(instance: Instance, seconds: float) -> Iterator[Row]:
    """The rates of calls that end sessions, compared with the rate of doveadm alone, one session
    at a time."""
    kept = dataclasses.replace(instance, accounts=100)
    share, ids = 150, itertools.count(instance.first + kept.accounts)
    suspended = '{"status":"suspended"}'

    def suspend(_: int) -> float:
        return each(instance, [("PUT", f"{LIST}/{id_}", suspended) for id_ in itertools.islice(ids, share)])

    def delete(_: int) -> float:
        return each(instance, [deletion(id_) for id_ in itertools.islice(ids, share)])

    found = side_by_side(
        lambda number: instance.run(reset(kept), connections=16, seed=number).per_second,
        suspend,
        delete,
        lambda _: asyncio.run(kicks(instance, seconds)),
    )
    for name, ours in zip(("reset", "suspend", "delete"), found[:-1], strict=True):
        question = f"{name}, mail plane on"
        yield Row(question, ours.value, "/s", ours.spread, "doveadm alone", found[-1].value, 0.7)


async def kicks(instance: Instance, seconds: float, together: int = 16) -> float:
    """Revocations per second of sessions that are not there, as mostly they are not; a question to
    doveadm for each."""
    run = instance.service.data / "run"
    endpoint = DoveadmEndpoint((run / doveadm.KEY).read_text(encoding="ascii").strip(), socket=run / "dovecot" / "http")
    last, count = time.perf_counter() + seconds, 0

    async def one(place: int) -> None:
        nonlocal count
        while time.perf_counter() < last:
            id_ = instance.first + (count + place) % instance.accounts
            assert await doveadm.end(endpoint, [login_name(id_, 1)])
            count += 1

    await asyncio.gather(*(one(place) for place in range(together)))
    return count / seconds


def look_ups(
    instance: Instance, plain: stock.Stock, ours: Sequence[Mailbox], password: str, seconds: float, each: int
) -> Iterator[Row]:
    """Rates that contain questions to the database, beside the stock daemons."""
    theirs = [(f"{name}@{stock.DOMAIN}", password) for name in NAMES]
    ports, mail = instance.service.ports, instance.service.data / "mail"
    for mailbox in ours[:CLIENTS]:  # the folders of a mailbox are made at its first login
        login(ports["imap_port"], *mailbox)
    names_inside = [delivery_name(instance.first + instance.accounts + n) for n in range(MAILBOXES)]
    pairs: dict[str, tuple[Callable[[int], float], Callable[[int], float]]] = {
        "IMAP logins": (
            lambda _: logins(ports["imap_port"], ours, seconds),
            lambda _: logins(plain.imap, theirs, seconds),
        ),
        "SMTP to the mailbox": (
            lambda _: deliveries(ports["smtp_port"], ours, mail, each),
            lambda _: deliveries(plain.smtp, theirs, plain.mail, each),
        ),
        "SMTP accepts": (
            lambda _: accepts(ports["smtp_port"], ours, mail, each),
            lambda _: accepts(plain.smtp, theirs, plain.mail, each),
        ),
        "LMTP deliveries": (
            lambda _: lmtp(instance.service.data / "run" / "dovecot" / "lmtp", names_inside, each * 3),
            lambda _: lmtp(plain.folder / "run" / "lmtp", [name for name, _ in theirs], each * 3),
        ),
    }
    engine = ", PostgreSQL" if instance.database.startswith("postgresql") else ""
    for question, (of_ours, of_stock) in pairs.items():
        found, limit = side_by_side(of_ours, of_stock)
        yield Row(f"{question}{engine}", found.value, "/s", found.spread, "stock", limit.value, 0.8)


def measure(*, quick: bool = False, postgres: bool = False) -> Iterator[Row]:
    password = generate()
    seconds, each = (1.0, 10) if quick else (3.0, 60)
    with (
        start(1_000, 1, mail="on", postgres=postgres) as instance,
        stock.start(dict.fromkeys(NAMES, hash_generated(password))) as plain,
    ):
        ours = [create(instance, name) for name in NAMES]
        yield from look_ups(instance, plain, ours, password, seconds, each)
        if postgres:
            return
        port, mail = instance.service.ports["submissions_port"], instance.service.data / "mail"
        rates = [submissions(port, ours[:CLIENTS], mail, each) for _ in range(3)]
        yield Row("submission accepts, checked and signed", statistics.median(rates), "/s", 0.0)
        yield from revocations(instance, seconds)
        yield from first_logins(instance, 100 if quick else 1_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    options = parser.parse_args()
    for row in measure(quick=options.quick, postgres=options.postgres):
        print(show(row), flush=True)


if __name__ == "__main__":
    main()
