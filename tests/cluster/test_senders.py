"""Several nodes: the sender is checked wherever mail leaves, also if a script runs on one node and
its target is on another."""

import smtplib
from email import message_from_bytes

import pytest

from tests.cluster.cluster import Cluster
from tests.mail import clients
from tests.mail.platform import Mailbox, Platform


def put_script(cluster: Cluster, box: Mailbox, script: str) -> None:
    home = cluster.home(box)
    clients.put_script(home.address, home.port("sieve_port"), box.address, box.password, script.encode())


def elsewhere(cluster: Cluster, platform: Platform, box: Mailbox) -> Mailbox:
    """Returns a mailbox on another node. New accounts go to the node with the fewest accounts."""
    for number in range(10):
        found = platform.create(f"far{box.id}x{number}")
        if cluster.home(found) is not cluster.home(box):
            return found
    raise AssertionError("every account is on one machine")


def test_submission_on_every_machine_refuses_another(cluster: Cluster, box: Mailbox, platform: Platform) -> None:
    other = platform.create(f"victim{box.id}")
    for machine in cluster.machines:
        raw = clients.message(other.address, box.address, "forged").as_bytes()
        with (
            machine.submission(box) as client,
            pytest.raises(smtplib.SMTPDataError, match="From must be your own address"),
        ):
            client.sendmail(box.address, [box.address], raw)


def test_replies_and_forwards_cross_machines(cluster: Cluster, box: Mailbox, platform: Platform) -> None:
    far = elsewhere(cluster, platform, box)
    rules = f'redirect :copy "{far.address}"; vacation :subject "away" "x";'
    put_script(cluster, box, f'require ["vacation", "copy"]; {rules}')
    with cluster.other(box).submission(far) as client:
        client.send_message(clients.message(far.address, box.address, "question"), far.address, [box.address])
    with cluster.home(far).imap(far) as imap:
        reply = message_from_bytes(imap.wait_for("away"))
        assert f"d={platform.domain};" in reply["DKIM-Signature"]
        assert message_from_bytes(imap.wait_for("question"))["Return-Path"] == f"<{box.address}>"


def test_the_largest_message_is_forwarded(cluster: Cluster, box: Mailbox, platform: Platform) -> None:
    """Each server in transit has added a header field. A refusal would delay all mail of the
    script's owner."""
    far = elsewhere(cluster, platform, box)
    put_script(cluster, box, f'redirect "{far.address}";')
    subject = cluster.home(box).deliver_largest(box)
    with cluster.home(far).imap(far) as imap:
        imap.wait_for(subject)


def test_a_forged_forward_stays_in_the_inbox(cluster: Cluster, box: Mailbox, platform: Platform) -> None:
    far = elsewhere(cluster, platform, box)
    put_script(cluster, box, f'require "vacation"; redirect "{far.address}"; vacation :from "{far.address}" "x";')
    cluster.other(box).deliver(box, "honest")
    with cluster.home(far).imap(far) as imap:
        imap.wait_for("honest")
    machine = cluster.other(box)
    raw = clients.message(f"ceo@{platform.domain}", box.address, "forged")
    with smtplib.SMTP(machine.address, machine.port("smtp_port"), "client.example", 60) as client:
        client.send_message(raw, "evil@elsewhere.example", [box.address])
    with cluster.home(box).imap(box) as imap:
        assert imap.wait_for("forged")
    with cluster.home(far).imap(far) as imap:
        assert imap.subjects() == ["honest"]
