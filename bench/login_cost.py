"""The CPU time of a login and of a delivery beside another version of Postroom: of all processes of
two instances on SQLite, which take turns.

    git worktree add ../other COMMIT && (cd ../other && ./test tests/test_architecture.py)
    python -m bench.login_cost ../other [--quick]       (as root)
"""

import argparse
import functools
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from bench import mail
from bench.load import TICK
from bench.report import Row, show, side_by_side
from postroom.mailplane.internal_addresses import delivery_name
from tests.harness.service import COMMAND, Service, wait_for

ACCOUNTS = 20
ROUNDS = 9
# A login may cost a tenth more than before app passwords, commit 3cae800^.
AT_MOST = 1.1


@dataclass(frozen=True)
class Instance:
    """A running service, the passwords of its accounts by address, and the accounts' ids."""

    service: Service
    mailboxes: list[mail.Mailbox]
    ids: list[int]

    @classmethod
    def start(cls, service: Service, program: Path) -> "Instance":
        service.program = (program,)
        wait_for("readiness", service.start().ready)
        made = [_create(service, f"m{number}") for number in range(ACCOUNTS)]
        return cls(service, [mailbox for _, mailbox in made], [number for number, _ in made])

    def login(self, each: int) -> None:
        port = self.service.ports["imap_port"]

        def work(place: int) -> None:
            for number in range(each):
                assert mail.login(port, *self.mailboxes[(place + number) % ACCOUNTS])

        mail.together(work)

    def deliver(self, each: int) -> None:
        mail.lmtp(self.service.data / "run" / "dovecot" / "lmtp", [delivery_name(number) for number in self.ids], each)

    def cost(self, work: Callable[[int], None], each: int) -> float:
        """CPU time of one piece of work, in ms."""
        before = self._cpu()
        work(each)
        time.sleep(1)  # the worker records logins once a second
        return (self._cpu() - before) * 1000 / (each * mail.CLIENTS)

    def _cpu(self) -> float:
        """CPU time of all processes and of the children that have ended, in seconds."""
        fields = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.service.processes()]
        return sum(int(field) for found in fields for field in found[11:15]) / TICK


def _create(service: Service, local_part: str) -> tuple[int, mail.Mailbox]:
    with closing(http.client.HTTPConnection("127.0.0.1", service.ports["port"], timeout=30)) as connection:
        body = {"domain": "demo.test", "local_part": local_part, "user_id": "user_mail"}
        headers = {"x-api-key": service.key(), "content-type": "application/json"}
        connection.request("POST", "/v2/email-accounts/create", json.dumps(body), headers)
        answer = json.loads(connection.getresponse().read())
        return answer["account"]["id"], (answer["account"]["address"], answer["password"])


def measure(other: Path, *, quick: bool = False) -> Iterator[Row]:
    each, rounds = (10, 2) if quick else (100, ROUNDS)
    with ExitStack() as stack:
        programs = COMMAND, other.resolve() / ".venv" / "bin" / "postroom"
        here, there = (Instance.start(stack.enter_context(Service.new()), program) for program in programs)
        for question, work in (("a login by IMAP", Instance.login), ("a delivery by LMTP", Instance.deliver)):
            runs = [functools.partial(one.cost, functools.partial(work, one)) for one in (here, there)]
            for run in runs:
                run(each)  # processes and folders are made
            ours, theirs = side_by_side(lambda _: runs[0](each), lambda _: runs[1](each), rounds=rounds)  # noqa: B023
            yield Row(question, ours.value, "ms", ours.spread, "the other", theirs.value, at_most=AT_MOST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="a checkout of another version")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    for row in measure(arguments.other, quick=arguments.quick):
        print(show(row), flush=True)


if __name__ == "__main__":
    main()
