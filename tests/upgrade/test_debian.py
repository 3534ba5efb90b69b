"""From Debian 12 to 13 in place: a service on 13 takes over a data directory that a service on 12
has filled. Clients see what they saw before, and what waited goes on."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from postroom.mailplane.dovecot import doveadm
from tests.harness import mail_queue
from tests.harness.debian13 import Debian13
from tests.harness.ports import free_port
from tests.harness.postgres import PostgresServer
from tests.harness.service import Service, wait_for
from tests.mail.clients import HOST, Pop3
from tests.mail.platform import Mailbox, Platform
from tests.mail.sink import Sink

pytestmark = pytest.mark.debian13

FOLDERS = ("INBOX", "Bills", "Work/Deep", "Trash", "a.b/.c", "back\\\\2eslash", "&ZeVnLA-.&ip4-")
MAIN = b"""require ["fileinto", "mailbox", "include", "duplicate", "imap4flags", "vacation"];
include :personal "old";
if header "subject" "bill" { addflag "Paid"; fileinto :create "Bills"; }
"""
OLD = b'require ["fileinto"];\nif header "subject" "old" { fileinto "Trash"; }\n'


@dataclass
class Upgraded:
    """An account of a service that runs on 13, and what was seen of it on 12."""

    box: Mailbox
    suspended: Mailbox
    before: dict[str, Any]
    extensions: set[str]
    outside: Sink


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def upgraded(request: pytest.FixtureRequest, debian13: Debian13) -> Iterator[Upgraded]:
    with ExitStack() as stack:
        settings = {"outbound": "on", "relayhost": f"[{HOST}]:{free_port()}"}  # nobody listens there
        if request.param == "postgresql":
            postgres: PostgresServer = request.getfixturevalue("postgres")
            settings["database_url"] = postgres.new_database()
        service = stack.enter_context(Service.new(**settings))
        service.start()
        assert "Dovecot 2.3" in service.run("doctor").stdout
        platform = Platform.new(service)
        box, suspended = platform.create(), platform.create("suspended")
        fill(box)
        suspended.receive("kept")
        suspended.wait_for("kept")
        suspended.update(status="suspended")
        before, offered = seen(box), extensions(service)
        outside = stack.enter_context(Sink.start())
        move_to(debian13, service, outside)
        yield Upgraded(box, suspended, before, offered, outside)
        assert service.stop() == 0


def fill(box: Mailbox) -> None:
    """Folders, flags, keywords, subscriptions and scripts; mail of every kind of way in, and mail
    that waits."""
    service = box.platform.service
    box.put_script(OLD, "old")
    box.put_script(MAIN)
    for subject in ("hello", "bill", "old", "seen", "gone"):
        box.receive(subject)
    with box.login() as imap:
        wait_for("the mail", lambda: {"hello", "seen", "gone"} <= set(imap.subjects()))
        wait_for("the bill", lambda: imap.select("Bills")[0] == "OK" and imap.search(None, "ALL")[1] == [b"1"])
        for name in FOLDERS[2:]:
            imap.create(f'"{name}"')
            imap.append(f'"{name}"', r"(\Seen Later)", None, b"Subject: a\r\n\r\nx\r\n")  # type: ignore[arg-type]
        imap.subscribe("Work/Deep")
        imap.unsubscribe("Drafts")
        imap.select("INBOX")
        imap.store(number_of(imap.subjects(), "seen"), "+FLAGS", r"(\Seen \Flagged $Label1 Anything)")
        imap.select("INBOX")
        imap.store(number_of(imap.subjects(), "gone"), "+FLAGS", r"\Deleted")
        imap.select("INBOX")
        imap.expunge()
    box.send("friend@elsewhere.example", "it waits")
    deferred = service.data / "spool" / "deferred"
    wait_for("mail that waits", lambda: any(path.is_file() for path in deferred.rglob("*")))


def number_of(subjects: list[str], subject: str) -> str:
    return str(subjects.index(subject) + 1)


def seen(box: Mailbox) -> dict[str, Any]:
    """All that clients and the platform see of an account."""
    service, found = box.platform.service, dict[str, Any]()
    with box.login() as imap:
        for name in ("list", "lsub"):
            found[name] = sorted(str(line) for line in getattr(imap, name)()[1])
        for folder in FOLDERS:
            status = imap.status(f'"{folder}"', "(MESSAGES UIDVALIDITY UIDNEXT UNSEEN HIGHESTMODSEQ X-GUID)")
            imap.select(f'"{folder}"', readonly=True)
            parts = "(UID FLAGS MODSEQ INTERNALDATE RFC822.SIZE X-GUID ENVELOPE BODYSTRUCTURE BODY.PEEK[])"
            found[folder] = (status, imap.fetch("1:*", parts), imap.uid("SEARCH", "KEYWORD", "Later"))
    pop3 = Pop3(HOST, service.ports["pop3s_port"])
    pop3.user(box.address)
    pop3.pass_(box.password)
    found["pop3"] = (pop3.stat(), pop3.uidl(), pop3.list())
    pop3.quit()
    account = f"/v2/email-accounts/{box.id}"
    found["usage"] = box.platform.call("GET", f"{account}/usage", None)
    if endpoint := doveadm.local(service.data / "run"):
        found["scripts"] = asyncio.run(doveadm.scripts(endpoint, box.id))
    return found


def extensions(service: Service) -> set[str]:
    """The extensions that Sieve scripts may require (RFC 5804 1.7)."""
    with socket.create_connection((HOST, service.ports["sieve_port"]), 60) as client, client.makefile() as greeting:
        line = next(line for line in greeting if line.startswith('"SIEVE" '))
    return set(line.split(" ", 1)[1].strip().strip('"').split())


def move_to(debian13: Debian13, service: Service, outside: Sink) -> None:
    """Stops the service on 12 and starts it on 13."""
    assert service.stop() == 0
    # An earlier version had this file here, and Postfix 3.10 warns of it.
    old = service.data / "postfix" / "database.conf"
    old.write_text("[postroom]\n")
    os.chown(old, (service.data / "spool" / "active").stat().st_uid, -1)
    debian13.take(service)
    service.settings["relayhost"] = outside.relayhost
    service.start()
    assert not old.exists()
    assert "Dovecot 2.4" in service.run("doctor").stdout


def test_it_works(upgraded: Upgraded) -> None:
    """Each message with its UID, flags, keywords and times; folders, subscriptions, scripts."""
    assert seen(upgraded.box) == upgraded.before


def test_what_waited_goes_on(upgraded: Upgraded) -> None:
    mail_queue.flush(upgraded.box.platform.service)
    taken = wait_for("what waited", lambda: upgraded.outside.find("it waits"))
    assert taken
    assert b"DKIM-Signature: " in taken.raw


def test_scripts_run(upgraded: Upgraded) -> None:
    """The active script and the script that it includes; both were compiled by 2.3."""
    box = upgraded.box
    box.receive("bill")
    box.receive("old")
    with box.login() as imap:
        for folder, count in (("Trash", b"3"), ("Bills", b"2")):
            wait_for("the mail", lambda: imap.select(folder, readonly=True)[1] == [count])  # noqa: B023
        assert imap.search(None, "KEYWORD", "Paid") == ("OK", [b"1 2"])


def test_scripts_may_require_what_they_could(upgraded: Upgraded) -> None:
    """Dovecot 2.4 lacks some extensions of 2.3; Postroom never offered these."""
    assert "vacation" in upgraded.extensions
    assert upgraded.extensions <= extensions(upgraded.box.platform.service)


def test_a_suspended_account_is_resumed(upgraded: Upgraded) -> None:
    assert not upgraded.suspended.can_login()
    upgraded.suspended.update(status="active")
    assert upgraded.suspended.subjects() == ["kept"]


def test_a_reset_ends_sessions(upgraded: Upgraded) -> None:
    session = upgraded.suspended.login()
    reset = upgraded.suspended.reset()
    assert not session.is_open()
    assert reset.can_login()
