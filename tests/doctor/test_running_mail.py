"""`postroom doctor` beside running mail daemons."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.doctor.diagnoses import has, look
from tests.harness import mail_queue
from tests.harness.service import Service, wait_for
from tests.mail.platform import Platform

root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def test_it_works() -> None:
    with Service.new() as service:
        service.start()
        Platform.new(service).create().reset()
        running = look(service, 0)
        assert {subject for _, subject, _ in running} >= {"versions", "parts", "permissions", "disk", "clock"}
        assert {subject for _, subject, _ in running} >= {
            "database",
            "worker",
            "certificate",
            "queue",
            "dns",
            "port 25",
        }
        text = service.run("doctor").stdout
        assert "✓ versions" in text
        assert has(running, "ok", "logins", "0 networks are banned")
        service.stop()
        files = {path: path.stat().st_mtime_ns for path in service.data.rglob("*.cf")}
        assert has(look(service, 0), "ok", "ports", "free")
        assert files == {path: path.stat().st_mtime_ns for path in service.data.rglob("*.cf")}
        owners = {path.stat().st_uid for path in (service.data / "db").iterdir()}
        assert owners == {(service.data / "db").stat().st_uid}


@root
def test_old_mail_in_the_queue() -> None:
    with Service.new() as service:
        service.start()
        box = Platform.new(service).create()
        config = service.data / "postfix"
        subprocess.run(["postconf", "-c", config, "-e", "defer_transports = lmtp"], check=True)
        subprocess.run(["postfix", "-c", config, "reload"], check=True, capture_output=True)
        box.receive("waits")

        def queued() -> list[Path]:
            return [path for path in (service.data / "spool" / "deferred").rglob("*") if path.is_file()]

        (message,) = wait_for("the queue", queued)
        assert has(look(service, 0), "ok", "queue", "1 messages")
        arrived = json.loads(mail_queue.queued(service))["arrival_time"]
        message.write_bytes(message.read_bytes().replace(str(arrived).encode(), str(arrived - 8 * 3600).encode()))
        assert has(look(service, 1), "warning", "queue", "1 messages wait", "postqueue -c")
