"""`postroom serve`: starts an instance, supervises it and stops it. Only wiring.

This process stays root if it was started as root, so it serves no HTTP and opens no database. All
code that reads a request or a row runs as the system user, in postroom/service/processes.py.
"""

import asyncio
import os
import resource
import secrets
import signal
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal

import msgspec

from postroom import settings as settings_of
from postroom.instance import data_directory, system_user
from postroom.instance.data_directory import CannotStart
from postroom.instance.system_user import Identity
from postroom.log import log
from postroom.mailplane import daemons, probe, trust_file
from postroom.mailplane.certificate_watch import Renewal
from postroom.mailplane.postfix import proxymap_watchdog, queues
from postroom.mailplane.render import OwnNode, database_path, tls_paths
from postroom.service import configuration, health_checks, ports, processes
from postroom.service.config_watch import Following
from postroom.service.processes import Prepared
from postroom.service.terminal import Terminal
from postroom.settings import Settings
from postroom.supervision import logfiles, stale_processes
from postroom.supervision.supervisor import Part, Supervisor

Only = Literal["api", "worker", "mail"]

CLEAN, FAILED, UNUSABLE = 0, 1, 2
STARTS_TRIED = 4
# Seconds: until the terminal says which parts are not ready, between two rotations of the logs, and
# between two checks for readiness.
UNREADY_FOR_LONG = 60.0
ROTATION = 10.0
PAUSE = 0.1
OPEN_FILES = 65_536
# The parts of the mail plane: three daemons, and our own milter.
DAEMONS = ("dovecot", "milter", "opendkim", "postfix")
NEED_POSTFIX = ("milter", "opendkim", "postfix")
WITHOUT_ROOT = "SMTP is off: Postfix needs root to start, and this service has none."


class NotReady(Exception):
    """A part does not start. The text is one line for the operator."""


def serve(settings: Settings, only: Only | None = None) -> int:
    """Runs the service, or one part of it, until a signal stops it. Returns the exit code."""
    terminal = Terminal()
    os.umask(0o022)
    _allow_connections()
    _tell_of_open_secrets(terminal)
    try:
        if only == "api" or only == "worker":
            _run_alone(settings, only, terminal)
        else:
            asyncio.run(_Service(settings, only, terminal).run())
    except (CannotStart, system_user.NoSystemUser) as error:
        terminal.refuse(str(error))
        return UNUSABLE
    except NotReady as error:
        terminal.refuse(str(error))
        return FAILED
    return CLEAN


def _tell_of_open_secrets(terminal: Terminal) -> None:
    """Warns about a settings file with a password that others can read. That is no reason to stop
    mail, but nobody would notice it otherwise."""
    me = system_user.find()
    if fault := settings_of.open_secrets(me.gid if me else None):
        terminal.warn(fault)


def _allow_connections() -> None:
    """Raises the soft limit of open files: each connection is a file, and the soft limit is often
    1,024, far below the hard limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def status(settings: Settings) -> list[tuple[str, str, str]]:
    """Checks each part from outside. Returns (name, state, reason) for each; the state is
    `running`, `stopped`, `off`, or `unknown` if this user may not check the part."""
    try:
        settings.data.exists()
    except PermissionError:
        return [(name, "unknown", probe.UNSEEN) for name in ("api", "worker", *DAEMONS)]
    if settings.mail == "off":
        off = [(name, "off", "POSTROOM_MAIL=off") for name in DAEMONS]
    else:
        expected = health_checks.has_postfix(settings) or os.geteuid() == 0
        off = [] if expected else [(name, "off", WITHOUT_ROOT) for name in NEED_POSTFIX]
    if not data_directory.is_locked(settings.data):
        names = ["api", *health_checks.checks(settings)]
        return [(name, "stopped", f"nothing runs on {settings.data}") for name in names] + off
    return asyncio.run(_ask_parts(settings)) + off


async def _ask_parts(settings: Settings) -> list[tuple[str, str, str]]:
    told = await health_checks.told_by_api(settings)
    api = health_checks.SILENT if told is None else None
    reasons = {"api": api} | await health_checks.Readiness(health_checks.checks(settings))()
    return [_state(name, reason, told or {}) for name, reason in reasons.items()]


def _state(name: str, reason: str | None, told: dict[str, str]) -> tuple[str, str, str]:
    """Returns the row of a part. If this user may not check the part, uses what the API says."""
    if reason == probe.UNSEEN and name in told:
        reason = None if told[name] == "ok" else told[name]
    state = "unknown" if reason == probe.UNSEEN else "stopped" if reason else "running"
    return name, state, reason or ""


def _run_alone(settings: Settings, part: Literal["api", "worker"], terminal: Terminal) -> None:
    """Runs the API or the worker in this process, as the system user. The log goes to standard
    output."""
    early = ports.listen(settings) if part == "api" and not settings.data.exists() else None
    _, _locks = _open_instance(settings, part)
    listener = early or (ports.listen(settings) if part == "api" else None)
    from postroom.service.preparation import prepare

    system_user.ensure().become(system_user.sending_groups() if part == "api" and settings.mail == "on" else ())
    os.chdir(settings.data)
    log.configure(settings.log_level)
    with terminal.step("Database"):
        prepared = prepare(settings, shows_key=part == "api")
    if listener:
        from postroom.service.api_process import run_api

        terminal.block(settings, prepared, health_checks.has_postfix(settings))
        run_api(settings, listener, secrets.token_hex(8))
    else:
        from postroom.service.worker_process import run_worker

        run_worker(settings)


def _open_instance(settings: Settings, only: Only | None) -> tuple[Identity, list[int]]:
    """Makes and locks the data directory. Returns the identity and the descriptors of the lock,
    which lasts as long as they are open."""
    data_directory.check_path(settings.data)
    me = system_user.ensure()
    data_directory.make_directories(settings.data, me)
    return me, data_directory.lock(settings.data, only, me)


def _refuse_unusable(node: OwnNode) -> None:
    """Raises CannotStart for an unusable node: its data comes from the database and goes into files
    that root's processes read."""
    try:
        trust_file.check_form(node)
    except trust_file.NotUsable as error:
        raise CannotStart(f"The nodes in the database cannot be used: {error}") from None


class _Service:
    """The supervised service: all parts, or only the mail daemons."""

    def __init__(self, settings: Settings, only: Literal["mail"] | None, terminal: Terminal) -> None:
        self._settings = settings
        self._only = only
        self._terminal = terminal
        self._mail = settings.mail == "on"
        self._postfix = self._mail and os.geteuid() == 0
        self._instance = secrets.token_hex(8)
        self._listener: socket.socket | None = None
        self._supervisor: Supervisor | None = None
        self._life: asyncio.Task[None] | None = None
        self._outages: asyncio.Task[None] | None = None
        self._follower: asyncio.Task[None] | None = None
        self._told_at: float | None = None

    async def run(self) -> None:
        """Starts the service, waits for a signal, and stops the service."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:  # ignored, as under nohup
                asyncio.get_running_loop().add_signal_handler(number, self._told)
        self._life = asyncio.create_task(self._live())
        await asyncio.wait([self._life])
        if self._follower:
            self._follower.cancel()
        if self._supervisor:
            await self._take_down(self._supervisor)
        if self._told_at is not None:
            self._terminal.line(f"stopped after {time.monotonic() - self._told_at:.1f} s")
        if not self._life.cancelled():
            self._life.result()

    def _told(self) -> None:
        """Handles a signal: the first stops the service in order, the second kills it at once."""
        if self._life and not self._life.done() and not self._life.cancelling():
            self._told_at = time.monotonic()
            self._terminal.stopping()
            self._life.cancel()
        elif self._supervisor:
            self._supervisor.kill()

    async def _live(self) -> None:
        settings, say = self._settings, self._terminal
        self._refuse_without_daemons()
        if not settings.data.exists():  # no earlier run can hold the ports, and a refusal leaves no files
            self._take_ports()
        with say.step(f"Data directory {settings.data}"):
            me, self._locks = _open_instance(settings, self._only)
        owner = (me.uid, me.gid) if me.ownership() else None
        self._supervisor = supervisor = self._supervise(owner)
        if self._mail and not self._postfix:
            say.line(f"  {WITHOUT_ROOT}")
        await self._end_orphans()
        with say.step("Ports"):
            self._take_ports()
        configuring = self._configure_early(me)
        with say.step("Database"):
            prepared = await self._prepare(supervisor)
        if prepared.node:
            _refuse_unusable(prepared.node)
            ports.check_free(ports.node_ports(settings, prepared.node))
        if prepared.taken:
            say.line(f"  {prepared.taken} accounts now belong to node {settings.node}, with the mail on this machine.")
        found: list[daemons.Daemon] = []
        renewal = Renewal(*tls_paths(settings))
        if self._mail:
            with say.step("Mail configuration"):
                found = await configuring if configuring else self._configure(me, prepared.mail_role, prepared.node)
        with say.step("Ready"):
            self._start(supervisor, found)
            if self._postfix and not settings.is_sqlite:
                self._outages = asyncio.create_task(proxymap_watchdog.watch(settings.data))
            await self._until_ready(supervisor)
        if self._mail and prepared.node:
            following = Following(settings, me, prepared.mail_role, prepared.node, say.line)
            self._follower = asyncio.create_task(following.keep_on(partial(self._reload, supervisor)))
        say.block(settings, prepared, self._postfix, with_api=self._only is None)
        await self._keep_up(supervisor, owner, renewal)

    async def _keep_up(self, supervisor: Supervisor, owner: tuple[int, int] | None, renewal: Renewal) -> None:
        """Does the periodic work until cancelled."""
        while True:
            if self._postfix:
                queues.write(self._settings.data)
            await asyncio.sleep(ROTATION)
            for task in (self._outages, self._follower):
                if task and task.done():
                    task.result()
            logfiles.rotate(self._settings.data / "log", owner)
            if self._settings.tls_cert and self._mail:
                self._renew(renewal, supervisor)

    def _renew(self, renewal: Renewal, supervisor: Supervisor) -> None:
        wrong = renewal.due()
        if wrong:
            self._terminal.line(f"The certificate has changed and cannot be used, the old one stays: {wrong}")
        elif wrong is not None:
            self._reload(supervisor)
            self._terminal.line("The certificate has changed; Dovecot and Postfix read it.")

    def _reload(self, supervisor: Supervisor) -> None:
        for name in ("dovecot", "postfix") if self._postfix else ("dovecot",):
            supervisor.reload(name)

    def _supervise(self, owner: tuple[int, int] | None) -> Supervisor:
        """Returns a supervisor whose fork server loads the parts that this service has. Raises
        CannotStart."""
        parts = ["prepare", *(["milter"] if self._postfix else []), *([] if self._only else ["worker", "api"])]
        fork_server = processes.fork_server(self._settings, parts)
        supervisor = Supervisor(
            self._settings.data,
            owner,
            self._terminal.line,
            fork_server,
            system_user.sending_groups() if self._postfix else (),
        )
        try:
            supervisor.load()
        except OSError as error:
            raise CannotStart(f"The system user cannot run {sys.executable}: {error.strerror}.") from None
        return supervisor

    def _refuse_without_daemons(self) -> None:
        if self._only and not self._mail:
            raise CannotStart("POSTROOM_MAIL is off: there is no mail part to run.")
        missing = daemons.missing(self._settings, with_postfix=self._postfix) if self._mail else []
        if missing:
            raise CannotStart(
                f"Missing: {' '.join(missing)}. On Debian `apt-get install` has them; POSTROOM_MAIL=off does without."
            )

    async def _end_orphans(self) -> None:
        """Ends the processes of an earlier run. This comes before the check of the ports, because
        these processes may still listen on them."""
        run = self._settings.data / "run"
        files = [run / f"{name}.pid" for name in DAEMONS] if self._only else list(run.glob("*.pid"))
        count = await stale_processes.end(self._settings.data, files)
        for path in files:
            path.unlink(missing_ok=True)
        if count:
            self._terminal.line(f"  ended {count} processes that an earlier run had left behind")

    def _take_ports(self) -> None:
        if self._only is None and self._listener is None:
            self._listener = ports.listen(self._settings)
        if self._mail:
            ports.check_free(ports.mail_ports(self._settings, self._postfix))

    async def _prepare(self, supervisor: Supervisor) -> Prepared:
        """Prepares the database in a process of the system user. The result, with a new API key,
        comes back through a pipe. Raises CannotStart."""
        source, report = os.pipe()
        flags = ("--has-dovecot",) if self._only else ("--has-dovecot", "--shows-key")
        part = processes.part("prepare", (report,), *flags)
        try:
            process = supervisor.once(part)
        except OSError:
            raise CannotStart(f"Postroom's code cannot be run: {supervisor.last_words('fork_server')}") from None
        finally:
            os.close(report)
        with os.fdopen(source, "rb") as report_end:
            if await process != 0:
                raise CannotStart(f"The database cannot be used: {supervisor.last_words(part.name)}")
            return msgspec.json.decode(report_end.read(), type=Prepared)

    def _configure_early(self, me: Identity) -> "asyncio.Task[list[daemons.Daemon]] | None":
        """Starts the configuration while the database is prepared, if the daemons' files need
        nothing from the database. Returns None otherwise."""
        if not self._mail or not self._settings.is_sqlite or not database_path(self._settings).exists():
            return None
        task = asyncio.create_task(asyncio.to_thread(self._configure, me, None))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())  # if the database is refused
        return task

    def _configure(
        self, me: Identity, mail_role: dict[str, str] | None, node: OwnNode | None = None
    ) -> list[daemons.Daemon]:
        """Writes the daemons' files and has the daemons check them. Raises CannotStart."""
        try:
            key = node.secret if node else secrets.token_urlsafe(32)
            part = processes.configure(self._settings)
            configuration.write(part, configuration.Order(me, key, mail_role, node))
            found = [daemons.dovecot(self._settings)]
            if self._postfix:
                found += [daemons.opendkim(self._settings, me), daemons.postfix(self._settings)]
            with ThreadPoolExecutor() as pool:  # each check runs one to three programs
                list(pool.map(daemons.Daemon.check, found))
        except daemons.Unusable as error:
            raise CannotStart(str(error)) from None
        return found

    def _start(self, supervisor: Supervisor, found: list[daemons.Daemon]) -> None:
        for daemon in found:
            supervisor.start(Part(daemon.name, daemon.command, daemon.environment, daemon=True, grace=daemon.grace))
        if self._postfix:
            supervisor.start(processes.part("milter"))
        if self._listener is None:
            return
        health_checks.worker_alive(self._settings.data).unlink(missing_ok=True)
        supervisor.start(processes.part("worker"))
        for name in processes.api_names(self._settings):
            supervisor.start(processes.part(name, (self._listener.fileno(),), "--instance", self._instance))

    async def _until_ready(self, supervisor: Supervisor) -> None:
        """Waits until every part answers. Raises NotReady if a part ends STARTS_TRIED times."""
        began, said = time.monotonic(), False
        while reasons := await self._unready():
            for name in supervisor.names:
                if supervisor.failures(name) >= STARTS_TRIED:
                    raise NotReady(f"{name} does not start: {supervisor.last_words(name)}")
            if not said and time.monotonic() - began > UNREADY_FOR_LONG:
                self._terminal.line(f"  still waiting: {'; '.join(reasons)}")
                said = True
            await asyncio.sleep(PAUSE)

    async def _unready(self) -> list[str]:
        if self._listener:
            return await health_checks.ask_api(self._settings)
        answers = [await check() for name, check in health_checks.checks(self._settings).items() if name != "worker"]
        return [reason for reason in answers if reason]

    async def _take_down(self, supervisor: Supervisor) -> None:
        """Stops the API first, because its last requests may still need the other parts."""
        if self._listener:
            self._listener.close()
        api = [name for name in supervisor.names if name.partition("-")[0] == "api"]
        await supervisor.stop(api)
        await supervisor.stop(supervisor.names)
        supervisor.close()
