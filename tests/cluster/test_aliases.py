"""Several nodes: aliases and former addresses lead to the home of each account."""

import dataclasses

from tests.cluster.cluster import Cluster
from tests.cluster.moves import move
from tests.cluster.test_senders import elsewhere
from tests.mail import clients
from tests.mail.platform import Mailbox, Platform


def test_a_group_a_catch_all_and_a_rename(cluster: Cluster, box: Mailbox, platform: Platform) -> None:
    far = elsewhere(cluster, platform, box)
    for local_part, ids in ((f"team{box.id}", [box.id, far.id]), ("*", [far.id])):
        body = {"domain": platform.domain, "local_part": local_part, "user_id": "user_123", "account_ids": ids}
        made = platform.call("POST", "/v2/email-aliases/create", body)["alias"]
    box.update(local_part=f"renamed{box.id}")
    new = dataclasses.replace(box, address=f"renamed{box.id}@{platform.domain}")
    team, unknown = (dataclasses.replace(box, address=f"{name}{box.id}@{platform.domain}") for name in ("team", "none"))
    for machine in cluster.machines:
        for target in (box, new, team, unknown):
            machine.deliver(target, f"{target.address} through {machine.name}")
        with machine.submission(box) as client:  # logs in with the former address
            client.send_message(clients.message(box.address, far.address, machine.name), box.address, [far.address])
    for target, mine in ((box, (box, new, team)), (new, (box, new, team)), (far, (team, unknown))):
        for machine in cluster.machines:
            with machine.imap(target) as imap:
                for address in mine:
                    assert imap.wait_for(f"{address.address} through {machine.name}")
    platform.call("POST", "/v2/email-aliases/delete", {"id": made["id"]})  # the other tests share the domain


def test_a_forward_goes_on_where_the_mailbox_is(cluster: Cluster, box: Mailbox, platform: Platform) -> None:
    """Before, between and after two moves, whichever machine takes the mail."""
    far = elsewhere(cluster, platform, box)
    path = f"/v2/email-accounts/{box.id}/forwarding"
    platform.call("PUT", path, {"user_id": "user_123", "enabled": True, "to": [far.address], "keep_copy": True})
    home = cluster.home(box)
    for number, target in enumerate((home, cluster.other(box), home)):
        if number:
            move(cluster, box, target)
        for machine in cluster.machines:
            machine.deliver(box, f"{number} through {machine.name}")
        for owner in (box, far):
            with target.imap(owner) as imap:
                for machine in cluster.machines:
                    assert imap.wait_for(f"{number} through {machine.name}")
