"""`postroom api accounts create --from`: creates many accounts, and can be interrupted at any
point."""

import csv
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import environment, run
from tests.harness.hashes import HASHES
from tests.harness.server import Tenant
from tests.harness.service import COMMAND, SIGNALLED, wait_for

CREATE = ("accounts", "create", "--from", "accounts.csv")
SSHA = next(text for text in HASHES if text.startswith("{SSHA}"))
NAME = "accounts.csv.passwords.csv"


def write(tenant: Tenant, folder: Path, names: list[str], more: str = "") -> None:
    rows = [f"{name}@{tenant.domain},u1,{name.title()}" for name in names]
    (folder / "accounts.csv").write_text("address,user_id,display_name\n" + "\n".join(rows) + f"\n{more}")


def written(folder: Path) -> list[list[str]]:
    with (folder / NAME).open(newline="") as file:
        return list(csv.reader(file))


def accounts(tenant: Tenant) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = tenant.get("/v2/email-accounts", fields="*", limit=500).json["items"]
    return items


def created(tenant: Tenant) -> int:
    return sum(event["type"] == "account.created" for event in tenant.events())


def test_it_works(tenant: Tenant, tmp_path: Path) -> None:
    write(tenant, tmp_path, ["ann", "bob"], f"bad+tag@{tenant.domain},u1,\n")
    done = run(tenant, tmp_path, *CREATE)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"postroom: accounts.csv:4: bad+tag@{tenant.domain}: " in done.stderr
    assert f"2 made, 0 made before, 1 refused; the passwords are in {NAME}.\n" in done.stderr
    head, *rows = written(tmp_path)
    assert head[:4] == ["address", "user_id", "account_id", "password"]
    found = [(a["address"], a["user_id"], str(a["id"]), a["display_name"]) for a in accounts(tenant)]
    assert [(*row[:3], row[0].partition("@")[0].title()) for row in rows] == found
    assert (tmp_path / NAME).stat().st_mode & 0o777 == 0o600
    for row in rows:
        assert len(row[3]) == 35
        assert row[3] not in done.stderr


def test_a_column_of_hashes(tenant: Tenant, tmp_path: Path) -> None:
    """An imported password is not in the file of passwords, and its hash is nowhere."""
    rows = [
        f"ann@{tenant.domain},u1,{SSHA}",
        f"bob@{tenant.domain},u1,",
        f"eve@{tenant.domain},u1,{{PLAIN}}secret-word",
    ]
    (tmp_path / "accounts.csv").write_text("address,user_id,password_hash\n" + "\n".join(rows) + "\n")
    done = run(tenant, tmp_path, *CREATE)
    assert f"eve@{tenant.domain}: " in done.stderr
    assert "2 made, 0 made before, 1 refused" in done.stderr
    assert [(row[0][:3], len(row[3])) for row in written(tmp_path)[1:]] == [("ann", 0), ("bob", 35)]
    assert [account["password_scheme"] for account in accounts(tenant)] == ["imported", "generated"]
    said = done.stdout + done.stderr + (tmp_path / NAME).read_text()
    assert not [secret for secret in (SSHA[6:], "secret-word") if secret in said]


def test_links_in_place_of_passwords(tenant: Tenant, tmp_path: Path) -> None:
    """No answer has a link a second time, so the file must have it."""
    write(tenant, tmp_path, ["ann", "bob"])
    assert run(tenant, tmp_path, *CREATE, "--credential", "setup_link").returncode == 0
    for row in written(tmp_path)[1:]:
        found = tenant.post("/setup/look", {"token": row[3].partition("/setup#")[2]}, key=None)
        assert found.json["address"] == row[0]


def test_the_same_command_carries_on(tenant: Tenant, tmp_path: Path) -> None:
    """Running the command again completes the batch after a Ctrl-C, even one between an answer and
    its line, or in the middle of the line."""
    write(tenant, tmp_path, [f"n{number}" for number in range(200)])
    process = subprocess.Popen(
        [*SIGNALLED, COMMAND, "api", *CREATE],
        env=environment(tenant, tmp_path),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for("some accounts", lambda: (tmp_path / NAME).exists() and len(written(tmp_path)) > 3)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert (process.returncode, "to continue" in said, "Traceback" in said) == (130, True, False)
    before = (tmp_path / NAME).read_text().splitlines(keepends=True)
    assert len(before) < 201
    (tmp_path / NAME).write_text("".join(before[:-1]) + before[-1][:20])
    done = run(tenant, tmp_path, *CREATE)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / NAME).read_text().splitlines(keepends=True)[: len(before)] == before
    assert [row[0] for row in written(tmp_path)[1:]] == [account["address"] for account in accounts(tenant)]
    assert len(accounts(tenant)) == created(tenant) == 200
    assert "0 made, 200 made before" in run(tenant, tmp_path, *CREATE).stderr


def test_a_new_file_is_a_new_batch(tenant: Tenant, tmp_path: Path) -> None:
    """With a new file, an account that was deleted since is created again; its old answer is not
    replayed."""
    write(tenant, tmp_path, ["ann"])
    assert run(tenant, tmp_path, *CREATE).returncode == 0
    tenant.post("/v2/email-accounts/delete", {"id": accounts(tenant)[0]["id"], "purge": True, "user_id": "u1"})
    (tmp_path / NAME).unlink()
    assert run(tenant, tmp_path, *CREATE).returncode == 0
    assert written(tmp_path)[1][2] == str(accounts(tenant)[0]["id"])


def test_passwords_are_printed_when_that_is_asked_for(tenant: Tenant, tmp_path: Path) -> None:
    (tmp_path / "accounts.csv").write_text(f"address\nann@{tenant.domain}\n")
    done = run(tenant, tmp_path, *CREATE, "--user", "u7", "--passwords", "-")
    assert done.stdout.splitlines()[1].startswith(f"ann@{tenant.domain},u7,")
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name\nann\n", "address"),
        ("address,colour\nann@x.test,red\n", "display_name"),
        ("address\nann@x.test\nann@x.test\n", "twice"),
        ("address,user_id\n,u1\n", "no address"),
        ("", "address"),
    ],
)
def test_a_file_that_is_wrong_makes_nothing(tenant: Tenant, tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "accounts.csv").write_text(text)
    refused = run(tenant, tmp_path, *CREATE)
    assert (refused.returncode, says in refused.stderr) == (2, True)
    assert not (tmp_path / NAME).exists()


def test_it_does_not_write_into_what_others_read(tenant: Tenant, tmp_path: Path) -> None:
    write(tenant, tmp_path, ["ann"])
    (tmp_path / NAME).write_text("mine\n")
    (tmp_path / NAME).chmod(0o644)
    assert run(tenant, tmp_path, *CREATE).returncode == 2
    (tmp_path / NAME).chmod(0o600)
    assert "not from this command" in run(tenant, tmp_path, *CREATE).stderr
    (tmp_path / NAME).unlink()
    (tmp_path / NAME).symlink_to("elsewhere")
    assert run(tenant, tmp_path, *CREATE).returncode == 2
    assert accounts(tenant) == []


def test_a_wrong_key_stops_it(tenant: Tenant, tmp_path: Path) -> None:
    write(tenant, tmp_path, ["ann", "bob"])
    refused = run(tenant, tmp_path, *CREATE, more={"POSTROOM_API_KEY": "pr_wrong"})
    assert (refused.returncode, refused.stderr.count("unauthorized")) == (1, 1)
