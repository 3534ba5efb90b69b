"""Several nodes: the node that takes a message from outside has it filtered, and the node that
delivers it believes that."""

from email import message_from_bytes

from tests.cluster.cluster import Cluster
from tests.harness.service import wait_for
from tests.mail.platform import Mailbox
from tests.mail.rspamd import GTUBE
from tests.mail.test_port25 import letter

ELSEWHERE = "someone@elsewhere.example"


def test_mail_is_filtered_once(cluster: Cluster, box: Mailbox) -> None:
    """It comes to a node that is not its home, and what the filter has added stays."""
    cluster.filter.start(cluster.dns.address)
    try:
        for subject, text in (("spam", GTUBE), ("clean", "")):
            raw = letter(ELSEWHERE, subject).replace(b"\r\n\r\n", b"\r\nMessage-ID: <%s@x>\r\n\r\n" % subject.encode())
            assert cluster.other(box).hand_in(box, ELSEWHERE, raw + text.encode())[0] == 250
        with cluster.home(box).imap(box) as imap:
            clean = message_from_bytes(imap.wait_for("clean"))
            assert len(clean.get_all("Authentication-Results", [])) == 1
            wait_for("the spam in Junk", lambda: imap.select("Junk")[1] == [b"1"])
            spam = message_from_bytes(imap.fetch("1", "(BODY.PEEK[])")[1][0][1])  # type: ignore[index, arg-type]
        assert spam.get_all("X-Spam") == ["Yes"]
        log = (cluster.filter.folder / "log").read_text()
        assert [log.count(f"rspamd_task_write_log: id: <{subject}@x>") for subject in ("spam", "clean")] == [1, 1]
    finally:
        cluster.filter.kill()
