"""Much mail, and daemons that die or are away meanwhile: what was taken arrives, and nothing is
returned."""

import os
import signal
import smtplib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from postroom.supervision import stale_processes
from tests.faults.ledger import Ledger, subjects_of
from tests.harness.service import Service, wait_for
from tests.mail.clients import Imap, imap_login, message, refusal, smtp

pytestmark = pytest.mark.long
SENDER = "someone@elsewhere.example"
WAIT_SECONDS = 300.0


def send(ledger: Ledger, mailbox: str, count: int) -> list[str]:
    """So many messages by a few clients, each sent again until it is taken: their subjects."""

    def until_taken(number: int) -> str:
        subject = f"mail number {number}"

        def taken() -> bool:
            with suppress(OSError, smtplib.SMTPException):
                ledger.mail(mailbox, subject)
                return True
            return False

        wait_for(f"{subject} to be taken", taken, WAIT_SECONDS)
        return subject

    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(until_taken, range(count)))


def kill_session(service: Service, name: str) -> None:
    for pid in stale_processes.find(service.data, {service.pid(name)}):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def bounces(service: Service) -> list[str]:
    log = (service.data / "log" / "postfix.log").read_text()
    return [line for line in log.splitlines() if "status=bounced" in line or "sender non-delivery" in line]


def wait_until_delivered(ledger: Ledger, mailbox: str, count: int) -> None:
    """Every message at least once: one that was delivered when its daemon died may come again."""
    password = str(ledger.entries[mailbox].state.password)

    def arrived() -> bool:
        with suppress(Imap.error, OSError), imap_login(ledger.service, mailbox, password) as imap:
            return len(subjects_of(imap)) >= count
        return False

    wait_for(f"{count} messages", arrived, WAIT_SECONDS)


@pytest.mark.parametrize("name", ["dovecot", "postfix"])
def test_a_daemon_is_killed_while_500_mails_come_in(ledger: Ledger, mailbox: str, name: str) -> None:
    service, done = ledger.service, threading.Event()

    def kill_it_again_and_again() -> None:
        for _ in range(4):
            goal = len(ledger.mails.get(mailbox, [])) + 100
            wait_for(
                "more mail", lambda goal=goal: len(ledger.mails.get(mailbox, [])) >= goal or done.is_set(), WAIT_SECONDS
            )
            dead = service.pid(name)
            kill_session(service, name)
            wait_for("another one", lambda dead=dead: service.pid(name) not in (0, dead), WAIT_SECONDS)

    with ThreadPoolExecutor() as pool:
        killer = pool.submit(kill_it_again_and_again)
        send(ledger, mailbox, 500)
        done.set()
        killer.result()
    wait_for("all parts", service.ready, WAIT_SECONDS)
    wait_until_delivered(ledger, mailbox, 500)
    assert bounces(service) == []
    ledger.compare()


def test_dovecot_is_away_for_a_minute(ledger: Ledger, mailbox: str) -> None:
    """Dead, and its supervisor frozen, so that nobody brings it back: Postfix tries in vain and
    delivers later."""
    service = ledger.service
    assert service.process
    with smtp(service) as client:  # recipients are looked up without Dovecot; its quota service is not asked
        for number in range(20):
            client.send_message(message(SENDER, mailbox, f"before {number}"), SENDER, [mailbox])
    wait_until_delivered(ledger, mailbox, 20)
    os.kill(service.process.pid, signal.SIGSTOP)
    kill_session(service, "dovecot")
    away = threading.Event()
    with smtp(service) as client:
        for number in range(20):
            client.send_message(message(SENDER, mailbox, f"meanwhile {number}"), SENDER, [mailbox])
    away.wait(60)
    log = (service.data / "log" / "postfix.log").read_text()
    assert log.count("status=deferred (connect to the mailbox server: Connection refused)") >= 20
    os.kill(service.process.pid, signal.SIGCONT)
    wait_for("all parts", service.ready, WAIT_SECONDS)
    service.run("status")
    wait_until_delivered(ledger, mailbox, 40)
    assert bounces(service) == []
    ledger.compare()


def test_a_queue_of_5000(ledger: Ledger, mailbox: str) -> None:
    """Taken while Dovecot cannot deliver; RCPT still answers, and then all of it is delivered."""
    service = ledger.service
    assert service.process
    frozen = [service.process.pid, *stale_processes.find(service.data, {service.pid("dovecot")})]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)

    def send_many(batch: int) -> None:
        with smtp(service) as client:
            for number in range(500):
                client.send_message(message(SENDER, mailbox, f"mail {batch}-{number}"), SENDER, [mailbox])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send_many, range(10)))
    assert refusal(service, mailbox)[0] == 250
    assert refusal(service, "nobody@demo.test")[0] == 550
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    wait_until_delivered(ledger, mailbox, 5000)
    assert bounces(service) == []
    ledger.compare()
