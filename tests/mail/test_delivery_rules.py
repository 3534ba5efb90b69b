"""Forwarding and vacation, set over HTTP: in force for the next message, and what they leave
alone."""

from dataclasses import replace
from email import message_from_bytes
from typing import Any

from postroom.accounts import delivery_scripts
from postroom.accounts.delivery_rules import Forwarding, Vacation
from postroom.accounts.delivery_scripts import MOST_ADDRESSES
from postroom.accounts.vacation import LONGEST_TEXT
from tests.harness import mail_queue
from tests.harness.service import wait_for
from tests.mail.clients import message, smtp, submission
from tests.mail.platform import Mailbox, nothing_came
from tests.mail.test_aliases import alias


def forward(box: Mailbox, *targets: str, keep_copy: bool = True, enabled: bool = True) -> None:
    body = {"enabled": enabled, "to": list(targets), "keep_copy": keep_copy}
    box.platform.call("PUT", f"/v2/email-accounts/{box.id}/forwarding", body)


def away(box: Mailbox, text: str = "I am away.", **fields: Any) -> None:
    box.platform.call("PUT", f"/v2/email-accounts/{box.id}/vacation", {"enabled": True, "text": text, **fields})


def send(box: Mailbox, sender: Mailbox | None, **headers: str) -> None:
    """Sends a message with these header fields: from a mailbox, or from outside as a bounce."""
    made = message(sender.address if sender else "mailer@elsewhere.example", headers.pop("To", box.address), "")
    del made["Subject"]
    for name, value in headers.items():
        made[name.replace("_", "-")] = value
    service = box.platform.service
    with submission(service, sender.address, sender.password) if sender else smtp(service) as client:
        client.send_message(made, sender.address if sender else "", [box.address])


def test_it_works(alice: Mailbox, target: Mailbox) -> None:
    """Each change is in force for the next message after the answer."""
    for number in range(3):
        forward(alice, target.address)
        alice.receive(f"with a copy {number}")
        found = message_from_bytes(target.wait_for(f"with a copy {number}"))
        assert found["Return-Path"] == f"<{alice.address}>"
        assert found["From"] == "someone@elsewhere.example"
        assert alice.wait_for(f"with a copy {number}")
        forward(alice, target.address, keep_copy=False)
        alice.receive(f"without {number}")
        assert target.wait_for(f"without {number}")
        forward(alice, target.address, enabled=False)
        alice.receive(f"off {number}")
        assert alice.wait_for(f"off {number}")
    assert [len(box.subjects()) for box in (alice, target)] == [6, 6]


def test_the_first_mail_of_an_account_is_noted(alice: Mailbox, target: Mailbox) -> None:
    """Dovecot notes what it forwarded in the account's folder. A delivery that is tried again does
    not forward twice."""
    forward(alice, target.address, keep_copy=False)
    alice.receive("the first")
    assert target.wait_for("the first")
    noted = alice.home / ".dovecot.lda-dupes"
    wait_for("the note", lambda: noted.exists() and noted.stat().st_size)
    log = (alice.platform.service.data / "log" / "dovecot.log").read_text()
    assert not [line for line in log.splitlines() if f"lmtp({alice.id}@" in line and "Error" in line]


def test_a_vacation(alice: Mailbox, bob: Mailbox) -> None:
    away(alice, 'Away "until" Monday.\n${1} \\ Grüße', subject="Not here")
    bob.send(alice.address, "question")
    reply = message_from_bytes(bob.wait_for("Not here"))
    assert reply["From"] == f"<{alice.address}>"
    assert reply["Return-Path"] == "<>"
    assert reply["DKIM-Signature"]
    assert reply["Auto-Submitted"].startswith("auto-replied")
    text = reply.get_payload(decode=True)
    assert isinstance(text, bytes)
    assert text.decode().splitlines() == ['Away "until" Monday.', "${1} \\ Grüße"]
    assert alice.wait_for("question")


def test_who_gets_no_reply(alice: Mailbox, bob: Mailbox) -> None:
    """Lists, bulk, robots, and mail that does not name the account; and a second message within the
    days."""
    away(alice)
    send(alice, bob, Subject="list", List_Id="<l.elsewhere.example>")
    send(alice, bob, Subject="bulk", Precedence="bulk")
    send(alice, bob, Subject="robot", Auto_Submitted="auto-generated")
    send(alice, bob, Subject="blind", To="others@elsewhere.example")
    for subject in ("list", "bulk", "robot", "blind"):
        assert alice.wait_for(subject)
    bob.send(alice.address.replace("@", "+tag@"), "tagged")
    assert bob.wait_for("Auto: tagged")
    bob.send(alice.address, "again")
    assert alice.wait_for("again")
    assert nothing_came(bob, alice) == ["Auto: tagged"]


def test_the_window_of_a_vacation(alice: Mailbox, bob: Mailbox) -> None:
    away(alice, "later", from_at="2199-01-01T00:00:00Z")
    bob.send(alice.address, "early")
    assert alice.wait_for("early")
    away(alice, "over", until_at="2020-01-01T00:00:00Z")
    bob.send(alice.address, "late")
    assert alice.wait_for("late")
    away(alice, "now", from_at="2020-01-01T00:00:00+02:00", until_at="2199-01-01T00:00:00Z")
    bob.send(alice.address, "in time")
    assert b"now" in bob.wait_for("Auto: in time")
    assert nothing_came(bob, alice) == ["Auto: in time"]


def test_a_bounce_is_kept(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    """A bounce is not forwarded, although no copy is to stay. A field that every sender may write
    keeps nothing back."""
    forward(alice, target.address, keep_copy=False)
    send(alice, None, Subject="bounce")
    assert alice.wait_for("bounce")
    send(alice, bob, Subject="claimed", X_Spam="Yes")
    assert target.wait_for("claimed")
    assert [box.subjects() for box in (alice, target)] == [["bounce"], ["claimed"]]


def test_two_that_forward_to_each_other_keep_the_mail(alice: Mailbox, bob: Mailbox) -> None:
    for box, other in ((alice, bob), (bob, alice)):
        forward(box, other.address.replace("@", "+x@"), keep_copy=False)
    alice.receive("round")
    assert alice.wait_for("round")
    wait_for("an empty queue", lambda: mail_queue.queued(alice.platform.service) == "")
    assert [box.subjects() for box in (alice, bob)] == [["round"], []]


def test_no_rule_of_a_suspended_account(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    forward(alice, target.address, keep_copy=False)
    away(alice)
    alice.update(status="suspended")
    bob.send(alice.address, "stopped")
    wait_for("an empty queue", lambda: mail_queue.queued(alice.platform.service) == "")
    alice.update(status="active")
    assert alice.subjects() == ["stopped"]
    bob.send(alice.address, "runs")
    assert target.wait_for("runs")
    assert bob.wait_for("Auto: runs")
    assert nothing_came(target, bob) == ["runs"]


def test_several_spellings_of_an_address_are_forwarded_once(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    forward(alice, target.address)
    made = message(bob.address, alice.address, "spelled")
    spelled = [alice.address.replace("@", f"{tag}@") for tag in ("", "+x", "+y")]
    with submission(alice.platform.service, bob.address, bob.password) as client:
        client.send_message(made, bob.address, spelled)
    assert target.wait_for("spelled")
    wait_for("an empty queue", lambda: mail_queue.queued(alice.platform.service) == "")
    assert target.subjects() == alice.subjects() == ["spelled"]


def test_a_restored_account_keeps_its_rules(alice: Mailbox, target: Mailbox) -> None:
    forward(alice, target.address)
    alice.delete()
    alice.platform.call("POST", f"/v2/email-accounts/{alice.id}/restore", {})
    alice.receive("restored")
    assert target.wait_for("restored")


def test_the_most_targets_and_a_script_of_the_owner(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    """Ten targets of the rule, and after it the owner's own script with a filter, a reply and four
    more."""
    own = "".join(f'redirect :copy "{target.address.replace("@", f"+own{n}@")}";' for n in range(4))
    script = f'require ["copy", "fileinto", "mailbox", "vacation"]; vacation "mine"; {own} fileinto :create "Filed";'
    alice.put_script(script.encode())
    forward(alice, *(target.address.replace("@", f"+{n}@") for n in range(10)))
    away(alice, "the rule's")
    bob.send(alice.address, "many")
    wait_for("all copies", lambda: target.subjects().count("many") == 14)
    assert b"the rule's" in bob.wait_for("Auto: many")
    with alice.login() as imap:
        assert imap.select("Filed", readonly=True) == ("OK", [b"1"])


def test_the_largest_script(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    """With as many addresses as a script may have, runs on each Dovecot."""
    platform = alice.platform
    names = [f"{number:064}@{platform.domain}" for number in range(MOST_ADDRESSES // 74)]
    text = '\\"\n' * (LONGEST_TEXT // 3)
    forwarding = Forwarding(True, tuple(target.address.replace("@", f"+{'x' * 50}{n}@") for n in range(10)))
    away(alice)
    script = delivery_scripts.compose([alice.address, *names], forwarding, Vacation(True, text=text))
    sql = "UPDATE delivery_scripts SET script = :script WHERE account_id = :id RETURNING account_id"
    assert platform.sql(sql, script=script, id=alice.id)
    bob.send(alice.address, "large")
    assert bob.wait_for("Auto: large")
    wait_for("all copies", lambda: target.subjects().count("large") == 10)


def test_a_long_line_of_a_reply_is_broken(alice: Mailbox, bob: Mailbox) -> None:
    away(alice, "ü" * 3000 + " " + "word " * 600)
    bob.send(alice.address, "long")
    raw = bob.wait_for("Auto: long")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert raw.decode().count("ü") == 3000


def test_each_own_address_of_an_account_is_answered(alice: Mailbox, bob: Mailbox, target: Mailbox) -> None:
    """An alias and a former address are, by this address, from the message after the change on. A
    group, a catch-all, an alias that may not send and one that has ended are not."""
    platform = alice.platform
    away(alice)
    sales = alias(platform, "sales", alice, user_id="a")
    bob.send(sales["address"], "to the alias")
    assert message_from_bytes(bob.wait_for("Auto: to the alias"))["From"] == f"<{sales['address']}>"
    alice.update(local_part="alicia")
    alicia = replace(alice, address=f"alicia@{platform.domain}")
    target.send(alice.address, "to the former address")
    assert message_from_bytes(target.wait_for("Auto: to the former address"))["From"] == f"<{alice.address}>"
    carol, dave = platform.create("carol", user_id="c"), platform.create("dave", user_id="a")
    carol.send(alias(platform, "team", alicia, dave, user_id="a")["address"], "to the group")
    alias(platform, "*", alicia, user_id="a")
    carol.send(f"nobody@{platform.domain}", "to the catch-all")
    carol.send(alias(platform, "mute", alicia, user_id="a", may_send=False)["address"], "to the mute alias")
    platform.call("POST", "/v2/email-aliases/delete", {"id": sales["id"]})
    send(alicia, carol, To=sales["address"], Subject="to the deleted alias")
    for subject in ("to the group", "to the catch-all", "to the mute alias", "to the deleted alias"):
        assert alicia.wait_for(subject)
    carol.send(alicia.address, "to the present address")
    assert carol.wait_for("Auto: to the present address")
    assert nothing_came(carol, alicia) == ["Auto: to the present address"]
