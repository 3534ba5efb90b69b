"""A forward by a script is visible in the API, and a reset with `disable_scripts` stops the script
until the owner activates one."""

from typing import Any

from tests.mail.platform import Mailbox, Platform


def usage(mailbox: Mailbox) -> Any:
    return mailbox.platform.call("GET", f"/v2/email-accounts/{mailbox.id}/usage", None)


def reset(mailbox: Mailbox, **fields: Any) -> Mailbox:
    answer = mailbox.platform.call("POST", f"/v2/email-accounts/{mailbox.id}/password/reset", fields)
    return Mailbox(mailbox.platform, mailbox.id, mailbox.address, answer["password"])


def test_forwarding_ends_with_a_reset_that_stops_scripts(platform: Platform) -> None:
    alice, thief, writer = platform.create("alice"), platform.create("thief"), platform.create("writer")
    assert usage(alice)["forwards_by_script"] is False
    alice.put_script(f'redirect "{thief.address}";\n'.encode())
    assert usage(alice)["forwards_by_script"] is True
    alice = reset(alice)
    writer.send(alice.address, "one")
    assert thief.wait_for("one"), "a plain reset leaves the script as it is"
    assert usage(alice)["forwards_by_script"] is True
    alice = reset(alice, disable_scripts=True)
    writer.send(alice.address, "two")
    assert alice.wait_for("two")
    assert usage(alice)["forwards_by_script"] is False
    alice.put_script(f'require "copy";\nredirect :copy "{writer.address}";\n'.encode())
    thief.send(alice.address, "three")
    assert alice.wait_for("three")
    assert writer.wait_for("three"), "the owner has activated a script"
    assert usage(alice)["forwards_by_script"] is True
    alice = reset(alice, disable_scripts=True)
    thief.send(alice.address, "four")
    assert alice.wait_for("four")
    assert writer.subjects() == ["three"]
    assert thief.subjects() == ["one"]


def test_who_is_suspended_forwards_nothing(platform: Platform) -> None:
    alice = platform.create("alice")
    alice.put_script(b'if false { redirect "someone@elsewhere.example"; }\n')
    assert usage(alice)["forwards_by_script"] is True
    alice.update(status="suspended")
    assert usage(alice)["forwards_by_script"] is False


def test_an_empty_script_forwards_nothing(platform: Platform) -> None:
    alice = platform.create("alice")
    alice.put_script(b"")
    assert usage(alice)["forwards_by_script"] is False


def test_an_included_script_counts(platform: Platform) -> None:
    alice = platform.create("alice")
    alice.put_script(b'require "include";\ninclude :personal :optional "other";\n# redirect "x@elsewhere.example";\n')
    assert usage(alice)["forwards_by_script"] is False
