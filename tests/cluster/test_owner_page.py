"""The owner's page on several nodes: each signs in the owner of any mailbox, and knows the sessions
of all nodes."""

from tests.cluster.cluster import Cluster
from tests.mail.platform import Mailbox, Platform
from tests.mail.test_owner_page import NEW, Page


def test_it_works(cluster: Cluster, box: Mailbox) -> None:
    platforms = [Platform(machine.service, "", "", "") for machine in cluster.machines]
    pages = [Page(Mailbox(platform, box.id, box.address, box.password)) for platform in platforms]
    session = cluster.other(box).imap(box)  # by proxy
    assert [page.sign_in() for page in pages] == [201] * len(pages)
    for page in pages:
        assert page.ask("GET", "/v2/me/sessions")["sessions"] != []
    pages[0].mailbox, pages[1].mailbox = pages[1].mailbox, pages[0].mailbox  # each session on another node
    assert [page.is_open() for page in pages] == [True] * len(pages)
    assert pages[0].ask("POST", "/v2/me/password", {"old": box.password, "new": NEW})["sessions_ended"] is True
    assert not session.is_open()
    assert [page.is_open() for page in pages] == [True, False, *[False] * (len(pages) - 2)]
    for platform in platforms:
        assert Page(Mailbox(platform, box.id, box.address, NEW)).sign_in() == 201
