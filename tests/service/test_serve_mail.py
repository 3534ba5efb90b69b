"""`postroom serve` with Dovecot and Postfix: the user of each process, and that no process outlives
the service."""

import imaplib
import os
import pwd
import re
import signal
import smtplib
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroom.client import Client
from postroom.mailplane.certificate import self_signed
from postroom.mailplane.certificate_watch import Renewal
from postroom.mailplane.daemons import dovecot, dovecot_version, postfix
from postroom.settings import load
from postroom.supervision import stale_processes
from tests.harness.service import Service, is_alive, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Postfix needs root")

DAEMONS = ("dovecot", "opendkim", "postfix")
# The masters, and the two helpers that Dovecot needs as root.
MAY_KEEP_ROOT: tuple[str, ...] = (
    "postroom serve",
    "guard.py",
    "dovecot -F",
    "master -s",
    "/log",
    "/config",
    "proxymap",
)
# In Dovecot 2.4 anvil itself ends sessions, through sockets of other processes, which belong to
# root.
MAY_KEEP_ROOT += ("/anvil",) if dovecot_version() == "2.4" else ()


@pytest.fixture
def service() -> Iterator[Service]:
    with Service.new() as new:
        yield new.start()


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    """A service for the tests that leave it as they found it."""
    with Service.new() as new:
        yield new.start()


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()


def session(service: Service, name: str) -> list[int]:
    """Returns every process of a daemon."""
    return stale_processes.find(service.data, {service.pid(name)})


def kill(pids: list[int], number: int = signal.SIGKILL) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def test_it_works(service: Service) -> None:
    assert imaplib.IMAP4("127.0.0.1", service.ports["imap_port"]).welcome.startswith(b"* OK")
    with socket.create_connection(("127.0.0.1", service.ports["smtp_port"])) as client:
        assert client.recv(1024).startswith(b"220 ")
    assert service.get("/readyz")[1]["parts"].keys() == {"database", "worker", "milter", *DAEMONS}
    assert service.stop() == 0


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_a_start_gives_no_warning(request: pytest.FixtureRequest, engine: str) -> None:
    """No daemon warns, of a deprecated setting for example, when it checks its files, starts, or
    delivers a message."""
    url = request.getfixturevalue("postgres").new_database() if engine == "postgresql" else ""
    with Service.new(**({"database_url": url} if url else {})) as service:
        service.start()
        settings = load(service.environment, service.data)
        for daemon in (dovecot(settings), postfix(settings)):
            for command in daemon.checks:
                done = subprocess.run(command, env=daemon.environment, capture_output=True, text=True)
                assert (done.returncode, done.stderr) == (0, ""), command
        address, _ = make_account(service)
        with smtplib.SMTP("127.0.0.1", service.ports["smtp_port"]) as client:
            client.sendmail("someone@elsewhere.example", address, "Subject: hello\r\n\r\nhello")
        log = service.data / "log" / "postfix.log"
        wait_for("the delivery", lambda: "status=sent" in log.read_text())
        told = service.said() + "".join(path.read_text() for path in (service.data / "log").iterdir())
    assert "starting" in told, "the logs of the daemons are elsewhere"
    found = re.findall(r"(?i).*\b(?:warning|obsolete|deprecated|unsupported|error|fatal)\b.*", told)
    # Dovecot 2.4 names the setting for imported MD5-CRYPT hashes (decision 0257).
    assert [line for line in found if not line.endswith("auth: Warning: Weak password schemes are allowed")] == []


def test_it_starts_over_a_message_that_was_being_written(service: Service) -> None:
    """A writer that was killed leaves a file with a temporary name, which Postfix's check
    reports."""
    assert service.stop() == 0
    left = service.data / "spool" / "incoming" / "155139.16320"
    left.touch(0o600)
    os.chown(left, pwd.getpwnam("postfix").pw_uid, -1)
    assert service.start().stop() == 0
    assert service.processes() == {}


def test_the_supervisor_and_the_guards_load_little(running: Service) -> None:
    """What a library compiles shows in the memory of the process: of all libraries, msgspec alone
    is there, and a guard has none."""

    def compiled(pid: int) -> set[str]:
        mapped = Path(f"/proc/{pid}/maps").read_text()
        return set(re.findall(r"/site-packages/([^/\n]+)/.*\.so$", mapped, re.MULTILINE))

    assert compiled(running.pid("api")) >= {"msgspec", "cryptography", "uvloop"}, "what is to be seen"
    assert running.process
    assert compiled(running.process.pid) == {"msgspec"}
    assert compiled(parent(running.pid("dovecot"))) == set()


def test_only_the_masters_keep_root(running: Service) -> None:
    with imaplib.IMAP4("127.0.0.1", running.ports["imap_port"]):
        daemons = [pid for name in DAEMONS for pid in session(running, name)]
        roots = [pid for pid in [*daemons, *running.processes()] if Path(f"/proc/{pid}").stat().st_uid == 0]
        assert [name_of(pid) for pid in roots if not any(name in name_of(pid) for name in MAY_KEEP_ROOT)] == []


def test_root_leaves_no_file_of_its_own(service: Service) -> None:
    service.stop()
    for folder in ("db", "mail"):
        paths = [service.data / folder, *(service.data / folder).rglob("*")]
        assert {path.lstat().st_uid for path in paths} == {pwd.getpwnam("postroom").pw_uid}
        assert (service.data / folder).stat().st_mode & 0o777 == 0o700


def test_what_root_reads_cannot_be_replaced(service: Service) -> None:
    """An attacker with the rights of the system user does not get root at the next start."""
    service.stop()
    elsewhere = service.data.parent / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    attempts = """
import os, sys
data, elsewhere = sys.argv[1:]
for name in ("postfix", "dovecot", "opendkim", "run", "log", "run/dovecot"):
    try:
        os.rename(f"{data}/{name}", f"{data}/away")
    except OSError:
        continue
    print(name)
# What root rotates: a link in the place of a log would be emptied, or given away, by root.
for attempt in (
    lambda: os.symlink("/etc/hostname", f"{data}/log/other.log"),
    lambda: os.symlink("/etc/hostname", f"{data}/log/api.log.1"),
    lambda: os.link(f"{data}/db/postroom.db", f"{data}/log/api.log.1"),
    lambda: os.rename(f"{data}/log/api.log", f"{data}/log/api.log.1"),
    lambda: os.unlink(f"{data}/log/api.log"),
):
    try:
        attempt()
    except PermissionError:
        continue
    print("log")
os.rename(f"{data}/mail", f"{data}/mail-away")
os.symlink(elsewhere, f"{data}/mail")
"""
    user = pwd.getpwnam("postroom")
    command = ["/usr/bin/python3", "-c", attempts, str(service.data), str(elsewhere)]
    done = subprocess.run(command, capture_output=True, text=True, user=user.pw_uid, group=user.pw_gid, extra_groups=[])
    assert (done.stdout, done.stderr) == ("", "")
    service.launch()
    wait_for("the refusal", service.ended)
    assert "POSTROOM_DATA" in service.said()
    assert (elsewhere.stat().st_mode & 0o777, elsewhere.stat().st_uid) == (0o700, 0)
    (service.data / "mail").unlink()
    (service.data / "mail-away").rename(service.data / "mail")


def test_two_instances_run_side_by_side(running: Service) -> None:
    with Service.new() as other:
        other.start()
        assert running.ready()
        assert other.ready()
        assert other.stop() == 0
    assert running.ready()


def test_everything_dies_with_the_supervisor(service: Service) -> None:
    daemons = [pid for name in DAEMONS for pid in session(service, name)]
    service.stop(signal.SIGKILL)
    wait_for("every process to be gone", lambda: not service.processes())
    assert not any(is_alive(pid) for pid in daemons)


def test_a_start_ends_the_orphans_of_a_killed_run(service: Service) -> None:
    """Supervisor and guards are killed at once, so that no process is left to end the daemons."""
    assert service.process
    guards = [parent(service.pid(name)) for name in DAEMONS]
    daemons = [pid for name in DAEMONS for pid in session(service, name)]
    kill([service.process.pid], signal.SIGSTOP)
    kill([*guards, service.process.pid])
    service.process.wait()
    assert session(service, "postfix"), "Postfix is expected to outlive its guard"
    service.start()
    assert "processes that an earlier run had left behind" in service.said()
    assert not any(is_alive(pid) for pid in daemons)
    assert service.ready()


@pytest.mark.parametrize("name", DAEMONS)
def test_a_crashed_daemon_comes_back(running: Service, name: str) -> None:
    assert running.process
    dead = running.pid(name)
    kill([running.process.pid], signal.SIGSTOP)  # so that the part stays down until that was noticed
    kill(session(running, name))
    wait_for("/readyz to report the daemon", lambda: running.get("/readyz")[1]["parts"][name] != "ok")
    kill([running.process.pid], signal.SIGCONT)
    wait_for("the return of the daemon", running.ready)
    assert running.pid(name) != dead
    assert f"{name} ended (" in running.said()


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_whose_guard_is_killed_is_replaced(running: Service, name: str) -> None:
    dead = running.pid(name)
    kill([parent(dead)])
    wait_for("another daemon", lambda: running.pid(name) not in (0, dead) and running.ready())
    assert not is_alive(dead)


def test_it_refuses_a_mail_port_that_is_taken(service: Service) -> None:
    service.stop()
    with socket.create_server(("127.0.0.1", service.ports["smtp_port"])):
        done = service.run("serve")
    assert done.returncode == 2
    assert "POSTROOM_SMTP_PORT" in done.stdout
    assert service.processes() == {}


def test_mail_alone(service: Service) -> None:
    """Like a separate unit beside the API."""
    service.stop()
    service.launch("--only", "mail")
    wait_for("the daemons", lambda: "API key" in service.said())
    assert not (service.data / "run" / "api.pid").exists()
    assert imaplib.IMAP4("127.0.0.1", service.ports["imap_port"]).welcome.startswith(b"* OK")
    assert service.stop() == 0
    assert service.processes() == {}


def test_without_root_no_client_is_sent_to_a_submission_server() -> None:
    """Nor does the first block name a port for sending: Postfix needs root."""
    nobody = 65534
    with Service.new(mail="on") as service:
        os.chown(service.data.parent, nobody, nobody)
        service.prefix = ("setpriv", f"--reuid={nobody}", f"--regid={nobody}", "--clear-groups")
        service.start()
        assert "off: Postfix needs root" in service.said()
        with Client(f"http://127.0.0.1:{service.ports['port']}", service.key()) as client:
            made = client.create_account("demo.test", "reader", user_id="user_1")
            known = client.get_client_settings(made.account.id)
        assert (len(known.imap), known.submission) == (2, [])


def renew(folder: Path) -> tuple[Path, Path]:
    """Creates a new pair."""
    paths = folder / "cert.pem", folder / "key.pem"
    for path, content in zip(paths, self_signed("mail.postroom.test", datetime.now(UTC)), strict=True):
        path.write_bytes(content)
    return paths


def make_account(service: Service) -> tuple[str, str]:
    """Returns address and password."""
    with Client(f"http://127.0.0.1:{service.ports['port']}", service.key()) as client:
        made = client.create_account("demo.test", "reader", user_id="user_1")
        return made.account.address, str(made.password)


def test_a_renewed_certificate_is_read_without_a_restart(tmp_path: Path) -> None:
    certificate, key = renew(tmp_path)
    with Service.new(tls_cert=str(certificate), tls_key=str(key)) as service:
        service.start()
        daemons = [service.pid(name) for name in DAEMONS]
        listeners = [("127.0.0.1", service.ports[name]) for name in ("imaps_port", "pop3s_port", "submissions_port")]
        assert {ssl.get_server_certificate(listener) for listener in listeners} == {certificate.read_text()}
        account = make_account(service)
        renew(tmp_path)
        for listener in listeners:
            wait_for("it", lambda at=listener: ssl.get_server_certificate(at) == certificate.read_text())
        trusting = ssl.create_default_context(cafile=certificate)
        trusting.check_hostname = False
        with imaplib.IMAP4_SSL(*listeners[0], ssl_context=trusting) as session:
            session.login(*account)
            assert session.select()[0] == "OK"
        assert [service.pid(name) for name in DAEMONS] == daemons
        assert service.ready()
        assert service.stop() == 0


def test_a_pair_that_does_not_fit_is_not_read(tmp_path: Path) -> None:
    certificate, key = renew(tmp_path)
    renewal = Renewal(certificate, key)
    assert renewal.due() is None
    certificate.write_bytes(self_signed("mail.postroom.test", datetime.now(UTC))[0])
    assert renewal.due(), "the key is still the old one"
    assert renewal.due() is None
    renew(tmp_path)
    assert renewal.due() == ""
    key.unlink()
    assert renewal.due()
