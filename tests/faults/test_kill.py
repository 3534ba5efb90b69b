"""kill -9 at any moment: nothing acknowledged is lost, every change is complete, and the next start
works."""

import os
import random
import signal
import threading
from contextlib import suppress

import pytest

from tests.faults.ledger import Ledger
from tests.faults.load import Load
from tests.harness.service import Service, wait_for


def kill_group(service: Service) -> None:
    """Kills the supervisor and its process group. Daemons with their own sessions may survive."""
    assert service.process
    os.killpg(service.process.pid, signal.SIGKILL)
    service.process.wait()


def kill_main(service: Service) -> None:
    assert service.process
    service.process.kill()
    service.process.wait()


def kill_all(service: Service) -> None:
    """Kills all processes at once, guards and daemons too, like a power cut without loss of disk
    data."""
    pids = list(service.processes())
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    assert service.process
    service.process.wait()


def kill_guards(service: Service) -> None:
    """Kills supervisor and guards. Postfix and Dovecot keep their ports, and no process is left to
    end them."""
    assert service.process
    pids = [service.process.pid, *(pid for pid, command in service.processes().items() if "guard.py" in command)]
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
    service.process.wait()


KILLS = (kill_group, kill_main, kill_all, kill_guards)


def rounds(ledger: Ledger, mailbox: str, number: int) -> None:
    for round_ in range(number):
        with Load(ledger, mailbox) as load:
            load.wait_for(random.randrange(1, 60))
            KILLS[round_ % len(KILLS)](ledger.service)
        ledger.service.start()
        ledger.compare()


def test_nothing_acknowledged_is_lost(ledger: Ledger, mailbox: str) -> None:
    rounds(ledger, mailbox, len(KILLS))
    assert len(ledger.mails[mailbox]) > len(KILLS)


@pytest.mark.long
def test_nothing_acknowledged_is_lost_in_50_rounds(ledger: Ledger, mailbox: str) -> None:
    rounds(ledger, mailbox, 50)


def kill_alone(ledger: Ledger, mailbox: str, part: str, number: int) -> None:
    """Kills one process again and again; the supervisor restarts it each time."""
    for _ in range(number):
        dead = ledger.service.pid(part)
        with Load(ledger, mailbox) as load:
            load.wait_for(random.randrange(20, 60))
            os.kill(dead, signal.SIGKILL)
            wait_for("another process", lambda dead=dead: ledger.service.pid(part) not in (0, dead))
            load.wait_for(20)
        ledger.compare()


def test_the_api_process_alone(ledger: Ledger, mailbox: str) -> None:
    """Clients see the connection end."""
    kill_alone(ledger, mailbox, "api", 2)


@pytest.mark.usefixtures("passing")
def test_the_worker_process_alone(ledger: Ledger, mailbox: str) -> None:
    """What it was sending to the webhook is sent again by the next worker, with the same id."""
    kill_alone(ledger, mailbox, "worker", 2)


@pytest.mark.long
@pytest.mark.usefixtures("passing")
def test_the_worker_process_50_times(ledger: Ledger, mailbox: str) -> None:
    kill_alone(ledger, mailbox, "worker", 50)


def test_killed_while_it_starts(ledger: Ledger, mailbox: str) -> None:
    """At random times between the first instruction and a moment after the last part is up."""
    with Load(ledger, mailbox) as load:
        load.wait_for(50)
    kill_all(ledger.service)
    for kill in KILLS:
        ledger.service.launch()
        threading.Event().wait(random.uniform(0, 2))
        kill(ledger.service)
    ledger.service.start()
    ledger.compare()


def test_killed_while_it_makes_the_database(service: Service) -> None:
    """Afterwards the schema and the rows of the first start exist completely or not at all, and the
    next start continues."""
    for _ in range(4):
        service.launch()
        folder = service.data / "db"
        wait_for("the database file", lambda folder=folder: (folder / "postroom.db").exists() or service.ended())
        threading.Event().wait(random.uniform(0, 0.05))
        kill_all(service)
    service.start()
    made = service.run("keys", "create", "--organization", "demo")  # the first key may never have been shown
    ledger = Ledger(service, made.stdout.strip())
    with Load(ledger) as load:
        load.wait_for(20)
    ledger.compare()
