"""App passwords on several nodes: the nodes share the key of the digests."""

import pytest

from tests.cluster.cluster import Cluster
from tests.mail.clients import Imap
from tests.mail.platform import Mailbox, Platform


def test_it_works(cluster: Cluster, box: Mailbox) -> None:
    """An app password made through any node works through every node, also by proxy, and its
    deletion through another node ends its sessions alone."""
    files = [machine.service.data / "db" / "digest.key" for machine in cluster.machines]
    assert len({file.read_text() for file in files}) == 1
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    path = f"/v2/email-accounts/{box.id}/app-passwords"
    platforms = [Platform(machine.service, "", "", box.platform.key) for machine in cluster.machines]
    body = {"name": "phone", "scopes": ["imap", "smtp"]}
    made = [platform.call("POST", f"{path}/create", body) for platform in platforms]
    passwords = [one["password"] for one in made]
    sessions = [[machine.imap(box, password) for machine in cluster.machines] for password in passwords]
    own = [machine.imap(box) for machine in cluster.machines]
    for at, platform in enumerate(reversed(platforms)):
        answer = platform.call("POST", f"{path}/delete", {"id": made[at]["app_password"]["id"]})
        assert answer["deleted"]["sessions_ended"] is True
        assert not any(session.is_open() for session in sessions[at])
        assert all(session.is_open() for later in sessions[at + 1 :] for session in later)
    assert all(session.is_open() for session in own)
    with pytest.raises(Imap.error, match="AUTHENTICATIONFAILED"):
        cluster.other(box).imap(box, passwords[0])
    for session in own:
        session.logout()
