"""`postroom serve` without the mail daemons: starts, refusals and ends."""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from postroom.client import Client, Conflict
from postroom.service.processes import Prepared
from postroom.service.terminal import Terminal
from postroom.settings import Settings
from postroom.supervision import logfiles
from postroom.tenants.send_limits import SendLimits
from tests.harness import traces
from tests.harness.service import COMMAND, SIGNALLED, Service, wait_for
from tests.harness.stopped_worker import stop_the_worker

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="there is a system user only as root")


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.new(mail="off") as new:
        yield new


def status_of(pid: int, name: str) -> str:
    """Returns a line of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:"))


def refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_works(service: Service) -> None:
    service.start()
    curl = "curl" + service.said().partition("curl")[2]
    done = subprocess.run(["sh", "-c", curl], capture_output=True, text=True, check=True)
    account = json.loads(done.stdout)["account"]
    assert account["address"] == "billing@demo.test"
    with Client(f"http://127.0.0.1:{service.ports['port']}", service.key()) as client:
        for ask in (client.get_usage, client.get_sessions):
            with pytest.raises(Conflict, match="POSTROOM_MAIL is off"):
                ask(account["id"])
    assert service.stop() == 0
    assert service.processes() == {}


def test_the_key_is_shown_once_and_nowhere_else(service: Service) -> None:
    key = service.start().key()
    started = list(traces.processes(service))
    assert started
    assert [path for path, content in started if key.encode() in content] == []
    assert service.stop() == 0
    assert all(key not in log.read_text() for log in (service.data / "log").iterdir())
    service.start()
    assert key not in service.said()
    assert "postroom keys create" in service.said()


def test_a_first_start_that_fails_costs_no_key() -> None:
    """It fails after the database was created. The next start shows the key, and there is no other
    key."""
    with Service.new(tls_cert="/missing.pem", tls_key="/missing.key") as service:
        for _ in range(2):
            done = service.run("serve")
            assert done.returncode == 2
            assert "/missing.pem" in done.stdout
            assert "pr_" not in done.stdout
        del service.settings["tls_cert"], service.settings["tls_key"]
        service.settings["mail"] = "off"
        key = service.start().key()
        with Client(f"http://127.0.0.1:{service.ports['port']}", key) as client:
            assert [key.startswith(found.prefix) for found in client.list_keys()] == [True]
        assert service.stop() == 0
        assert "pr_" not in service.start().said()


def test_the_first_key_is_for_the_part_that_shows_it(service: Service) -> None:
    """The worker starts first and creates the database, but no key, because it could not show the
    key."""
    service.launch("--only", "worker")
    unshown = service.data / "db" / "unshown_key.id"
    wait_for("the database", unshown.exists)
    assert "pr_" not in service.said()
    api = Service(service.data, ports=service.ports, settings=service.settings)
    try:
        key = api.start("--only", "api").key()
        wait_for("the end of the block", lambda: not unshown.exists())
        with Client(f"http://127.0.0.1:{api.ports['port']}", key) as client:
            assert [key.startswith(found.prefix) for found in client.list_keys()] == [True]
            assert "key.revoked" not in {event.type for event in client.list_events()}
        # Neither runs Dovecot, so neither decides which key app passwords are made with.
        with closing(sqlite3.connect(service.data / "db" / "postroom.db")) as database:
            assert database.execute("SELECT * FROM digest_keys").fetchall() == []
    finally:
        api.stop()


def test_instance_is_new_at_every_start(service: Service) -> None:
    seen = set()
    for _ in range(2):
        seen.add(service.start().get("/readyz")[1]["instance"])
        service.stop()
    assert len(seen) == 2


def test_it_refuses_a_second_service_on_the_same_data(service: Service) -> None:
    service.start()
    other = Service(service.data, settings=service.settings)
    done = other.run("serve")
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert "Another Postroom service" in done.stdout
    assert service.ready()


def test_it_refuses_a_port_that_is_taken(service: Service) -> None:
    with socket.create_server(("127.0.0.1", service.ports["port"])):
        done = service.run("serve")
    assert done.returncode == 2
    assert f"Port {service.ports['port']} on 127.0.0.1 is taken: choose another with POSTROOM_PORT." in done.stdout
    assert not service.data.exists(), "a start that is refused leaves nothing behind"


@pytest.mark.parametrize("words", ["status", "serve"])
def test_an_interrupt_while_it_is_read_says_nothing(service: Service, words: str) -> None:
    """The interrupt comes at the command's entry, before its modules are loaded."""
    assert "from postroom.cli import start" in COMMAND.read_text()
    interrupted = """
import os, signal, sys
class Finder:
    def find_spec(name, path=None, target=None):
        if name in ("postroom.cli.main", "postroom.service.serve"):
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Finder)
from postroom.cli import start
start()
"""
    command = [*SIGNALLED, sys.executable, "-c", interrupted, words]
    done = subprocess.run(command, env=service.environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("x" * 80, "too long for unix sockets"),
        ("with space", "letters, digits"),
        ("file/data", "Not a directory"),
    ],
)
def test_it_refuses_a_data_directory(service: Service, name: str, said: str) -> None:
    (service.data.parent / "file").touch()
    service.data = service.data.with_name(name) if "/" not in name else service.data.parent / name
    done = service.run("serve")
    assert (done.returncode, done.stdout.count("\n")) == (2, 1)
    assert "POSTROOM_DATA" in done.stdout
    assert said in done.stdout


@AS_ROOT
def test_it_refuses_a_data_directory_that_its_user_cannot_reach(service: Service) -> None:
    service.data.parent.chmod(0o700)
    done = service.run("serve")
    assert done.returncode == 2
    assert f"{service.data.parent} is closed to others" in done.stdout


def test_it_refuses_a_broken_database(service: Service) -> None:
    service.start()
    service.stop()
    (service.data / "db" / "postroom.db").write_text("This is not a database. " * 500)
    done = service.run("serve")
    assert done.returncode == 2
    assert "The database cannot be used" in done.stdout
    assert service.processes() == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_everything(service: Service, number: int) -> None:
    service.start()
    assert service.stop(number) == 0
    assert re.search(r"^stopping ….*\nstopped after \d+\.\d s\n\Z", service.said(), re.M)
    assert service.processes() == {}
    assert not list((service.data / "run").glob("*.pid"))


def test_requests_under_way_are_answered(service: Service) -> None:
    service.start()
    body = b'{"domain":"demo.test","local_part":"late","user_id":"user_123"}'
    head = (
        f"POST /v2/email-accounts/create HTTP/1.1\r\nHost: x\r\nx-api-key: {service.key()}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.ports["port"])) as client:
        client.sendall(head.encode() + body[:10])
        assert service.process
        service.ready()  # a later request was answered, so this head has been read
        service.process.send_signal(signal.SIGTERM)
        wait_for("new connections to be refused", lambda: refused(service.ports["port"]))
        client.sendall(body[10:])
        assert client.recv(65536).startswith(b"HTTP/1.1 201 ")
    assert service.process.wait(60) == 0


def test_a_second_signal_does_not_wait(service: Service) -> None:
    service.start()
    with socket.create_connection(("127.0.0.1", service.ports["port"])) as client:
        client.sendall(b"POST /v2/email-accounts/create HTTP/1.1\r\nHost: x\r\ncontent-length: 9\r\n\r\n")
        service.ready()
        assert service.process
        service.process.send_signal(signal.SIGINT)
        wait_for("new connections to be refused", lambda: refused(service.ports["port"]))
        service.stop(signal.SIGINT)
    assert service.processes() == {}


@pytest.mark.parametrize("part", ["api", "worker"])
def test_a_crashed_part_comes_back(service: Service, part: str) -> None:
    service.start()
    dead = service.pid(part)
    os.kill(dead, signal.SIGKILL)
    assert service.ready() or part == "worker"  # a request to a dead API waits for its successor
    wait_for("another process", lambda: service.pid(part) not in (0, dead) and service.ready())
    assert f"{part} ended (SIGKILL), starts again in 0.2 s" in service.said()


def test_readyz_tells_of_a_silent_worker(service: Service) -> None:
    service.start()
    worker = stop_the_worker(service)
    wait_for("/readyz to report the worker", lambda: not service.ready())
    assert "silent" in service.get("/readyz")[1]["parts"]["worker"]
    os.kill(worker, signal.SIGCONT)
    wait_for("the return of the worker", service.ready)


def test_everything_dies_with_the_supervisor(service: Service) -> None:
    service.start()
    service.stop(signal.SIGKILL)
    wait_for("every process to be gone", lambda: not service.processes())
    assert service.start().ready()


@AS_ROOT
def test_parts_run_as_the_system_user(service: Service) -> None:
    service.start()
    for part in ("api", "worker"):
        pid = service.pid(part)
        assert Path(f"/proc/{pid}").stat().st_uid == (service.data / "db").stat().st_uid != 0
        assert status_of(pid, "Uid").split() == [str((service.data / "db").stat().st_uid)] * 4
        assert status_of(pid, "Groups") == ""


@AS_ROOT
def test_a_pid_file_is_never_written_through_a_link(service: Service) -> None:
    service.start()
    victim, dead = service.data.parent / "victim", service.pid("worker")
    victim.write_text("precious")
    link = service.data / "run" / "worker.pid"
    link.unlink()
    link.symlink_to(victim)
    os.kill(dead, signal.SIGKILL)
    wait_for("the pid of another process", lambda: service.pid("worker") not in (0, dead))
    assert victim.read_text() == "precious"


def test_parts_inherit_nothing(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLOUD_SECRET", "x")
    service.start()
    pid = service.pid("api")
    names = {pair.partition(b"=")[0].decode() for pair in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")}
    assert {name for name in names if not name.startswith("POSTROOM_")} <= {"", "PATH", "LANG", "TZ"}
    assert Path(f"/proc/{pid}/fd/0").readlink() == Path("/dev/null")


def test_several_api_processes_share_the_port(service: Service) -> None:
    service.settings["workers"] = "2"
    service.start()
    assert service.pid("api") != service.pid("api-2")

    key = service.run("keys", "create", "--organization", "operator").stdout.strip()

    def named() -> set[str]:
        with Client(f"http://127.0.0.1:{service.ports['port']}", key) as client:
            return set(re.findall(r'process="([^"]+)"', client.get_metrics()))

    wait_for("the metrics of both", lambda: named() == {"api", "api-2"})
    assert service.stop() == 0


@pytest.mark.parametrize("part", ["api", "worker"])
def test_a_part_alone_stays_in_the_foreground(service: Service, part: str) -> None:
    service.launch("--only", part)
    assert service.process
    pid = service.process.pid
    if part == "api":
        wait_for("the API", lambda: not refused(service.ports["port"]))
        assert service.get("/readyz")[1]["parts"]["worker"] == "The worker does not run."
    else:
        wait_for("the worker", (service.data / "run" / "worker.alive").exists)
    assert Path(f"/proc/{pid}").stat().st_uid == (service.data / "db").stat().st_uid
    assert service.stop() == 0


def test_status_tells_what_runs(service: Service) -> None:
    assert "stopped" in service.run("status").stdout
    service.start()
    assert "running" in service.run("status").stdout


@AS_ROOT
def test_status_for_somebody_else_says_what_he_cannot_see(service: Service) -> None:
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(COMMAND), "status", "--json"]

    def asked(expected: int, **settings: str) -> dict[str, str]:
        done = subprocess.run(command, env=service.environment | settings, cwd="/", capture_output=True, text=True)
        assert done.returncode == expected, done.stderr
        return {row["part"]: row["state"] for row in json.loads(done.stdout)}

    assert asked(1)["api"] == "stopped"
    refused = subprocess.run(
        [*command[:-2], "keys", "list", "--organization", "x"],
        env=service.environment,
        cwd="/",
        capture_output=True,
        text=True,
    )
    assert (refused.returncode, "as root, or as the user" in refused.stderr) == (2, True)
    service.settings["mail"] = "on"
    service.start()
    assert asked(0) == dict.fromkeys(("api", "worker", "dovecot", "milter", "opendkim", "postfix"), "running")
    without_the_api = asked(1, POSTROOM_PORT="1")
    assert (without_the_api["api"], without_the_api["opendkim"]) == ("stopped", "unknown")
    service.data.parent.chmod(0o700)
    assert set(asked(0).values()) == {"unknown"}
    service.data.parent.chmod(0o755)


def test_a_full_log_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "api.log"
    descriptor = logfiles.open_log(path, None)
    for text in (b"first\n", b"second\n"):
        os.write(descriptor, text)
        logfiles.rotate(tmp_path, None, largest=3)
    os.write(descriptor, b"now\n")
    os.close(descriptor)
    assert [path.read_text(), (tmp_path / "api.log.1").read_text()] == ["now\n", "second\n"]
    assert (tmp_path / "api.log.2").read_text() == "first\n"


@pytest.mark.parametrize(
    ("host", "link", "mail_host", "mail", "reach"),
    [
        ("127.0.0.1", "http://127.0.0.1:3000/", "127.0.0.1, ::1", "on", "loopback only"),
        ("0.0.0.0", "http://127.0.0.1:3000/", "127.0.0.1, 0.0.0.0", "on", "takes mail from all hosts at port 1025"),
        ("::", "http://[::1]:3000/", "::", "on", "takes mail from all hosts at port 1025"),
        ("192.0.2.1", "http://192.0.2.1:3000/", "192.0.2.1", "off", "without mail"),
    ],
)
def test_the_block_says_where_the_service_is_reached(
    host: str, link: str, mail_host: str, mail: Literal["on", "off"], reach: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also in a container, which listens on all addresses: a link leads to an address that is
    one."""
    settings = Settings(host=host, mail_host=mail_host, mail=mail)
    prepared = Prepared("demo", "demo.test", console_link="token", send_limits=SendLimits(200, 1000))
    Terminal().block(settings, prepared, with_postfix=True)
    said = capsys.readouterr().out
    assert set(re.findall(r"http://\S+?:3000/", said)) == {link}
    assert f"Demo domain demo.test (active, {reach}, outbound mail off)" in said
    assert "Send limits 200 recipients an hour and 1,000 recipients a day for each account" in said


def test_a_demo_domain_that_is_taken_does_not_stop_the_first_start(service: Service) -> None:
    service.settings["mail"] = "off"
    service.run("keys", "create", "--organization", "acme").check_returncode()
    service.run("domains", "create", "demo.test", "--organization", "acme", "--active").check_returncode()
    service.start()
    assert "Demo domain" not in service.said()
    assert service.key()
    assert service.stop() == 0
