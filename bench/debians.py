"""The look-ups of the mail daemons on Debian 13 beside Debian 12: of a login, of a delivery and of
a recipient, alone and with the session around them. Two instances are alive and take turns.

    python -m bench.debians [--quick]       (as root, on Debian 12)

scripts/on-debian13 makes the Debian 13.
"""

import argparse
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench import auth_lookups, mail
from bench.instance import Instance, start
from bench.report import Row, show, side_by_side
from postroom.mailplane.internal_addresses import delivery_name
from tests.harness.debian13 import Debian13
from tests.mail.clients import own_address

ACCOUNTS = 1_000
# As fast, within what differs between two equal instances.
AT_LEAST = 0.9


def recipients(port: int, mailboxes: Sequence[mail.Mailbox], each: int) -> float:
    """Recipients a second that SMTP takes, without a message."""
    began = time.perf_counter()

    def work(place: int) -> None:
        with (
            socket.create_connection(("127.0.0.1", port), 60, (own_address(), 0)) as client,
            client.makefile("rwb") as stream,
        ):
            mail.say(stream, None, b"220")
            mail.say(stream, "EHLO client.example", b"250")
            mail.say(stream, "MAIL FROM:<a@elsewhere.example>", b"250")
            for number in range(each):
                mail.say(stream, f"RCPT TO:<{mailboxes[(place * each + number) % len(mailboxes)][0]}>", b"250")

    mail.together(work)
    return mail.CLIENTS * each / (time.perf_counter() - began)


def measure(*, quick: bool = False) -> Iterator[Row]:
    with Debian13.start() as debian13:
        for postgres in (False, True):
            with ExitStack() as stack:
                old, new = (
                    stack.enter_context(start(ACCOUNTS, 1, postgres=postgres, mail="on", debian13=place))
                    for place in (None, debian13)
                )
                yield from _compare(old, new, "PostgreSQL" if postgres else "SQLite", quick)


def _compare(old: Instance, new: Instance, engine: str, quick: bool) -> Iterator[Row]:
    seconds, each = (1.0, 20) if quick else (5.0, 200)
    boxes = {one.service.data: [mail.create(one, f"m{n}") for n in range(mail.MAILBOXES)] for one in (old, new)}

    def logins(one: Instance) -> float:
        return mail.logins(one.service.ports["imap_port"], boxes[one.service.data], seconds)

    def names(one: Instance) -> list[str]:
        return [delivery_name(one.first + one.accounts + number) for number in range(mail.MAILBOXES)]

    def deliveries(one: Instance) -> float:
        return mail.lmtp(one.service.data / "run" / "dovecot" / "lmtp", names(one), each)

    def rcpt(one: Instance) -> float:
        return recipients(one.service.ports["smtp_port"], boxes[one.service.data], each)

    def authentications(one: Instance) -> float:
        return auth_lookups.logins(
            one.service.data / "run" / "dovecot" / "auth-postfix", boxes[one.service.data], seconds
        )

    def accounts(one: Instance) -> float:
        return auth_lookups.accounts(one.service.data / "run" / "dovecot" / "auth-userdb", names(one), seconds)

    for question, run in (
        ("look-ups of logins", authentications),
        ("look-ups of deliveries", accounts),
        ("IMAP logins", logins),
        ("LMTP deliveries", deliveries),
        ("SMTP recipients", rcpt),
    ):
        for one in (old, new):
            run(one)  # processes and folders are made
        twelve, thirteen = side_by_side(lambda _: run(old), lambda _: run(new))  # noqa: B023
        title = f"{question} on 13, {engine}"
        yield Row(title, thirteen.value, "/s", thirteen.spread, "on 12", twelve.value, AT_LEAST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    for row in measure(quick=parser.parse_args().quick):
        print(show(row), flush=True)


if __name__ == "__main__":
    main()
