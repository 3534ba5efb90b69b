"""A password whose hash came from another system logs in."""

import pytest

from tests.harness.hashes import HASHES, PASSWORD
from tests.mail.platform import Mailbox, Platform


@pytest.mark.parametrize("text", HASHES, ids=lambda text: text[:14])
def test_it_works(platform: Platform, text: str) -> None:
    body = {"domain": platform.domain, "local_part": "moved", "user_id": "u", "password_hash": text}
    made = platform.call("POST", "/v2/email-accounts/create", body)
    assert made["password"] is None
    box = Mailbox(platform, made["account"]["id"], made["account"]["address"], PASSWORD)
    box.login().logout()


def test_a_reset(platform: Platform) -> None:
    """A reset imports a hash too, and ends the old password."""
    box = platform.create("moved")
    path = f"/v2/email-accounts/{box.id}/password/reset"
    assert platform.call("POST", path, {"password_hash": HASHES[-1]})["password"] is None
    assert box.can_login(PASSWORD)
    assert not box.can_login(f"{PASSWORD}x")
    assert not box.can_login()
