"""Every node reads the messages of every account, over a port that only the nodes can use."""

import json
import socket
import ssl
from contextlib import closing

from postroom.mailplane import node_pair
from postroom.mailplane.dovecot import maildir
from tests.cluster.cluster import Cluster, Machine
from tests.cluster.moves import hold, is_over, start_move
from tests.harness.service import wait_for
from tests.mail.following import following, is_of
from tests.mail.platform import Mailbox, Platform
from tests.mail.reading import change, get, listed, read
from tests.mail.test_message_sync import synced


def seen_from(machine: Machine, box: Mailbox) -> Mailbox:
    """The account, asked about through this machine's API."""
    platform = box.platform
    there = Platform(machine.service, platform.organization, platform.domain, platform.key)
    return Mailbox(there, box.id, box.address, box.password)


def test_it_works(cluster: Cluster, box: Mailbox) -> None:
    content = b"Subject: x\r\n\r\n" + bytes(range(1, 256)).replace(b"\n", b"").replace(b"\r", b"") + b"\r\n"
    cluster.home(box).deliver(box, "hello")
    wait_for("the message", lambda: listed(seen_from(cluster.home(box), box)))
    with cluster.home(box).imap(box) as imap:
        imap.append("INBOX", "", "", content)
    answers = []
    for machine in cluster.machines:
        there = seen_from(machine, box)
        items = listed(there)
        raw = get(there, f"messages/{items[0]['id']}/raw")
        mailboxes = [{**one, "highestmodseq": 0} for one in read(there, "mailboxes")["items"]]
        answers.append((items, raw[:2], mailboxes))
    assert answers[0][1] == (200, content)
    assert answers == [answers[0]] * len(cluster.machines)


def test_a_large_message(cluster: Cluster, box: Mailbox) -> None:
    content = b"Subject: large\r\n\r\n" + (b"x" * 76 + b"\r\n") * 600
    with cluster.home(box).imap(box) as imap:
        assert imap.append("INBOX", "", "", content)[0] == "OK"
    there = seen_from(cluster.other(box), box)
    (item,) = listed(there)
    assert get(there, f"messages/{item['id']}/raw")[:2] == (200, content)


def test_every_node_changes_syncs_and_follows(cluster: Cluster, box: Mailbox) -> None:
    """A stream goes on at another node after the id of the last event."""
    with cluster.home(box).imap(box) as imap:
        imap.append("INBOX", "", "", b"Subject: x\r\n\r\nx\r\n")
    last_id, number = "", 1
    for machine in cluster.machines:
        there = seen_from(machine, box)
        token = synced(there)["token"]
        with following(there, last_id) as stream:
            with cluster.home(box).imap(box) as imap:
                imap.append("INBOX", "", "", b"Subject: x\r\n\r\nx\r\n")
            number += 1
            stream.wait_for(is_of("INBOX", "added"))
            assert bool(last_id) == (len(stream.events) == 1)
        last_id = stream.last_id
        now = synced(there, uidvalidity=synced(there)["uidvalidity"], token=token)
        assert now["changes"]["added"] == [{"uid": number}]
        item = listed(there)[0]
        assert change(there, "PUT", f"messages/{item['id']}", {"flags": {"seen": True}})[0] == 200
        assert listed(seen_from(cluster.home(box), box))[0]["flags"] == ["\\Seen"]
        assert change(there, "POST", "messages/delete", {"ids": [item["id"]]})[1]["deleted"]
        with following(there, last_id) as stream:
            stream.wait_for(is_of("INBOX", "removed"))
            stream.wait_for(lambda event: event["mailbox"] == "Trash")
        last_id = stream.last_id


def test_each_node_takes_a_mail_token(cluster: Cluster, box: Mailbox) -> None:
    """A token of one node opens the mail at every node, until a reset at another."""
    with cluster.home(box).imap(box) as imap:
        imap.append("INBOX", "", "", b"Subject: x\r\n\r\nx\r\n")
    here, other = seen_from(cluster.home(box), box), seen_from(cluster.other(box), box)
    body = {"user_id": "user_123", "account_id": box.id}
    for maker in (here, other):
        token = maker.platform.call("POST", "/v2/mail-tokens", body)["token"]
        for asked in (here, other):
            status, message, _ = get(asked, "/mail/message?uid=1", token)
            assert (status, json.loads(message)["rfc822"]) == (200, "Subject: x\r\n\r\nx\r\n")
        other.reset()
        assert [get(asked, "/mail/message?uid=1", token)[0] for asked in (here, other)] == [401, 401]


def test_each_node_sends(cluster: Cluster, box: Mailbox) -> None:
    """The node that is asked sends; the copy goes to the account's home."""
    ids = []
    for number, machine in enumerate(cluster.machines):
        platform = seen_from(machine, box).platform
        body = {"to": [box.address], "subject": f"sent {number}", "text": "hi"}
        sent = platform.call("POST", f"/v2/email-accounts/{box.id}/messages/send", body)["message"]
        assert sent["sent_copy"] == "saved"
        ids.append(sent["id"])
    here = seen_from(cluster.home(box), box)
    assert [item["id"] for item in listed(here, "?mailbox=Sent")] == ids[::-1]
    wait_for("the messages", lambda: len(listed(here)) == len(ids))
    wait_for("each status", lambda: len(read(here, "sent")["items"]) == len(ids))
    assert {item["status"] for item in read(here, "sent")["items"]} == {"delivered"}


def test_a_mailbox_that_is_being_moved(cluster: Cluster, box: Mailbox) -> None:
    """While a mailbox is sealed, nothing is changed in it, not even by sessions that are open.
    Afterwards every node changes it again."""
    home, boxes = cluster.home(box), [seen_from(machine, box) for machine in cluster.machines]
    home.deliver(box, "hello")
    (item,) = wait_for("the message", lambda: listed(boxes[0]))
    path = f"messages/{item['id']}"
    for there in boxes:  # opens sessions
        assert change(there, "PUT", path, {"flags": {"seen": False}})[0] == 200
    hold(box)
    start_move(box, home, cluster.other(box), "frozen")
    maildir.seal(home.service.data / "mail", box.id)
    for there in boxes:
        assert change(there, "PUT", path, {"flags": {"seen": True}})[0] == 503
        assert change(there, "POST", "messages/delete", {"ids": [item["id"]]})[0] == 503
    assert cluster.run("accounts", "cancel-move", str(box.id)).returncode == 0
    wait_for("the end", lambda: is_over(box))
    for there in boxes:
        assert [(one["id"], one["flags"]) for one in listed(there)] == [(item["id"], [])]
        assert change(there, "PUT", path, {"flags": {"seen": True}})[0] == 200
        assert change(there, "PUT", path, {"flags": {"seen": False}})[0] == 200


def test_only_nodes_are_served(cluster: Cluster, box: Mailbox) -> None:
    """No certificate, one that is no node's, one of a node's name: nobody gets a session."""
    home = cluster.home(box)
    forged = node_pair.new(f"{home.name}.node.internal", home.address)
    for pair in (None, forged):
        assert not _greeting(home, box, pair)


def _greeting(home: Machine, box: Mailbox, pair: node_pair.Pair | None) -> bytes:
    """What the port for IMAP sessions says to a client with this certificate."""
    context = ssl.create_default_context(cafile=str(home.service.data / "tls" / "nodes.pem"))
    if pair:
        file = home.service.data.parent / "forged.pem"
        file.write_text(pair.pem)
        context.load_cert_chain(file)
    try:
        plain = socket.create_connection((home.address, home.own_port + 3), 60)
        with closing(context.wrap_socket(plain, server_hostname=f"{home.name}.node.internal")) as client:
            client.sendall(b"%d\n" % box.id)
            return client.recv(4096)
    except ssl.SSLError:
        return b""
    except ConnectionError:
        return b""
