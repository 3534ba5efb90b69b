"""`last_login_at` comes from Dovecot's log of logins. Text from a client cannot forge it."""

import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial

import pytest

from tests.harness.service import Service, wait_for
from tests.harness.stopped_worker import stop_the_worker
from tests.mail.clients import HOST, Imap, Pop3, own_address, submission, tls
from tests.mail.platform import Mailbox, Platform


def last_login(mailbox: Mailbox) -> str | None:
    path = f"/v2/email-accounts/{mailbox.id}?fields=last_login_at"
    found: str | None = mailbox.platform.call("GET", path, None)["account"]["last_login_at"]
    return found


def wait_for_login(mailbox: Mailbox) -> float:
    """Waits until the last login of an account is known. Returns its time in seconds since 1970."""
    return datetime.fromisoformat(wait_for("a last login", lambda: last_login(mailbox)) or "").timestamp()


def by_imap(mailbox: Mailbox) -> None:
    mailbox.login().logout()


def by_pop3(mailbox: Mailbox) -> None:
    pop3 = Pop3(HOST, mailbox.platform.service.ports["pop3s_port"])
    pop3.user(mailbox.address)
    pop3.pass_(mailbox.password)
    pop3.quit()


def by_submission(mailbox: Mailbox) -> None:
    submission(mailbox.platform.service, mailbox.address, mailbox.password).quit()


def test_it_works(platform: Platform) -> None:
    boxes = {how: platform.create(how.__name__) for how in (by_imap, by_pop3, by_submission)}
    never = platform.create("never")
    before = time.time()
    for how, mailbox in boxes.items():
        assert last_login(mailbox) is None
        how(mailbox)
    for mailbox in boxes.values():
        assert before - 1 <= wait_for_login(mailbox) <= time.time()
    assert last_login(never) is None


def guess(service: Service, name: str) -> None:
    """Fails to log in, with a name of arbitrary characters."""
    imap = Imap(HOST, service.ports["imaps_port"], ssl_context=tls())
    with pytest.raises(Imap.error):
        imap.authenticate("PLAIN", lambda _: f"\0{name}\0{'x' * 20}".encode())
    imap.shutdown()


def test_what_is_no_login(platform: Platform, service: Service) -> None:
    """A wrong password, the right password of a suspended account, and names that look like a line
    of the log."""
    wrong, suspended, forged, marker = (platform.create(name) for name in ("wrong", "suspended", "forged", "marker"))
    suspended.update(status="suspended")
    assert not suspended.can_login()
    user = f'"user":"{forged.id}@1.acct.internal"'
    event = f'{{"end_time":1795600000,"fields":{{"success":"yes",{user}}}}}'
    line = f"2026-11-25 10:00:00.000000 stats: Info: {event}"
    names = (line, f"x\n{line}\n", f'x","success":"yes",{user}', f"{forged.id}@1.acct.internal", wrong.address)
    with ThreadPoolExecutor(len(names)) as pool:  # each login waits for Dovecot's delay
        list(pool.map(partial(guess, service), names))
    with socket.create_connection((HOST, service.ports["imap_port"]), 60, (own_address(), 0)) as client:
        client.sendall(f"a LOGIN {{{len(line) + 2}+}}\r\n\n{line}\n {{1+}}\r\nx\r\n".encode())
        client.recv(4096)
    marker.login().logout()
    wait_for_login(marker)
    assert [last_login(mailbox) for mailbox in (wrong, suspended, forged)] == [None] * 3


def test_a_login_while_the_worker_is_away(platform: Platform, service: Service) -> None:
    """The worker reads the login from the log after its restart."""
    mailbox = platform.create()
    worker = stop_the_worker(service)
    mailbox.login().logout()
    assert "stats: Info: {" in (service.data / "log" / "dovecot.log").read_text()
    os.kill(worker, signal.SIGKILL)
    wait_for_login(mailbox)
