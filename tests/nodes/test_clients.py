"""Clients reach their mailbox through every machine."""

from tests.mail.platform import Platform
from tests.nodes.cluster import Cluster


def test_it_works(cluster: Cluster, platform: Platform) -> None:
    box = platform.create()
    with cluster.other(box).imap(box) as imap:
        assert imap.subjects() == []
    assert cluster.home(box).holds(box)
    assert [machine.holds(box) for machine in cluster.machines].count(True) == 1
