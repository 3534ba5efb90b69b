"""Several nodes: a full mailbox is full on every node, also while and after it moves."""

import smtplib

from tests.cluster.cluster import Cluster, Machine
from tests.cluster.moves import move
from tests.harness.service import wait_for
from tests.mail import clients
from tests.mail.platform import Mailbox

FULL = (552, "The mailbox is full")


def refuses(machine: Machine, box: Mailbox) -> bool:
    source = (clients.own_address(), 0)
    with smtplib.SMTP(machine.address, machine.port("smtp_port"), "client.example", 60, source) as client:
        client.ehlo()
        client.mail("someone@elsewhere.example")
        code, text = client.rcpt(box.address)
    assert code == 250 or (code, text.decode().rpartition(": ")[2]) == FULL, text
    return code == 552


def test_it_works(cluster: Cluster, box: Mailbox) -> None:
    home, other = cluster.home(box), cluster.other(box)
    box.update(quota_messages=2)
    home.deliver(box, "one")
    other.deliver(box, "two")
    with home.imap(box) as imap:
        imap.wait_for("two")
    wait_for("a full mailbox", lambda: all(refuses(machine, box) for machine in cluster.machines))
    box.update(quota_messages=1)  # fuller than full: the move copies all of it
    move(cluster, box, other)
    assert all(refuses(machine, box) for machine in cluster.machines)
    with other.imap(box) as imap:
        assert sorted(imap.subjects()) == ["one", "two"]
        imap.select("INBOX")
        imap.store("1:2", "+FLAGS", r"(\Deleted)")
        imap.expunge()
    wait_for("room in the mailbox", lambda: not any(refuses(machine, box) for machine in cluster.machines))
    home.deliver(box, "three")
    with other.imap(box) as imap:
        imap.wait_for("three")
