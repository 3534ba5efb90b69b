"""What a restore will undo is said before it happens."""

import sqlite3

from tests.backup import test_backup
from tests.backup.test_backup import HOOKS, backup, done, run, state
from tests.harness.service import Service
from tests.mail.platform import Platform

service = test_backup.service


def test_it_says_what_will_differ(service: Service) -> None:
    service.start()
    platform = Platform.new(service)
    boxes = {name: platform.create(name) for name in ("reset", "suspended", "deleted", "same")}
    hooks = [platform.call("POST", HOOKS, {"url": f"https://h{n}.example/t0k3n", "events": ["*"]}) for n in (1, 2)]
    file = backup(service)
    boxes["reset"].reset()
    platform.call("POST", "/v2/webhooks/delete", {"id": hooks[0]["webhook"]["id"]})
    platform.call("POST", HOOKS, {"url": "https://h3.example/t0k3n", "events": ["*"]})
    boxes["suspended"].update(status="suspended")
    boxes["deleted"].delete()
    platform.create("created")
    done(service, "keys", "create", "--organization", platform.organization)
    done(service, "keys", "revoke", "1", "--organization", "demo")
    service.stop()
    before = state(service)
    asked = run(service, "restore", str(file), "--force")
    assert asked.returncode == 1
    assert "--yes" in asked.stderr
    said = asked.stdout.splitlines()
    expected = {"password": "reset@", "status": "suspended@", "deleted": "deleted@", "account created": "created@"}
    for word, name in expected.items():
        assert any(word in line and name in line and line.startswith("1 ") for line in said), (word, said)
    assert any("key made since" in line for line in said)
    assert any("1 key revoked since" in line for line in said)
    assert any("webhook made" in line and line.endswith(": h3.example") for line in said)
    assert any("webhook deleted" in line and line.endswith(": h1.example") for line in said)
    assert not any("same@" in line or "h2." in line or "t0k3n" in line for line in said)
    assert state(service) == before
    assert "is in" in done(service, "restore", str(file), "--force", "--yes")
    (aside,) = service.data.glob("before-restore-*")
    with sqlite3.connect(aside / "db" / "postroom.db") as database:
        assert database.execute("SELECT * FROM accounts").fetchall() == before["accounts"]
