"""GET /metrics of a whole service: the metrics from Dovecot, Postfix, the certificate and the
worker."""

import time
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from postroom.client import Client
from postroom.mailplane.postfix import queues
from tests.harness.service import Service, wait_for
from tests.mail.clients import submission
from tests.mail.platform import Platform


def samples(platform: Platform, key: str) -> dict[tuple[str, ...], float]:
    """Returns the samples by name and label values. `key` is a key of the operator."""
    with Client(f"http://127.0.0.1:{platform.service.ports['port']}", key) as client:
        families = list(text_string_to_metric_families(client.get_metrics()))
    return {
        (s.name, *(s.labels[label] for label in sorted(s.labels))): s.value
        for family in families
        for s in family.samples
    }


def test_it_works(platform: Platform, service: Service) -> None:
    mailbox = platform.create()
    key = service.run("keys", "create", "--organization", "operator").stdout.strip()
    before = samples(platform, key)
    mailbox.login().logout()
    assert not mailbox.can_login("wrong")
    submission(service, mailbox.address, mailbox.password).quit()
    counted = [("success", "imap"), ("failure", "imap"), ("success", "smtp")]

    def more() -> list[float]:
        after = samples(platform, key)
        keys = [("postroom_logins_total", result, kind) for result, kind in counted]
        return [after.get(key, 0.0) - before.get(key, 0.0) for key in keys]

    wait_for("Dovecot's counts", lambda: min(more()) >= 1)
    after = samples(platform, key)
    assert {name[1] for name in after if name[0] == "postroom_mail_queue_messages"} == set(queues.QUEUES)
    assert after["postroom_certificate_expiry_timestamp_seconds",] > time.time() + 24 * 3600
    assert 0 <= after["postroom_worker_silence_seconds",] < 60
    for part in ("database", "worker", "dovecot", "milter", "opendkim", "postfix"):
        assert after["postroom_part_up", part] == 1


def test_a_message_that_waits_is_counted(platform: Platform, service: Service) -> None:
    held = service.data / "spool" / "hold" / "0FFFFF"
    key = service.run("keys", "create", "--organization", "operator").stdout.strip()

    def on_hold() -> float:
        return samples(platform, key)["postroom_mail_queue_messages", "hold"]

    before = on_hold()
    held.touch()  # Postfix does not touch messages on hold
    try:
        wait_for("the count of messages on hold", lambda: on_hold() == before + 1)
    finally:
        held.unlink()
    wait_for("the count without it", lambda: on_hold() == before)


def test_queues_are_counted(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    (tmp_path / "run").mkdir()
    for path in ("deferred/A/A1", "deferred/A/A2", "deferred/B/B1", "hold/C1", "active/.keep"):
        (spool / path).parent.mkdir(parents=True, exist_ok=True)
        (spool / path).touch()
    (spool / "incoming").symlink_to(spool / "deferred")
    assert queues.read(tmp_path) is None
    queues.write(tmp_path)
    found = queues.read(tmp_path)
    assert found
    assert (found["deferred"], found["hold"], found["active"], found["corrupt"]) == (3, 1, 1, 0)


def test_numbers_are_left_where_no_link_leads(tmp_path: Path) -> None:
    """The folder belongs to root, but the system user can write in it."""
    (tmp_path / "run").mkdir()
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    for name in ("mail_queue.json", "mail_queue.new"):
        (tmp_path / "run" / name).symlink_to(victim)
    queues.write(tmp_path)
    assert victim.read_text() == "as it was"
    assert queues.read(tmp_path) == dict.fromkeys(queues.QUEUES, 0)
