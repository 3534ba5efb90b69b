"""Switches on several nodes: they are in force on every node, also for a session by proxy."""

import pytest

from tests.cluster.cluster import Cluster
from tests.mail.clients import Imap
from tests.mail.platform import Mailbox, Platform


def test_it_works(cluster: Cluster, box: Mailbox) -> None:
    """A switch that is set through one node ends the sessions on the others."""
    machines = cluster.machines
    platforms = [Platform(machine.service, "", "", box.platform.key) for machine in machines]
    path = f"/v2/email-accounts/{box.id}"
    phone = box.platform.call("POST", f"{path}/app-passwords/create", {"name": "phone", "scopes": ["imap"]})["password"]

    def switch(at: int, **body: object) -> object:
        return platforms[at].call("PUT", f"{path}?fields=sessions_ended", body)["account"]["sessions_ended"]

    own = [machine.imap(box) for machine in machines]
    apps = [machine.imap(box, phone) for machine in machines]
    assert switch(0, protocols={"pop3": False, "sieve": False, "smtp": False}) is True
    assert all(session.is_open() for session in (*own, *apps))
    assert switch(1, main_password=False) is True
    assert [session.is_open() for session in own] == [False] * len(own)
    assert all(session.is_open() for session in apps)
    assert switch(0, protocols={"imap": False}) is True
    assert [session.is_open() for session in apps] == [False] * len(apps)
    with pytest.raises(Imap.error, match="AUTHENTICATIONFAILED"):
        cluster.other(box).imap(box, phone)
    switch(1, protocols={"imap": True}, main_password=True)
    for machine in machines:
        for password in (box.password, phone):
            machine.imap(box, password).logout()
