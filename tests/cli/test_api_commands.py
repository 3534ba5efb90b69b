"""`postroom api`: each route has a command, which takes the parameters of its route and prints the
answer."""

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import termios
from pathlib import Path
from typing import Any

import pytest
import typer.main

from postroom import parameters
from postroom.cli import tables
from postroom.cli.api import build
from postroom.cli.api_commands import place
from postroom.client.catalog import Entry, catalog
from tests.cli.program import environment, names_of, route_of, run, url_of
from tests.harness.hashes import HASHES
from tests.harness.server import Tenant
from tests.harness.service import COMMAND, wait_for


def commands() -> dict[str, Any]:
    """Every command by its words: `accounts list`, …"""
    found: dict[str, Any] = {}
    for name, command in typer.main.get_group(build()).commands.items():
        inner = getattr(command, "commands", None)
        found |= {f"{name} {one}": value for one, value in inner.items()} if inner else {name: command}
    return found


@pytest.mark.parametrize("entry", catalog().values(), ids=lambda entry: entry.name)
def test_each_route_has_a_command(entry: Entry) -> None:
    command = commands()[" ".join(filter(None, place(entry)))]
    names = names_of(route_of(entry))
    if entry.name == "create_account":
        files = {"password_file", "password_hash_file"}
        names = names - {"domain", "local_part", "password", "password_hash"} | {"address"} | files
    taken = {parameter.name for parameter in command.params}
    for parameter in entry.parameters:
        if parameter.kind in ("switches", "numbers"):
            names = names - {parameter.name} | {f"{parameter.name}_{choice}" for choice in parameter.choices}
    assert names <= taken
    assert ("every" in taken) == entry.is_list
    assert {"as_json", "server", "key_file"} <= taken
    assert command.help
    assert all(getattr(parameter, "help", "") for parameter in command.params), (
        "its type has no description: postroom/parameters.py"
    )


def test_no_two_operations_are_one_command() -> None:
    places = [place(entry) for entry in catalog().values()]
    assert len(set(places)) == len(places)
    assert not {group for group, _ in places} & {name for group, name in places if not group}


def test_it_works(tenant: Tenant, tmp_path: Path) -> None:
    made = run(tenant, tmp_path, "accounts", "create", f"billing@{tenant.domain}", "--user", "u1", "--json")
    assert made.returncode == 0, made.stderr
    answer = json.loads(made.stdout)
    account = answer["account"]
    assert account == tenant.full(account["id"])
    assert len(answer["password"]) == 35
    shown = run(tenant, tmp_path, "accounts", "get", str(account["id"]))
    assert re.search(rf"^address +billing@{tenant.domain} *$", shown.stdout, re.M)


def test_a_switch_is_on_or_off(tenant: Tenant, tmp_path: Path) -> None:
    id_ = str(tenant.account()["id"])
    rule = ("accounts", "set-forwarding", id_, "--to", "ann@else.example")
    assert run(tenant, tmp_path, *rule).returncode == 2
    for words, enabled, keep_copy in (
        (("--enabled", "--no-keep-copy"), True, False),
        (("--enabled",), True, True),
        (("--no-enabled", "--keep-copy"), False, True),
    ):
        assert run(tenant, tmp_path, *rule, *words).returncode == 0
        found = tenant.get(f"/v2/email-accounts/{id_}/forwarding").json["forwarding"]
        assert (found["enabled"], found["keep_copy"], found["to"]) == (enabled, keep_copy, ["ann@else.example"])


def test_statuses_and_null(tenant: Tenant, tmp_path: Path) -> None:
    id_ = str(tenant.account(display_name="Bill")["id"])
    for command, status in (("suspend", "suspended"), ("disable", "disabled"), ("resume", "active")):
        assert run(tenant, tmp_path, "accounts", command, id_).returncode == 0
        assert tenant.full(int(id_))["status"] == status
        assert tenant.full(int(id_))["display_name"] == "Bill"
    assert run(tenant, tmp_path, "accounts", "update", id_, "--no-display-name").returncode == 0
    assert tenant.full(int(id_))["display_name"] is None
    assert run(tenant, tmp_path, "accounts", "update", id_, "--display-name", "A", "--no-display-name").returncode == 2
    run(tenant, tmp_path, "limits", "set", "--accounts", "9", "--domains", "4", "--user", "u")
    run(tenant, tmp_path, "limits", "set", "--no-accounts", "--user", "u")
    limits = tenant.get("/v2/limits", user_id="u").json["limits"]
    assert (limits["accounts"], limits["domains"]) == (None, 4)


def test_send_limits(tenant: Tenant, tmp_path: Path) -> None:
    id_ = str(tenant.account()["id"])
    rights = ("--no-may-send", "--recipients-per-hour", "5", "--recipients-per-day", "9")
    assert run(tenant, tmp_path, "accounts", "update", id_, *rights).returncode == 0
    assert (
        run(tenant, tmp_path, "accounts", "update", id_, "--no-recipients-per-day", "--no-send-blocked").returncode == 0
    )
    shown = tenant.full(int(id_))
    assert shown["may_send"] is False
    assert {name: n for name, n in shown["send_limits"].items() if n is not None} == {"recipients_per_hour": 5}
    numbers = ("--recipients-per-message", "7", "--total-recipients-per-day", "8")
    assert run(tenant, tmp_path, "limits", "set", "--user", "u", *numbers).returncode == 0
    limits = tenant.get("/v2/limits", user_id="u").json["limits"]
    assert limits["send_limits"]["recipients_per_message"] == 7
    assert limits["send_limits_total"] == {"recipients_per_hour": None, "recipients_per_day": 8}


def test_lists(tenant: Tenant, tmp_path: Path) -> None:
    for number in range(5):
        tenant.account(f"a{number}")
    page = run(tenant, tmp_path, "accounts", "list", "--limit", "2", "--json")
    assert page.stdout.strip() == tenant.get("/v2/email-accounts", fields="*", limit=2).text
    assert re.fullmatch(r"There are more: --after \d+, or --all\.\n", page.stderr)
    after = re.findall(r"\d+", page.stderr)[0]
    more = run(tenant, tmp_path, "accounts", "list", "--after", after, "--json")
    assert [item["local_part"] for item in json.loads(more.stdout)["items"]] == ["a2", "a3", "a4"]
    every = run(tenant, tmp_path, "accounts", "list", "--all", "--limit", "2", "--json")
    assert [json.loads(line)["local_part"] for line in every.stdout.splitlines()] == ["a0", "a1", "a2", "a3", "a4"]
    table = run(tenant, tmp_path, "accounts", "list", "--all", "--limit", "2").stdout
    assert re.findall(r"a\d(?=@)", table) == ["a0", "a1", "a2", "a3", "a4"]
    assert table.count("address") == 1


def test_messages(tenant: Tenant, tmp_path: Path) -> None:
    id_ = str(tenant.account()["id"])
    page = run(tenant, tmp_path, "accounts", "list-messages", id_, "--from", "ann", "--unseen", "--limit", "1")
    assert "private" in page.stdout
    assert page.stderr == "There are more: --before-uid 1, or --all.\n"
    shown = run(tenant, tmp_path, "accounts", "get-message", id_, "1.1", "--mailbox", "Sent", "--json")
    assert json.loads(shown.stdout)["message"]["mailbox"] == "Sent"
    assert "INBOX" in run(tenant, tmp_path, "accounts", "list-mailboxes", id_).stdout
    raw = subprocess.run(
        [COMMAND, "api", "accounts", "get-raw-message", id_, "1.1"],
        env=environment(tenant, tmp_path),
        capture_output=True,
        check=True,
    )
    assert raw.stdout == tenant.api.messages.content


def test_domains_and_keys(tenant: Tenant, tmp_path: Path) -> None:
    made = run(tenant, tmp_path, "domains", "create", "cli-claims.test", "--user", "u1")
    assert "_postroom-challenge" in made.stdout
    checked = run(tenant, tmp_path, "domains", "verify", "cli-claims.test", "--user", "u1")
    assert "There is no such record" in checked.stdout
    scopes = ["--scope", "accounts:read", "--scope", "stats:read"]
    key = json.loads(run(tenant, tmp_path, "keys", "create", "--name", "k", *scopes, "--json").stdout)
    assert key["key"]["scopes"] == ["accounts:read", "stats:read"]
    assert run(tenant, tmp_path, "keys", "delete", str(key["key"]["id"])).returncode == 0
    assert tenant.get("/v2/stats", key=key["api_key"]).status == 401


def test_public_routes(tenant: Tenant, tmp_path: Path) -> None:
    no_key = {"POSTROOM_API_KEY": ""}
    assert run(tenant, tmp_path, "health", more=no_key).returncode == 0
    assert json.loads(run(tenant, tmp_path, "readiness", "--json", more=no_key).stdout)["status"] == "ready"
    policy = run(tenant, tmp_path, "mta-sts-policy", tenant.domain, more=no_key)
    assert policy.stdout.startswith("version: STSv1\n")


def test_an_error_is_one_line(tenant: Tenant, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("hunter2\n")
    options = ["--user", "u1", "--password-file", str(password)]
    refused = run(tenant, tmp_path, "accounts", "create", f"sales+eu@{tenant.domain}", *options)
    assert (refused.returncode, refused.stdout) == (1, "")
    line = r"postroom: .* local_part: .* password: .* \(invalid_request, request \w+\)\n"
    assert re.fullmatch(line, refused.stderr)
    assert "hunter2" not in refused.stderr
    missing = run(tenant, tmp_path, "accounts", "get", "4711")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert run(tenant, tmp_path, "accounts", "get", "x").returncode == 2
    assert "name@domain" in run(tenant, tmp_path, "accounts", "create", "billing", "--user", "u").stderr
    assert run(tenant, tmp_path, "accounts", "get", "1", "--url", "ftp://x").returncode == 2


def test_a_secret_comes_from_stdin(tenant: Tenant, tmp_path: Path) -> None:
    id_ = str(tenant.account()["id"])
    chosen = "a long enough password 42"
    reset = run(tenant, tmp_path, "accounts", "reset-password", id_, "--password-file", "-", "--json", given=chosen)
    assert json.loads(reset.stdout)["password"] == chosen


def test_switches(tenant: Tenant, tmp_path: Path) -> None:
    options = ("--no-pop3", "--no-main-password", "--json")
    made = json.loads(
        run(tenant, tmp_path, "accounts", "create", f"ann@{tenant.domain}", "--user", "u", *options).stdout
    )
    on = {"imap": True, "pop3": True, "smtp": True, "sieve": True}
    assert (made["account"]["protocols"], made["account"]["main_password"]) == (on | {"pop3": False}, False)
    id_ = str(made["account"]["id"])
    changed = run(tenant, tmp_path, "accounts", "update", id_, "--pop3", "--no-sieve", "--main-password")
    assert re.search(r"^protocols sieve +no *$", changed.stdout, re.M)
    shown = json.loads(run(tenant, tmp_path, "accounts", "get", id_, "--json").stdout)["account"]
    assert (shown["protocols"], shown["main_password"]) == (on | {"sieve": False}, True)


def test_a_hash_comes_from_a_file(tenant: Tenant, tmp_path: Path) -> None:
    (tmp_path / "hash").write_text(f"{HASHES[0]}\n")
    options = ("--user", "u1", "--password-hash-file", "hash", "--json")
    made = json.loads(run(tenant, tmp_path, "accounts", "create", f"moved@{tenant.domain}", *options).stdout)
    assert (made["password"], made["account"]["password_scheme"]) == (None, "imported")
    reset = run(tenant, tmp_path, "accounts", "reset-password", str(made["account"]["id"]), *options[2:])
    assert json.loads(reset.stdout)["account"]["password_scheme"] == "imported"
    listed = run(tenant, tmp_path, "accounts", "list", "--password-scheme", "imported", "--json")
    assert [item["local_part"] for item in json.loads(listed.stdout)["items"]] == ["moved"]


def test_the_same_idempotency_key_makes_it_once(tenant: Tenant, tmp_path: Path) -> None:
    command = ["keys", "create", "--name", "once", "--idempotency-key", "k 1", "--json"]
    assert run(tenant, tmp_path, *command).stdout == run(tenant, tmp_path, *command).stdout


def test_login_keeps_the_key_for_its_url_alone(tenant: Tenant, stranger: Tenant, tmp_path: Path) -> None:
    url = url_of(tenant)
    wrong = run(None, tmp_path, "login", "--url", url, "--key-file", "-", given="pr_wrong")
    assert (wrong.returncode, "unauthorized" in wrong.stderr) == (1, True)
    kept = tmp_path / ".config" / "postroom" / "api.toml"
    assert not kept.exists()
    narrow = tenant.new_key(scopes=["accounts:read"])
    done = run(None, tmp_path, "login", "--url", url, "--key-file", "-", given=f"{narrow}\n")
    assert (done.returncode, narrow in done.stdout + done.stderr) == (0, False)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert run(None, tmp_path, "accounts", "list").returncode == 0
    elsewhere = url.replace("127.0.0.1", "localhost")
    assert "set POSTROOM_API_KEY" in run(None, tmp_path, "accounts", "list", "--url", elsewhere).stderr
    kept.chmod(0o640)
    refused = run(None, tmp_path, "accounts", "list")
    assert (refused.returncode, "chmod 600" in refused.stderr) == (2, True)


def test_without_a_url_it_says_what_to_do(tmp_path: Path) -> None:
    refused = run(None, tmp_path, "stats")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "POSTROOM_URL" in refused.stderr


def test_a_key_is_asked_for_at_a_terminal(tenant: Tenant, tmp_path: Path) -> None:
    """The terminal does not echo the key."""
    ours, theirs = pty.openpty()
    surroundings = environment(tenant, tmp_path) | {"POSTROOM_API_KEY": ""}
    process = subprocess.Popen(
        [COMMAND, "api", "stats", "--json"],
        env=surroundings, stdin=theirs, stderr=theirs, stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    said = b""
    while b"API key" not in said:
        said += os.read(ours, 1000)
    wait_for("no echo", lambda: not termios.tcgetattr(ours)[3] & termios.ECHO)
    os.write(ours, f"{tenant.key}\n".encode())
    assert json.loads(process.communicate(timeout=30)[0])["accounts"]["total"] == 0
    os.set_blocking(ours, False)
    with contextlib.suppress(OSError):
        said += os.read(ours, 10_000)
    os.close(ours)
    assert tenant.key.encode() not in said


def test_no_control_character_reaches_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    tables.show({"found": ["a\x1b]0;title\x07b"], "dns": [{"host": "x\x1b[31m\u202e"}]})
    printed = capsys.readouterr().out
    assert not [char for char in printed if char != "\n" and not char.isprintable()]
    assert r"\x1b" in printed


def test_the_words_are_those_of_parameters() -> None:
    """Every description in postroom/parameters.py is used, except those of `fields` and
    `emailaddress`, which only the API has, of the owner's page, of `/mail`, and of the fields of an
    attachment, which is a file here."""
    known = {words for hint in vars(parameters).values() if (words := parameters.words_of(hint))}
    used = {parameter.words for entry in catalog().values() for parameter in entry.parameters}
    owners = (parameters.OwnAddress, parameters.OwnPassword, parameters.NewPassword)
    attachment = [parameters.AttachmentFilename, parameters.AttachmentType, parameters.AttachmentContent]
    attachment += [parameters.AttachmentContentId]
    other = (parameters.Fields, parameters.EmailAddress, *owners, *attachment, parameters.Uid)
    assert known - used == {parameters.words_of(hint) for hint in other}


@pytest.mark.parametrize(("command", "missing"), [("api stats", "cli"), ("mcp", "mcp")])
def test_an_extra_that_is_not_installed_is_named(tmp_path: Path, command: str, missing: str) -> None:
    program = (
        f"import sys; sys.modules |= dict.fromkeys(('httpx2', 'mcp')); sys.argv = 'postroom {command}'.split();"
        "from postroom.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"pip install '.[{missing}]'" in done.stderr


def test_a_command_loads_what_it_needs() -> None:
    """The supervisor is a command too, and keeps its modules in memory for as long as it runs."""
    heavy = {"httpx2", "postroom.client", "mcp", "cryptography", "zstandard", "rich"}
    look = f"import sys, postroom.cli.main; print({heavy} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True).stdout == "set()\n"


def test_the_supervisor_loads_what_it_needs() -> None:
    """`postroom serve` runs for months; what only its children need is loaded by them."""
    heavy = {"typer", "pydantic", "cryptography", "jinja2", "httpx2", "uvicorn", "uvloop", "starlette", "argon2", "dns"}
    heavy |= {"sqlite3", "psycopg", "postroom.db", "postroom.api", "postroom.client"}
    look = "import sys; sys.argv[1:] = ['serve']; from postroom.cli import _load; _load(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout.split()
    assert "postroom.service.serve" in loaded
    assert heavy.intersection(loaded) == set()
