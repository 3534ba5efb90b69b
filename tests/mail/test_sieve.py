"""Sieve scripts: the recipient that they see, the time that they may take, and how many there may
be."""

import re
import socket
import subprocess
from pathlib import Path

import pytest

from tests.harness import mail_queue
from tests.harness.service import wait_for
from tests.mail.clients import HOST, deliver, message, put_script, smtp, submission
from tests.mail.platform import Mailbox, Platform

NAMED = rb"""require ["envelope", "fileinto", "mailbox", "subaddress", "variables"];
if envelope :all :matches "to" "*" { set "all" "${1}"; }
if envelope :user :matches "to" "*" { set "user" "${1}"; }
if envelope :domain :matches "to" "*" { set "domain" "${1}"; }
if envelope :detail :matches "to" "*" { set "detail" "${1}"; }
fileinto :create "${all}|${user}|${domain}|${detail}";
"""
# These comparisons would take minutes if nothing ended the script.
SLOW = "\n".join(
    ['require "body";', *(f'if body :raw :contains "{"a" * 500}b{number}" {{ discard; }}' for number in range(200))]
).encode()
LONG = b"\r\n".join([b"a" * 900] * 2000)


def folders(box: Mailbox) -> list[str]:
    with box.login() as imap:
        return [line.decode().split(' "/" ')[1].strip('"') for line in imap.list()[1] if isinstance(line, bytes)]


@pytest.mark.parametrize("local_part", ["billing", "billing+tag", "Billing", "BILLING+Tag", "billing+a+b"])
def test_the_envelope_has_the_address_that_was_written_to(platform: Platform, local_part: str) -> None:
    """RFC 5228 5.4, RFC 5233."""
    box = platform.create("billing")
    box.put_script(NAMED)
    deliver(platform.service, "someone@elsewhere.example", f"{local_part}@{platform.domain}", "hello")
    user, _, detail = local_part.partition("+")
    wanted = f"{local_part}@{platform.domain}|{user}|{platform.domain}|{detail}"
    wait_for("the folder", lambda: wanted in folders(box))


def test_nobody_says_for_whom_a_mail_is_but_postfix(platform: Platform) -> None:
    box = platform.create("billing")
    box.put_script(NAMED)
    with smtp(platform.service) as outside, submission(platform.service, box.address, box.password) as inside:
        for client in (outside, inside):
            client.ehlo()
            assert "dsn" not in client.esmtp_features
            client.mail(box.address if client is inside else "someone@elsewhere.example")
            assert client.rcpt(box.address, ["ORCPT=rfc822;other@elsewhere.example"])[0] >= 500
    box.receive()
    wait_for("the folder", lambda: f"{box.address}|billing|{platform.domain}|" in folders(box))


def test_a_vacation_answers_for_a_tag_too(platform: Platform) -> None:
    box, writer = platform.create("billing"), platform.create("writer")
    box.put_script(b'require "vacation";\nvacation "I am away.";')
    writer.send(f"billing+tag@{platform.domain}", "question")
    answer = writer.wait_for("Auto: question")
    assert b"I am away." in answer
    assert b"acct.internal" not in answer


def test_mail_names_the_mail_host_and_never_the_machine(platform: Platform) -> None:
    """This concerns the domain of a reply's Message-ID and all other fields. File names are in
    backups."""
    box, writer = platform.create("billing"), platform.create("writer")
    box.put_script(b'require "vacation";\nvacation "I am away.";')
    writer.send(box.address, "question")
    answer = writer.wait_for("Auto: question")
    host, machine = "mail.postroom.test", socket.gethostname()
    (message_id,) = [line for line in answer.split(b"\r\n") if line.lower().startswith(b"message-id:")]
    assert message_id.endswith(f"@{host}>".encode())
    for name in (path.name for path in box.home.rglob("*") if path.is_file() and path.parent.name in ("new", "cur")):
        assert f".{host}," in name
        assert f".{machine}," not in name


def test_what_a_script_rejects_names_the_address(platform: Platform) -> None:
    box, writer = platform.create("billing"), platform.create("writer")
    box.put_script(b'require "reject";\nreject "No thanks.";')
    writer.send(f"billing+tag@{platform.domain}", "offer")
    answer = writer.wait_for("Rejected: offer")
    assert b"Final-Recipient: rfc822; billing+tag@" + platform.domain.encode() in answer
    assert b"acct.internal" not in answer


def test_a_redirect_changes_no_line(platform: Platform) -> None:
    box, target = platform.create("billing"), platform.create("target")
    box.put_script(b'redirect "%s";' % target.address.encode())
    text = f"Hello.\r\n  {box.id}@acct.internal stands here\r\n<{box.id}@acct.internal> (expanded from\r\nBye.\r\n"
    with smtp(platform.service) as client:
        client.sendmail("someone@elsewhere.example", box.address, f"Subject: told\r\n\r\n{text}")
    assert target.wait_for("told").endswith(text.encode())


@pytest.mark.parametrize(
    "others", [["BILLING@{0}"], ["billing+x@{0}"], ["billing+x@{0}", "billing@{0}", "Billing+Y@{0}", "billing+x+y@{0}"]]
)
def test_several_spellings_of_an_address_get_one_copy(platform: Platform, others: list[str]) -> None:
    box = platform.create("billing")
    spelled = [box.address, *(other.format(platform.domain) for other in others)]
    for subject in ("first", "second"):
        with smtp(platform.service) as client:
            made = message("someone@elsewhere.example", box.address, subject)
            assert client.send_message(made, "someone@elsewhere.example", spelled) == {}
    box.receive("last")
    box.wait_for("last")
    wait_for("an empty queue", lambda: mail_queue.queued(platform.service) == "")
    assert sorted(box.subjects()) == ["first", "last", "second"]


def test_two_accounts_get_a_copy_each(platform: Platform) -> None:
    boxes = [platform.create("billing"), platform.create("other")]
    with smtp(platform.service) as client:
        made = message("someone@elsewhere.example", boxes[0].address, "both")
        client.send_message(made, "someone@elsewhere.example", [box.address for box in boxes])
    for box in boxes:
        assert box.wait_for("both")
        assert box.subjects() == ["both"]


@pytest.mark.parametrize("extension", ["regex", "enotify", "editheader", "vnd.dovecot.execute", "vnd.dovecot.pipe"])
def test_an_extension_that_there_is_not(platform: Platform, extension: str) -> None:
    with pytest.raises(AssertionError, match=r"unknown Sieve capability|restricted to global scripts"):
        platform.create().put_script(f'require "{extension}";\nkeep;'.encode())


def test_a_script_of_before_runs_no_regex(platform: Platform) -> None:
    """Its compiled form does not run either: the mail is in the INBOX, and the script has no
    effect."""
    box = platform.create()
    box.put_script(b"keep;")
    script = box.home / "sieve" / "main.sieve"
    script.write_bytes(b'require "regex";\nif header :regex "subject" "(a*)*b" { discard; }\ndiscard;')
    compiled = box.home / ".dovecot.svbin"
    # The compiled form as Dovecot creates it with `regex` enabled.
    former = platform.service.data / "former.conf"
    text = (platform.service.data / "dovecot" / "dovecot.conf").read_text()
    text = re.sub(r"sieve_extensions = .*", "sieve_extensions = +regex", text)  # Dovecot 2.3
    former.write_text(text.replace("  regex = no\n", "  regex = yes\n"))  # 2.4
    subprocess.run(["sievec", "-c", former, script, compiled], check=True, capture_output=True)
    former.unlink()
    for path in (script, compiled):
        _give(path, box.home)
    box.receive("a" * 60)
    assert box.wait_for("a" * 60)


def test_a_script_that_takes_too_long_is_stopped(platform: Platform) -> None:
    """The delayed mail arrives, other mail is not delayed, and the owner keeps the script."""
    box, other = platform.create(), platform.create("other")
    box.put_script(SLOW)
    with smtp(platform.service) as client:
        for number in range(25):  # more than simultaneous deliveries
            client.sendmail("someone@elsewhere.example", box.address, b"Subject: slow%d\r\n\r\n%s\r\n" % (number, LONG))
    other.receive("quick")
    other.wait_for("quick")
    assert "slow0" not in box.subjects()  # delayed by its script, unlike the mail of another account
    wait_for("the script to be stopped", lambda: not (box.home / ".dovecot.sieve").is_symlink(), 240)
    assert (box.home / "sieve" / "main.sieve").read_bytes() == SLOW

    def arrived() -> bool:
        mail_queue.flush(platform.service)
        return sorted(box.subjects()) == sorted(f"slow{number}" for number in range(25))

    wait_for("all of its mail", arrived, 240)


def test_a_script_that_needs_too_much_memory_is_stopped(platform: Platform) -> None:
    """The memory grows with the square of the number of flags, and each attempt would fail."""
    box = platform.create()
    flags = ",".join(f'"k{number}"' for number in range(5_000))
    box.put_script(f'require "imap4flags"; setflag [{flags}]; keep;'.encode())
    box.receive("hello")

    def arrived() -> bool:
        mail_queue.flush(platform.service)
        return box.subjects() == ["hello"]

    wait_for("the mail", arrived, 240)


@pytest.mark.parametrize(
    "script",
    [
        'if header :matches "Subject" "{stars}b" {{ discard; }}',
        'require "variables"; set "a" "{long}"; {grow}',
        'require ["variables", "foreverypart", "mime", "extracttext"]; foreverypart {{ extracttext "a"; {grow} }}',
    ],
)
def test_what_would_grow_ends(platform: Platform, script: str) -> None:
    box = platform.create()
    grow = "".join('set "a" "${a}${a}";' for _ in range(200))
    box.put_script(script.format(stars="*a" * 300, long="x" * 2000, grow=grow).encode())
    box.receive("a" * 900)
    wait_for("the mail", lambda: len(box.subjects()) == 1)


def test_scripts_have_a_size_and_a_number(platform: Platform) -> None:
    box, sieve = platform.create(), platform.service.ports["sieve_port"]

    def put(size: int, number: int) -> None:
        for name in range(number):
            script = b"keep;" + b"#" * (size - 6) + b"\n"
            put_script(HOST, sieve, box.address, box.password, script, f"{size}-{name}")

    put(128 * 1024, 1)
    with pytest.raises(AssertionError, match="NO"):
        put(128 * 1024 + 1, 1)
    with pytest.raises(AssertionError, match="QUOTA/MAXSTORAGE"):
        put(100 * 1024, 31)
    for path in (box.home / "sieve").glob("*.sieve"):
        path.unlink()
    put(100, 32)
    with pytest.raises(AssertionError, match="QUOTA/MAXSCRIPTS"):
        put(101, 1)


def _give(path: Path, like: Path) -> None:
    subprocess.run(["chown", f"--reference={like}", path], check=True)
