"""Three nodes: clients and mail reach a mailbox through each node, and only nodes can use the
connections between them."""

import json
import re
import smtplib
import socket
import ssl
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, Machine
from tests.cluster.moves import has_home, is_over, place, purge
from tests.harness import traces
from tests.harness.service import Service, wait_for
from tests.mail import clients
from tests.mail.clients import Imap
from tests.mail.platform import Mailbox, Platform


def test_it_works(cluster: Cluster, box: Mailbox) -> None:
    """IMAP, SMTP and submission through every node; one node has the mail."""
    for machine in cluster.machines:
        machine.deliver(box, f"through {machine.name}")
        with machine.submission(box) as client:
            client.send_message(
                clients.message(box.address, box.address, f"from {machine.name}"), box.address, [box.address]
            )
    wanted = {f"{how} {machine.name}" for machine in cluster.machines for how in ("through", "from")}
    for machine in cluster.machines:
        with machine.imap(box) as imap:
            found = wait_for("all of them", lambda imap=imap: _if(imap.subjects(), 6))  # type: ignore[misc]
            assert set(found) == wanted
    assert [machine.name for machine in cluster.machines if machine.holds(box)] == [cluster.home(box).name]


def _if(found: list[str], number: int) -> list[str]:
    return found if len(found) >= number else []


def test_pop3_and_managesieve(cluster: Cluster, box: Mailbox) -> None:
    other = cluster.other(box)
    script = b'require ["fileinto", "mailbox"];\nif header "subject" "bill" { fileinto :create "Bills"; }\n'
    clients.put_script(other.address, other.port("sieve_port"), box.address, box.password, script)
    other.deliver(box, "bill")
    other.deliver(box, "hello")
    with cluster.home(box).imap(box) as imap:
        imap.wait_for("hello")
        wait_for("the bill", lambda: imap.select("Bills", readonly=True)[0] == "OK")
    pop3 = other.pop3(box)
    assert pop3.stat()[0] == 1
    pop3.quit()


def test_a_wrong_password_and_a_suspended_account(cluster: Cluster, box: Mailbox) -> None:
    with pytest.raises(Imap.error, match="AUTHENTICATIONFAILED"):
        cluster.other(box).imap(box, "another password")
    box.update(status="suspended")
    with pytest.raises(Imap.error, match="suspended"):
        cluster.other(box).imap(box)


def test_the_home_knows_where_a_client_is(cluster: Cluster, box: Mailbox) -> None:
    """The client's own address, not the address of the proxying node, is in the log and counts for
    penalties."""
    with cluster.other(box).imap(box) as imap:
        client = imap.sock.getsockname()[0]
    log = cluster.home(box).service.data / "log" / "dovecot.log"
    # Dovecot 2.3 and 2.4 have different words.
    line = re.compile(rf"(Login|Logged in): user=<{re.escape(box.address)}>.* rip={re.escape(client)},")
    wait_for("the line", lambda: line.search(log.read_text()))


def test_a_reset_ends_sessions_on_every_machine(cluster: Cluster, box: Mailbox) -> None:
    """The sessions end before the answer, whichever node gets the request."""
    sessions = [machine.imap(box) for machine in cluster.machines]
    platforms = [Platform(m.service, "", "", box.platform.key) for m in cluster.machines]
    for platform in platforms:
        answer = platform.call("POST", f"/v2/email-accounts/{box.id}/password/reset?fields=sessions_ended", {})
        assert answer["account"]["sessions_ended"] is True
        assert not any(session.is_open() for session in sessions)
        box = Mailbox(platform, box.id, box.address, answer["password"])
        sessions = [machine.imap(box) for machine in cluster.machines]
    for session in sessions:
        session.logout()


def test_mail_cannot_be_injected(cluster: Cluster, box: Mailbox) -> None:
    """A node accepts mail of other nodes only from clients with a certificate in the database."""
    home = cluster.home(box)

    def code(context: ssl.SSLContext | None) -> int:
        with smtplib.SMTP(home.address, home.own_port, "client.example", 60) as client:
            if context:
                client.starttls(context=context)
            client.ehlo()
            client.mail("someone@elsewhere.example")
            return client.rcpt(f"{box.id}@acct.internal")[0]

    assert code(None) == 530  # TLS first
    stranger = clients.tls()
    with pytest.raises(OSError):
        code(stranger)
    stranger.load_cert_chain(home.service.data / "tls" / "cert.pem", home.service.data / "tls" / "key.pem")
    with pytest.raises(OSError):
        code(stranger)
    friend = clients.tls()
    tls = cluster.other(box).service.data / "tls"
    friend.load_cert_chain(tls / "node.pem", tls / "node.key")
    assert code(friend) == 250


def test_what_is_between_the_machines_is_not_public(cluster: Cluster, box: Mailbox) -> None:
    """Commands and copies need the key that the nodes get from the database."""
    home = cluster.home(box)
    context = ssl.create_default_context(cafile=str(home.service.data / "tls" / "nodes.pem"))
    host = f"{home.name}.node.internal"
    for port, sent in (
        (1, b"POST /doveadm/v1 HTTP/1.0\r\n\r\n"),
        (2, b"VERSION\tdoveadm-server\t1\t0\nPLAIN\tAHgAeA==\n"),
    ):
        plain = socket.create_connection((home.address, home.own_port + port), 60)
        with context.wrap_socket(plain, server_hostname=host) as client:
            client.sendall(sent)
            answer = b"".join(iter(lambda client=client: client.recv(4096), b""))  # type: ignore[misc]
        assert not re.search(rb"200 OK|^\+", answer, re.MULTILINE), answer


def test_a_mailbox_is_asked_where_it_is(cluster: Cluster, box: Mailbox) -> None:
    """Its size, its sessions and its last login, asked of a node that only proxies."""
    other = cluster.other(box)
    there, path = Platform(other.service, "", "", box.platform.key), f"/v2/email-accounts/{box.id}"
    other.deliver(box, "hello")
    with other.imap(box) as imap:
        imap.wait_for("hello")
        assert there.call("GET", f"{path}/usage", None)["messages"] == 1
        open_now = [{"protocol": "imap", "client_address": imap.sock.getsockname()[0]}]
        assert there.call("GET", f"{path}/sessions", None)["sessions"] == open_now
    last = f"{path}?fields=last_login_at"
    wait_for("the login", lambda: there.call("GET", last, None)["account"]["last_login_at"])


def test_the_largest_message_comes_through(cluster: Cluster, box: Mailbox) -> None:
    """A message that one node accepted is not too large for the other, although each node adds a
    header field."""
    largest = cluster.other(box).deliver_largest(box)
    with cluster.home(box).imap(box) as imap:
        imap.wait_for(largest)


def test_mail_arrives_through_another_machine_as_it_was_sent(cluster: Cluster, box: Mailbox) -> None:
    """This includes long lines, long header fields and MIME parts."""
    part = b"--b\r\nContent-Type: text/plain\r\nX-Part: " + b"z" * 30_000 + b"\r\n\r\n"
    raw = (
        b"Subject: as it was sent\r\nX-Long: " + b"y" * 5_000 + b"\r\nFrom: x@elsewhere.example\r\n"
        b"Date: Sat, 28 Nov 2026 19:00:00 +0000\r\nMessage-ID: <as-sent@elsewhere.example>\r\n"
        b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n' + part + b"x" * 9_000 + b"\r\n..\r\n--b--\r\n"
    )
    code, text = cluster.other(box).hand_in(box, "x@elsewhere.example", raw)
    assert code == 250, text
    with cluster.home(box).imap(box) as imap:
        assert imap.wait_for("as it was sent").endswith(b"\r\n" + raw)


def test_nobody_speaks_for_a_hosted_domain_at_any_machine(cluster: Cluster, box: Mailbox) -> None:
    """Port 25 of each node asks for proof. Nodes do not ask each other again."""
    domain = box.platform.domain
    sender = f"neighbour@{domain}"
    raw = b"From: " + sender.encode() + b"\r\nSubject: proven\r\n\r\nHello.\r\n"
    cluster.dns.publish(domain, "TXT", "v=spf1 -all")
    for machine in cluster.machines:
        code, text = machine.hand_in(box, sender, raw)
        assert (code, text[:5]) == (550, "5.7.1")
    cluster.dns.publish(domain, "TXT", "v=spf1 ip4:127.0.0.0/8 -all")
    assert cluster.other(box).hand_in(box, sender, raw)[0] == 250
    with cluster.home(box).imap(box) as imap:
        imap.wait_for("proven")
        assert imap.subjects() == ["proven"]


def test_a_machine_that_is_not_the_one_it_should_be(cluster: Cluster, box: Mailbox) -> None:
    """A node at another node's address without its certificate gets no password and no command."""
    home, other = cluster.home(box), cluster.other(box)
    (liar,) = (machine for machine in cluster.machines if machine not in (home, other))
    sql = "UPDATE nodes SET address = :address, port = :port, imaps_port = :imaps WHERE name = :name RETURNING id"

    def point_to(machine: Machine) -> None:
        values: dict[str, Any] = {
            "address": machine.address,
            "port": machine.own_port,
            "imaps": machine.port("imaps_port"),
        }
        box.platform.sql(sql, name=home.name, **values)

    point_to(liar)
    try:
        with pytest.raises(Imap.error, match="UNAVAILABLE"):
            other.imap(box)
        there = Platform(other.service, "", "", box.platform.key)
        answer = there.call("POST", f"/v2/email-accounts/{box.id}/sessions/end?fields=sessions_ended", {})
        assert answer["account"]["sessions_ended"] is False
    finally:
        point_to(home)
    assert box.address not in (liar.service.data / "log" / "dovecot.log").read_text()


def test_a_machine_that_is_away(cluster: Cluster, box: Mailbox) -> None:
    """Its users get temporary errors, mail for it waits where it was accepted, and a reset reports
    the sessions that it could not end."""
    home, other = cluster.home(box), cluster.other(box)
    here = Platform(other.service, "", box.platform.domain, box.platform.key)
    gone, mark = here.create(f"gone{box.id}"), here.create(f"mark{box.id}")
    place(gone, home)
    place(mark, other)
    assert home.service.stop() == 0
    try:
        with pytest.raises(Imap.error, match="UNAVAILABLE"):
            other.imap(box)
        other.deliver(box, "while it was away")
        answer = here.call("POST", f"/v2/email-accounts/{box.id}/password/reset?fields=sessions_ended", {})
        assert answer["account"]["sessions_ended"] is False
        queue = other.service.data / "spool" / "deferred"
        wait_for("mail that waits", lambda: any(path.is_file() for path in queue.rglob("*")))
        purge(gone)
        purge(mark)
        wait_for("a purge on this node", lambda: not has_home(mark))
        assert has_home(gone)
    finally:
        home.service.start()
    box = Mailbox(here, box.id, box.address, answer["password"])
    other.flush()
    with other.imap(box) as imap:
        imap.wait_for("while it was away")
    late = "SELECT 1 FROM events WHERE account_id = :id AND type = 'account.sessions_ended'"
    wait_for("the worker of the home", lambda: box.platform.sql(late, id=box.id))


def test_what_the_machines_know_each_other_by_is_private(cluster: Cluster, platform: Platform) -> None:
    """The nodes' keys and the secret of their doveadm are in no log, event, command line or
    table."""
    tables = [name for (name,) in platform.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
    assert "node_certificates" in tables
    secrets, said = [], [str(platform.sql(f"SELECT * FROM {table}")) for table in tables]
    for machine in cluster.machines:
        data = machine.service.data
        for path in (data / "tls" / "node.key", data / "run" / "doveadm.key", data / "db" / "digest.key"):
            assert path.stat().st_mode & 0o077 == 0
            secrets.append(path.read_text())
        said += [machine.service.said(), *(path.read_text(errors="replace") for path in (data / "log").iterdir())]
        said += [content.decode(errors="replace") for _, content in traces.processes(machine.service)]
    lines = {line for secret in secrets for line in secret.splitlines() if "-----" not in line}
    assert not [line for line in lines for text in said if line in text]


def test_the_command_line(cluster: Cluster) -> None:
    found = json.loads(cluster.run("nodes", "list", "--json").stdout)
    assert {node["name"] for node in found} == {"ams", "ber", "cph"}
    assert cluster.run("nodes", "drain", "cph").stdout.startswith("cph takes no new accounts.")
    assert "draining" in cluster.run("nodes", "list").stdout
    assert cluster.run("nodes", "undrain", "cph").returncode == 0
    for arguments in (("add", "Upper", "192.0.2.1"), ("add", "a", "somewhere"), ("remove", "ams"), ("drain", "x")):
        assert cluster.run("nodes", *arguments).returncode == 1, arguments


def test_a_node_is_emptied(cluster: Cluster, box: Mailbox) -> None:
    """Its accounts move to the other nodes with their mail. A node that accepts new accounts cannot
    be emptied."""
    home = cluster.home(box)
    home.deliver(box, "kept")
    with home.imap(box) as imap:
        imap.wait_for("kept")
    assert "nodes drain" in cluster.run("nodes", "empty", home.name).stderr
    assert cluster.run("nodes", "drain", home.name).returncode == 0
    try:
        done = cluster.run("nodes", "empty", home.name)
        assert done.stdout.startswith(f"{home.name} has no accounts left."), done.stderr
        assert cluster.home(box) is not home
        # A move ends with the sessions on the old node, those that have just begun included.
        wait_for("the end of the move", lambda: is_over(box))
        with home.imap(box) as imap:
            assert imap.subjects() == ["kept"]
    finally:
        assert cluster.run("nodes", "undrain", home.name).returncode == 0


def test_doctor_and_status_say_which_node_is_away(cluster: Cluster, platform: Platform) -> None:
    for name in ("dublin", "essen"):
        assert cluster.run("nodes", "add", name, "127.0.0.9").returncode == 0
        assert cluster.run("nodes", "drain", name).returncode == 0
    try:
        platform.sql("UPDATE nodes SET seen_at = 1 WHERE name = 'essen' RETURNING id")
        found = json.loads(cluster.run("doctor", "--json").stdout)
        said = {row["text"].partition(" ")[0]: row for row in found if row["subject"] == "nodes"}
        assert {name: row["level"] for name, row in said.items()} == {
            "ams": "ok",
            "ber": "ok",
            "cph": "ok",
            "dublin": "warning",
            "essen": "error",
        }
        assert "has not been seen for" in said["essen"]["text"]
        done = cluster.run("status", "--json")
        assert done.returncode == 0, done.stdout  # doctor reports on this node only
        rows = {row["part"]: row for row in json.loads(done.stdout)}
        states = {part.removeprefix("node "): row["state"] for part, row in rows.items() if part.startswith("node ")}
        assert states == {"ams": "running", "ber": "running", "cph": "running", "dublin": "new", "essen": "away"}
        assert rows["node essen"]["reason"].startswith("0 accounts, takes no new accounts, not seen for ")
        assert "\nnode dublin new      0 accounts" in cluster.run("status").stdout
    finally:
        for name in ("dublin", "essen"):
            assert cluster.run("nodes", "remove", name).returncode == 0


def test_status_without_the_database() -> None:
    """The command reports what it can still see."""
    url = "postgresql://postroom@127.0.0.1:1/postroom"
    with Service.new(node="x", database_url=url) as service:
        done = service.run("status", "--json")
    rows = {row["part"]: row for row in json.loads(done.stdout)}
    assert (rows["api"]["state"], rows["nodes"]["state"]) == ("stopped", "unknown")
    assert rows["nodes"]["reason"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"node": "x"}, "POSTROOM_NODE needs PostgreSQL"),
        ({"node": "x", "mail": "off", "database_url": ""}, "POSTROOM_NODE needs POSTROOM_MAIL=on"),
        ({"node": "unknown", "database_url": ""}, "postroom nodes add unknown"),
        ({"mail": "off", "database_url": ""}, "set POSTROOM_NODE"),
        ({"node": "ber", "database_url": ""}, "another data directory"),
    ],
)
def test_it_refuses_to_start(cluster: Cluster, settings: dict[str, str], said: str) -> None:
    if "database_url" in settings:
        settings = settings | {"database_url": cluster.machines[0].service.database_url}
    with Service.new(**settings) as service:
        service.launch()
        assert service.process
        assert service.process.wait(60) == 2
        assert said in service.said()


def test_a_script_sees_the_address_and_a_message_arrives_once_through_any_node(cluster: Cluster, box: Mailbox) -> None:
    """The node that accepts the mail knows the address. The node that runs the script knows only
    the account."""
    other, script = cluster.other(box), b'require ["envelope", "fileinto", "mailbox", "variables"];\n'
    script += b'if envelope :matches "to" "*" { fileinto :create "for ${1}"; }\n'
    clients.put_script(other.address, other.port("sieve_port"), box.address, box.password, script)
    local_part, _, domain = box.address.partition("@")
    spelled = [f"{local_part}+Tag@{domain}", f"{local_part.upper()}@{domain}", box.address]
    source = (clients.own_address(), 0)
    with smtplib.SMTP(other.address, other.port("smtp_port"), "client.example", 60, source) as client:
        sender = "someone@elsewhere.example"
        with cluster.home(box).imap(box) as imap:
            client.send_message(clients.message(sender, box.address, "once"), sender, spelled)

            def copies() -> int:
                """Postfix delivers the recipients in any order, and the first one gets the copy."""
                found = [imap.select(f'"for {each}"', readonly=True) for each in spelled]
                return sum(int(number or 0) for ok, (number,) in found if ok == "OK")

            wait_for("the copy", lambda: copies() == 1)
            client.send_message(clients.message(sender, box.address, "last"), sender, [box.address])
            last = f'"for {box.address}"'
            wait_for(
                "the last",
                lambda: (
                    imap.select(last, readonly=True)[0] == "OK" and imap.search(None, "SUBJECT", "last")[1] != [b""]
                ),
            )
            assert copies() == 2


def test_an_internationalized_domain_logs_in_through_any_node(cluster: Cluster) -> None:
    platform = Platform.new(cluster.machines[0].service)
    platform.new_domain(f"xn--bcher-kva.{platform.domain}")
    body = {"domain": f"bücher.{platform.domain}", "local_part": "billing", "user_id": "u"}
    made = platform.call("POST", "/v2/email-accounts/create", body)
    for machine in cluster.machines:
        imap = Imap(machine.address, machine.port("imaps_port"), ssl_context=clients.tls())
        imap.send(f'a LOGIN "billing@BÜCHER.{platform.domain}" "{made["password"]}"\r\n'.encode())
        answer = imap.readline()
        while answer.startswith(b"*"):
            answer = imap.readline()
        assert answer.startswith(b"a OK")
        imap.shutdown()
