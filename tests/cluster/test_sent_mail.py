"""Several nodes: a message for a mailbox on another node is delivered once that node has delivered
it, wherever it was submitted."""

from typing import Any
from urllib.parse import quote

from tests.cluster.cluster import Cluster
from tests.cluster.test_senders import elsewhere
from tests.harness.service import wait_for
from tests.mail.clients import message
from tests.mail.platform import Mailbox, Platform


def submit(cluster: Cluster, box: Mailbox, *to: str) -> str:
    made = message(box.address, to[0], "hello")
    with cluster.home(box).submission(box) as client:
        client.sendmail(box.address, list(to), made.as_bytes())
    return str(made["Message-ID"])


def wait_for_statuses(box: Mailbox, message_id: str, wanted: dict[str, str]) -> list[dict[str, Any]]:
    path = f"/v2/email-accounts/{box.id}/sent?message_id={quote(message_id)}"

    def items() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = box.platform.call("GET", path, None)["items"]
        return found

    wait_for(f"{wanted}", lambda: {one["recipient"]: one["status"] for one in items()} == wanted)
    return items()


def test_it_works(cluster: Cluster, box: Mailbox, platform: Platform) -> None:
    far = elsewhere(cluster, platform, box)
    tagged = far.address.replace("@", "+tag@")
    group = {"domain": platform.domain, "local_part": f"team{box.id}", "user_id": "user_123"}
    platform.call("POST", "/v2/email-aliases/create", {**group, "account_ids": [box.id, far.id]})
    to = [box.address, far.address, tagged, f"team{box.id}@{platform.domain}"]
    wait_for_statuses(box, submit(cluster, box, *to), dict.fromkeys(to, "delivered"))
    home = cluster.home(far)
    folder = home.mail(far)
    mode = folder.stat().st_mode & 0o777
    folder.chmod(0)
    try:
        message_id = submit(cluster, box, box.address, far.address)
        found = wait_for_statuses(box, message_id, {box.address: "delivered", far.address: "delayed"})
    finally:
        folder.chmod(mode)
    reasons = str([one["reason"] for one in found])
    assert "mailbox" in reasons
    assert not any(text in reasons for text in ("acct.internal", home.address, str(home.service.data)))
    home.flush()
    wait_for_statuses(box, message_id, {box.address: "delivered", far.address: "delivered"})
