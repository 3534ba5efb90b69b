"""Trust between nodes: each has its own key, which is on no other node and in no table. Its
certificate is trusted exactly while it is in the database, and is renewed in time."""

import re
import smtplib
import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from postroom.cluster import node_trust
from postroom.mailplane import node_pair
from postroom.mailplane.node_pair import Pair
from tests.cluster.cluster import Cluster, Machine
from tests.harness.service import wait_for
from tests.mail import clients
from tests.mail.handshakes import GOOD, WEAK, taken
from tests.mail.platform import Mailbox, Platform

FOREIGN = "127.0.0.9"


def is_believed(machine: Machine, pair: Pair, folder: Path) -> bool:
    """Returns whether a node accepts mail from a client with this certificate and key, or says only
    that the mailbox is elsewhere."""
    file = folder / "tried.pem"
    file.write_text(pair.pem)
    context = clients.tls()
    try:
        context.load_cert_chain(file)
        with smtplib.SMTP(machine.address, machine.own_port, "client.example", 60) as client:
            client.starttls(context=context)
            client.ehlo()
            client.mail("someone@elsewhere.example")
            code, text = client.rcpt("1@acct.internal")
            return code == 250 or b"on another node" in text
    except (OSError, smtplib.SMTPException):
        return False


def shown(machine: Machine) -> x509.Certificate:
    """Returns the certificate that a node shows to a node that delivers mail."""
    client = smtplib.SMTP(machine.address, machine.own_port, "client.example", 60)
    client.starttls(context=clients.tls())
    assert isinstance(client.sock, ssl.SSLSocket)
    found = client.sock.getpeercert(binary_form=True)
    client.close()
    assert found
    return x509.load_der_x509_certificate(found)


def _signed_by(pair: Pair) -> Pair:
    """Returns a certificate for another node that is signed with this node's key, together with
    this node's certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    issuer, signer = x509.load_pem_x509_certificate(pair.certificate.encode()), pair.key.encode()
    now, name = datetime.now(UTC), "ams.node.internal"
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(serialization.load_pem_private_key(signer, None), hashes.SHA256())  # type: ignore[arg-type]
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Pair(made.public_bytes(serialization.Encoding.PEM).decode() + pair.certificate, pem.decode())


def keys(machine: Machine) -> set[str]:
    return {path.read_text() for path in (machine.service.data / "db").glob("node*.pem")}


def test_each_machine_has_a_key_of_its_own(cluster: Cluster, platform: Platform) -> None:
    """The certificate is valid for one year at most and only for the node's own name. The key is in
    a file that others cannot read."""
    for machine in cluster.machines:
        found = shown(machine)
        assert found.not_valid_after_utc - found.not_valid_before_utc < timedelta(days=366)
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"{machine.name}.node.internal"]
        assert not found.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        for path in (machine.service.data / "db").glob("node*"):
            assert path.stat().st_mode & 0o077 == 0 or path.name == "node"
    assert len(set.union(*map(keys, cluster.machines))) == len(cluster.machines)
    dumped = platform.sql("SELECT table_name FROM information_schema.columns WHERE column_name LIKE '%private%'")
    assert {table for (table,) in dumped} <= {"dkim_keys", "mail_signing_keys"}


def test_a_machine_that_is_removed_is_believed_no_more(cluster: Cluster, platform: Platform, tmp_path: Path) -> None:
    """Nodes are trusted from the moment of their addition until their removal, on every node and
    without a restart."""
    pair = node_pair.new("dan.node.internal", FOREIGN)
    assert not any(is_believed(machine, pair, tmp_path) for machine in cluster.machines)
    assert cluster.run("nodes", "add", "dan", FOREIGN).returncode == 0
    platform.sql(
        "INSERT INTO node_certificates (node_id, certificate, created_at) SELECT id, :pem, 1 FROM nodes"
        " WHERE name = 'dan' RETURNING id",
        pem=pair.certificate,
    )
    cluster.wait_for_trust()
    ((sealed,),) = platform.sql("SELECT secret FROM node_certificates WHERE certificate = :pem", pem=pair.certificate)
    secret = node_pair.open_sealed(sealed, pair.key)
    for machine in cluster.machines:
        wait_for("its own Postfix", lambda machine=machine: is_believed(machine, pair, tmp_path))  # type: ignore[misc]
        assert (machine.service.data / "run" / "doveadm.key").read_text().strip() == secret
        assert not is_believed(machine, _signed_by(pair), tmp_path), "no certificate may sign another"
    assert cluster.run("nodes", "drain", "dan").returncode == 0
    assert cluster.run("nodes", "remove", "dan").returncode == 0
    cluster.wait_for_trust()
    for machine in cluster.machines:
        wait_for("the end of the trust", lambda machine=machine: not is_believed(machine, pair, tmp_path))  # type: ignore[misc]
        assert (machine.service.data / "run" / "doveadm.key").read_text().strip() != secret


def test_the_machines_understand_each_other_after_it(cluster: Cluster, box: Mailbox) -> None:
    """The secret was renewed while the nodes ran. One node can still end a session on another."""
    cluster.wait_for_trust()
    there = Platform(cluster.other(box).service, "", "", box.platform.key)
    imap = cluster.home(box).imap(box)
    answer = there.call("POST", f"/v2/email-accounts/{box.id}/password/reset?fields=sessions_ended", {})
    assert answer["account"]["sessions_ended"] is True
    assert not imap.is_open()


@pytest.mark.parametrize(
    "make",
    [
        lambda: node_pair.new("ams.node.internal", FOREIGN),
        lambda: node_pair.new("eve.node.internal", "127.0.0.2"),
        lambda: node_pair.new("eve.node.internal", FOREIGN, timedelta(days=800)),
        lambda: Pair(
            "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", node_pair.new("eve", FOREIGN).key
        ),
    ],
    ids=["another name", "another address", "a long life", "no certificate"],
)
def test_a_certificate_that_is_not_its_nodes_own(
    cluster: Cluster, platform: Platform, tmp_path: Path, make: Callable[[], Pair]
) -> None:
    """Even if it is in the database, no node trusts it."""
    pair = make()
    assert cluster.run("nodes", "add", "eve", FOREIGN).returncode == 0
    try:
        platform.sql(
            "INSERT INTO node_certificates (node_id, certificate, created_at) SELECT id, :pem, 1 FROM nodes"
            " WHERE name = 'eve' RETURNING id",
            pem=pair.certificate,
        )
        newest = "SELECT MIN(trusts) = (SELECT MAX(id) FROM node_certificates) FROM nodes WHERE trusts > 0"
        wait_for("all nodes to see the certificate", lambda: platform.sql(newest)[0][0])
        for machine in cluster.machines:
            assert pair.certificate not in (machine.service.data / "tls" / "nodes.pem").read_text()
            assert not is_believed(machine, pair, tmp_path)
    finally:
        assert cluster.run("nodes", "drain", "eve").returncode == 0
        assert cluster.run("nodes", "remove", "eve").returncode == 0
        cluster.wait_for_trust()


def test_a_certificate_is_renewed_while_the_machine_runs(cluster: Cluster, box: Mailbox, tmp_path: Path) -> None:
    """A certificate that ends soon is replaced before its end. Mail and logins pass in both
    directions all the time."""
    home, other = cluster.home(box), cluster.other(box)
    data = home.service.data
    lost = node_pair.read((data / "db" / "node.pem").read_text())
    assert home.service.stop() == 0
    short = node_pair.new(f"{home.name}.node.internal", home.address, timedelta(days=20))
    owner = (data / "db" / "node.pem").owner()
    (data / "db" / "node.pem").write_text(short.pem)
    home.service.launch()
    assert home.service.process
    assert home.service.process.wait(60) == 2
    assert "a key that is not in its data directory" in home.service.said()
    added = home.service.run("nodes", "add", home.name, home.address, "--port", str(home.own_port))
    assert added.returncode == 0
    assert (data / "db" / "node.pem").owner() == owner
    home.service.start()
    pid = home.service.pid("dovecot")
    soon = datetime.now(UTC) + node_pair.RENEW_BEFORE
    wait_for("another certificate", lambda: shown(home).not_valid_after_utc > soon)
    assert home.service.pid("dovecot") == pid
    cluster.wait_for_trust()
    wait_for("one certificate", lambda: len(box.platform.sql("SELECT id FROM node_certificates")) == 3)
    cluster.wait_for_trust()
    wait_for("the end of the old certificates", lambda: not is_believed(other, short, tmp_path))
    assert not is_believed(other, lost, tmp_path)
    assert is_believed(other, node_pair.read((data / "db" / "node.pem").read_text()), tmp_path)
    other.deliver(box, "after the renewal")
    with other.imap(box) as imap:
        imap.wait_for("after the renewal")
    there = Platform(other.service, "", "", box.platform.key)
    answer = there.call("POST", f"/v2/email-accounts/{box.id}/sessions/end?fields=sessions_ended", {})
    assert answer["account"]["sessions_ended"] is True


def test_mail_goes_to_the_machine_of_that_name_alone(cluster: Cluster, box: Mailbox) -> None:
    """The certificate of another node is not enough, although it is trusted for that node."""
    cluster.wait_for_trust()
    home, other = cluster.home(box), cluster.other(box)
    (third,) = (machine for machine in cluster.machines if machine not in (home, other))
    table = other.service.data / "postfix" / "nodes"
    said = table.read_text()
    assert re.search(rf"^\[{re.escape(home.address)}\]:{home.own_port} verify match={home.name}\.node\.", said, re.M)
    table.write_text(said.replace(f"match={home.name}.", f"match={third.name}."))
    try:
        _reload(other)
        other.deliver(box, "for that machine alone")
        log = other.service.data / "log" / "postfix.log"
        refused = re.compile(r"status=deferred \(Server certificate not verified")
        wait_for("the refusal", lambda: refused.search(log.read_text()))
        with home.imap(box) as imap:
            assert imap.subjects() == []
    finally:
        table.write_text(said)
        _reload(other)
    other.flush()
    with home.imap(box) as imap:
        imap.wait_for("for that machine alone")


def _reload(machine: Machine) -> None:
    subprocess.run(["postfix", "-c", machine.service.data / "postfix", "reload"], check=True, capture_output=True)


@pytest.mark.parametrize("number", range(3))
def test_between_the_machines_nothing_weak_is_taken(cluster: Cluster, number: int) -> None:
    machine, protocol = cluster.machines[0], "" if number else "smtp"
    port = machine.own_port + number
    assert [name for name, offer in GOOD.items() if not taken(machine.address, port, protocol, offer)] == []
    assert [name for name, offer in WEAK.items() if taken(machine.address, port, protocol, offer)] == []


def test_the_rows_are_whole(platform: Platform) -> None:
    """The module's statements return the content of the table."""
    rows = platform.sql(node_trust.ALL)
    assert len({secret for *_, secret in rows}) == len(rows), "each node has its own sealed secret"
