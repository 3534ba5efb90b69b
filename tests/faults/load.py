"""Clients that work while a fault happens. Each has its own accounts and sends one request after
the other."""

import random
import smtplib
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType

from tests.faults.client import Client
from tests.faults.ledger import Entry, Ledger
from tests.harness.service import wait_for

CLIENTS = 4
PAUSE = 0.02


class Load:
    """Inside the block, clients create and change accounts, do the ledger's works, and `mailbox`
    receives mail."""

    def __init__(self, ledger: Ledger, mailbox: str | None = None) -> None:
        self._ledger = ledger
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(self._work,)) for _ in range(CLIENTS)]
        self._threads += [
            threading.Thread(target=self._run, args=(partial(self._repeat, one),)) for one in ledger.works
        ]
        if mailbox:
            self._threads.append(threading.Thread(target=self._run, args=(lambda: self._send(mailbox),)))

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if not error and self._failed:
            raise self._failed[0]

    def wait_for(self, more: int) -> None:
        """Waits until this number of further requests is acknowledged."""
        goal = self._ledger.acknowledged + more
        wait_for(f"{more} more answers", lambda: self._ledger.acknowledged >= goal or self._failed)

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            self._failed.append(error)

    def _work(self) -> None:
        client, mine = self._ledger.client(), list[Entry]()
        while not self._stop.is_set():
            answered = self._step(client, mine)
            mine = [entry for entry in mine if len(entry.possible) == 1 and entry.state.exists]
            if not answered:
                self._stop.wait(PAUSE)
        client.close()

    def _step(self, client: Client, mine: list[Entry]) -> bool:
        if len(mine) < 3 or random.random() < 0.3:
            mine.append(self._ledger.create(client))
            return len(mine[-1].possible) == 1
        return self._ledger.perform(client, random.choice(mine), random.choice(self._ledger.operations))

    def _repeat(self, work: Callable[[Client], None]) -> None:
        client = self._ledger.client()
        while not self._stop.is_set():
            work(client)
            self._stop.wait(PAUSE)
        client.close()

    def _send(self, mailbox: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            with suppress(OSError, smtplib.SMTPException):
                self._ledger.mail(mailbox, f"mail {random.randrange(10**12)} {number}")
            self._stop.wait(PAUSE)


def settled(ledger: Ledger) -> bool:
    """Returns whether the service answers again. After an outage each pooled reader answers one
    503."""
    client = ledger.client()
    answers = [client.call("GET", "/v2/stats") for _ in range(12)]
    answers += [client.call("GET", "/v2/email-accounts") for _ in range(12)]
    client.close()
    return all(answer and answer[0] == 200 for answer in answers)
