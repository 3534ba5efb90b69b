"""What became of submitted mail, over the API: a second, real Postfix takes it, puts it off or
refuses it (GET /v2/email-accounts/:id/sent)."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from dnslib.server import DNSLogger, DNSServer

from postroom.supervision import logfiles
from tests.harness import mail_queue
from tests.harness.dns_server import DnsServer
from tests.harness.service import Service, wait_for
from tests.harness.stopped_worker import stop_the_worker
from tests.mail.clients import message, smtp, submission
from tests.mail.conftest import NewDatabase
from tests.mail.platform import Mailbox
from tests.mail.second_postfix import SecondPostfix

# Postfix asks this name server, which knows no name.
NAMELESS = "127.9.9.53"
OWN_RESOLV_CONF = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'


@pytest.fixture(scope="module")
def second() -> Iterator[SecondPostfix]:
    with SecondPostfix.start() as running:
        yield running


@pytest.fixture(scope="module")
def service(second: SecondPostfix, database: NewDatabase) -> Iterator[Service]:
    with (
        tempfile.NamedTemporaryFile("w", dir="/tmp") as resolv_conf,
        Service.new(outbound="on", relayhost=second.relayhost, **database()) as new,
    ):
        resolv_conf.write(f"nameserver {NAMELESS}\n")
        resolv_conf.flush()
        Path(resolv_conf.name).chmod(0o644)
        new.prefix = ("unshare", "--mount", "sh", "-c", OWN_RESOLV_CONF, resolv_conf.name)
        new.start()
        yield new
        assert new.stop() == 0


def send(box: Mailbox, *to: str, subject: str = "hello", **fields: str | None) -> str:
    """Submits a message and returns its Message-ID."""
    made = message(box.address, "undisclosed@far.example", subject)
    for name, value in fields.items():
        del made[name.replace("_", "-")]
        if value is not None:
            made[name.replace("_", "-")] = value
    with submission(box.platform.service, box.address, box.password) as client:
        client.sendmail(box.address, list(to), made.as_bytes())
    return str(made["Message-ID"])


def sent(box: Mailbox, message_id: str | None = None) -> list[dict[str, Any]]:
    query = f"?message_id={quote(message_id)}" if message_id else ""
    found: list[dict[str, Any]] = box.platform.call("GET", f"/v2/email-accounts/{box.id}/sent{query}", None)["items"]
    return found


def statuses(box: Mailbox, message_id: str | None = None) -> dict[str, str]:
    found = [(one["recipient"], one["status"]) for one in sent(box, message_id)]
    assert len(dict(found)) == len(found) or message_id is None
    return dict(found)


def wait_for_statuses(box: Mailbox, message_id: str, **wanted: str) -> dict[str, dict[str, Any]]:
    """Waits until the recipients have these statuses; a name without @ is at far.example."""
    full = {name if "@" in name else f"{name}@far.example": status for name, status in wanted.items()}
    wait_for(f"{full}, not {statuses(box, message_id)}", lambda: statuses(box, message_id) == full)
    return {one["recipient"]: one for one in sent(box, message_id)}


def kill_the_worker(service: Service) -> None:
    old = wait_for("the worker", lambda: service.pid("worker"))
    os.kill(old, signal.SIGKILL)
    wait_for("another worker", lambda: service.pid("worker") not in (0, old))


def postfix(service: Service, *command: str) -> str:
    program, *arguments = command
    full: list[str | Path] = [f"/usr/sbin/{program}", "-c", service.data / "postfix", *arguments]
    return subprocess.run(full, check=True, capture_output=True, text=True).stdout


def test_it_works(second: SecondPostfix, alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    platform = alice.platform
    second.answer(later="450 4.2.0 come later", nobody="550 5.1.1 none of that name")
    carol = platform.create("carol", user_id="b")
    group = {"domain": platform.domain, "local_part": "team", "user_id": "b", "account_ids": [bob.id, carol.id]}
    platform.call("POST", "/v2/email-aliases/create", group)
    target.put_script(b'redirect "nobody@far.example"; keep;')
    capitals, tagged, team = bob.address.upper(), bob.address.replace("@", "+tag@"), f"team@{platform.domain}"
    to = ("ok@far.example", "later@far.example", "nobody@far.example", capitals, tagged, team, target.address)
    message_id = send(alice, *to)
    taken = dict.fromkeys((capitals, tagged, team, target.address), "delivered")
    found = wait_for_statuses(alice, message_id, ok="delivered", later="delayed", nobody="bounced", **taken)
    assert {one["message_id"] for one in found.values()} == {message_id}
    codes = {name.partition("@")[0]: (one["smtp_code"], one["enhanced_code"]) for name, one in found.items()}
    assert (codes["ok"], codes["later"], codes["nobody"]) == ((250, "2.0.0"), (450, "4.2.0"), (550, "5.1.1"))
    assert found["ok@far.example"]["reason"].startswith("250 2.0.0 Ok: queued as ")
    assert "come later (in reply to RCPT TO command)" in found["later@far.example"]["reason"]
    assert {one["reason"] for name, one in found.items() if name in taken} == {None}
    assert all(one["sent_at"] <= one["status_at"] for one in found.values())
    assert sorted(sent(alice), key=lambda one: -one["id"]) == sent(alice)
    assert statuses(alice, message_id.strip("<>")) == statuses(alice, message_id)
    # What the script of a recipient does with a message concerns neither the sender nor the owner.
    wait_for("the bounce of the forward", lambda: "Undelivered Mail Returned to Sender" in target.subjects())
    assert sent(target) == sent(bob) == []
    assert "acct.internal" not in str(sent(alice))
    assert str(platform.service.data) not in str(sent(alice))


def test_the_message_id_that_postfix_adds(alice: Mailbox, bob: Mailbox) -> None:
    send(alice, bob.address, subject="without", Message_ID=None)
    raw = message_from_bytes(bob.wait_for("without"))
    assert raw["Message-ID"].endswith("@mail.postroom.test>")
    wait_for_statuses(alice, raw["Message-ID"], **{bob.address: "delivered"})


def test_a_message_waits_while_logs_are_rotated_and_workers_die(
    service: Service, second: SecondPostfix, alice: Mailbox, bob: Mailbox
) -> None:
    second.answer(later="450 4.2.0 come later", expired="450 4.2.0 come later", soon="550 5.7.1 no")
    message_id = send(alice, "later@far.example", "expired@far.example", bob.address)
    before = wait_for_statuses(alice, message_id, later="delayed", expired="delayed", **{bob.address: "delivered"})
    stop_the_worker(service)
    try:  # no worker has read these lines when the logs have been rotated
        unread = send(alice, "soon@far.example")
        wait_for("the bounce", lambda: "Undelivered Mail Returned to Sender" in alice.subjects())
        log = service.data / "log"
        found = log.stat()
        logfiles.rotate(log, (found.st_uid, found.st_gid), largest=1)
    finally:
        kill_the_worker(service)
    wait_for_statuses(alice, unread, soon="bounced")
    assert {one["id"] for one in sent(alice, message_id)} == {one["id"] for one in before.values()}
    bob.send(bob.address)
    wait_for("a line in the new log", lambda: sent(bob))
    logfiles.rotate(log, (found.st_uid, found.st_gid), largest=1)  # the first lines of the message are in postfix.log.2
    kill_the_worker(service)
    second.answer(expired="450 4.2.0 not yet")
    mail_queue.flush(service)
    delivered = {"later": "delivered", bob.address: "delivered"}
    after = wait_for_statuses(alice, message_id, expired="delayed", **delivered)
    changed, delayed = after["later@far.example"], after["expired@far.example"]
    # A reader of the table by id sees the change, and only that.
    assert changed["id"] > max(one["id"] for one in before.values())
    assert delayed["id"] == before["expired@far.example"]["id"]
    assert changed["message_id"] == message_id
    # The end of the time in the queue, which is five days.
    queue_id = mail_queue.queued(service).partition('"queue_id": "')[2].partition('"')[0]
    subprocess.run(["/usr/sbin/postsuper", "-c", service.data / "postfix", "-e", queue_id], check=True)
    mail_queue.flush(service)
    last = wait_for_statuses(alice, message_id, expired="bounced", **delivered)["expired@far.example"]
    assert last["reason"].startswith("too long in the queue: host ")
    assert (last["smtp_code"], last["enhanced_code"]) == (450, "5.4.7")


def test_what_is_not_submitted_is_no_sent_mail(alice: Mailbox, bob: Mailbox) -> None:
    raw = message("someone@elsewhere.example", alice.address, "from outside")
    with smtp(alice.platform.service) as client:
        client.sendmail("someone@elsewhere.example", [alice.address], raw.as_bytes())
    alice.wait_for("from outside")
    alice.platform.call("PUT", f"/v2/email-accounts/{alice.id}/vacation", {"enabled": True, "text": "away"})
    message_id = send(bob, alice.address, To=alice.address)
    wait_for_statuses(bob, message_id, **{alice.address: "delivered"})
    wait_for("the vacation reply", bob.subjects)
    message_id = send(bob, alice.address)
    wait_for_statuses(bob, message_id, **{alice.address: "delivered"})
    assert sent(alice) == []
    assert len(sent(bob)) == 2


def test_a_thousand_recipients_and_a_purge(alice: Mailbox) -> None:
    message_id = send(alice, *(f"r{number}@far.example" for number in range(1000)))
    path = f"/v2/email-accounts/{alice.id}/sent?limit=100"

    def counts() -> Any:
        sql = "SELECT status, COUNT(*) FROM sent_recipients WHERE account_id = :id GROUP BY status"
        return alice.platform.sql(sql, id=alice.id)

    known = "SELECT COUNT(*) FROM known_recipients WHERE account_id = :id"
    wait_for("every recipient", lambda: [tuple(row) for row in counts()] == [("delivered", 1000)])
    page = alice.platform.call("GET", path, None)
    rest = alice.platform.call("GET", f"{path}&message_id={quote(message_id)}&after={page['items'][-1]['id']}", None)
    assert len({one["recipient"] for one in page["items"] + rest["items"]}) == 200
    assert alice.platform.sql(known, id=alice.id)[0][0] >= 1000
    alice.delete()
    alice.platform.sql("UPDATE accounts SET purge_at = 1 WHERE id = :id RETURNING id", id=alice.id)
    wait_for(
        "the purge", lambda: alice.platform.sql("SELECT id FROM accounts WHERE purged_at > 1 AND id = :id", id=alice.id)
    )
    for table in ("sent_recipients", "sent_messages", "sent_days", "known_recipients"):
        sql = f"SELECT account_id FROM {table} WHERE account_id = :id"
        wait_for("no rows", lambda sql=sql: alice.platform.sql(sql, id=alice.id) == [])


def bounced_directly(box: Mailbox) -> dict[str, Any] | None:
    """A message to an unknown host, if Postfix no longer asks the relay."""
    message_id = send(box, "x@no-such-host.example")
    (one,) = wait_for_statuses(box, message_id, **{"x@no-such-host.example": "bounced"}).values()
    return None if one["smtp_code"] else one


def test_a_host_that_does_not_exist(service: Service, alice: Mailbox) -> None:
    """The last test of the file: mail goes out directly, and no name is known."""
    nameless = DnsServer()
    names = DNSServer(nameless, address=NAMELESS, port=53, logger=DNSLogger(logf=lambda _: None))
    names.start_thread()
    try:
        postfix(service, "postconf", "-e", "relayhost=")
        os.kill(int((service.data / "spool" / "pid" / "master.pid").read_text()), signal.SIGHUP)
        one = wait_for("a message that goes out directly", lambda: bounced_directly(alice))
    finally:
        names.stop()
        names.server.server_close()
    assert one
    assert (one["smtp_code"], one["enhanced_code"]) == (None, "5.4.4")
    assert "Host not found" in one["reason"]
