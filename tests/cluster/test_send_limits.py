"""Send limits on several nodes: all nodes count together."""

import smtplib

import pytest

from tests.cluster.cluster import Cluster
from tests.mail.clients import message
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_send_limits import events, limit, many, sent

pytestmark = pytest.mark.usefixtures("hour")


def test_it_works(cluster: Cluster, platform: Platform, box: Mailbox) -> None:
    """An account that submits through each node in turn gets no more than its limit."""
    target = platform.create(f"target-of-{box.id}")
    limit(box, recipients_per_hour=4, new_recipients_per_day=2)
    first, *others = many(target, 4)

    def code(at: int, *to: str) -> int:
        with cluster.machines[at].submission(box) as client:
            try:
                client.send_message(message(box.address, to[0], "hello"), box.address, to)
            except smtplib.SMTPDataError as refused:
                return refused.smtp_code
        return 250

    assert code(0, first) == 250
    assert code(1, first) == 250, "known on each node: the key of the hashes is shared"
    assert code(0, others[0], others[1]) == 450
    assert code(1, others[0]) == 250
    assert [code(at, first) for at in (0, 1, 0)] == [250, 450, 450]
    assert sent(box)["recipients_this_hour"] == 4
    assert events(box) == ["account.send_limit_reached"] * 2
