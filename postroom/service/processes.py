"""The Python processes of a service: the API, the worker, the milter, and those that prepare the
database and the daemons' files and end.

    python -I -m postroom.service.processes configure --parent PID
    python -I -m postroom.service.processes fork-server --parent PID --parts PART... --connection FD

`configure` is configuration.py. The fork server loads the modules of its parts and forks them. All
of these processes die with the supervisor, no matter how it died. The kernel kills them, but only a
process that asked for this after it got its final user id (decision 0012).
"""

import argparse
import importlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from postroom import settings as settings_of
from postroom.log import log
from postroom.mailplane.render import OwnNode
from postroom.settings import Settings
from postroom.supervision import fork_server as forking
from postroom.supervision.daemon_guard import PR_SET_PDEATHSIG, prctl
from postroom.supervision.supervisor import Part
from postroom.tenants.send_limits import SendLimits

# The module with the `main` of each part that is forked, in the order in which they are loaded.
MODULES = {
    "prepare": "postroom.service.preparation",
    "milter": "postroom.service.milter_process",
    "worker": "postroom.service.worker_process",
    "api": "postroom.service.api_process",
}
MAIL_ROLE = "mail_role.password"
UNSHOWN_KEY = "unshown_key.id"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Prepared(msgspec.Struct):
    """The result of the preparation. `api_key` is set until a start has shown it. `mail_role` has
    libpq's parameters with which the mail daemons connect to PostgreSQL. `node` is this machine in
    an installation of several. `taken` is the number of accounts that got this node as their home
    in this start. `send_limits` are those of each account of the demo organization."""

    organization: str
    demo_domain: str | None
    api_key: str | None = None
    console_link: str | None = None
    mail_role: dict[str, str] | None = None
    node: OwnNode | None = None
    taken: int = 0
    send_limits: SendLimits = SendLimits()


def unshown_key(settings: Settings) -> Path:
    """Returns the path of a file that exists until a start has shown the first API key."""
    return settings.data / "db" / UNSHOWN_KEY


def _command(name: str, *arguments: str) -> list[str]:
    """Returns the command of a Python process that is isolated from the environment of `postroom
    serve`."""
    return [sys.executable, "-I", "-m", "postroom.service.processes", name, "--parent", str(os.getpid()), *arguments]


def _environment(settings: Settings) -> dict[str, str]:
    """Returns the environment of our processes: the settings as variables."""
    found = {"PATH": PATH, "LANG": "C.UTF-8"} | settings.environment()
    if zone := os.environ.get("TZ"):
        found["TZ"] = zone
    return found


def fork_server(settings: Settings, parts: list[str]) -> tuple[list[str], dict[str, str]]:
    """Returns the command, which needs the number of a descriptor behind it, and the environment of
    a fork server for these parts."""
    return _command("fork-server", "--parts", *parts, "--connection"), _environment(settings)


def configure(settings: Settings) -> Part:
    """Returns how the daemons' files are written: with the password of the relay host."""
    variables = _environment(settings)
    if settings.relay_password:
        variables[settings_of.variable("relay_password")] = settings.relay_password
    return Part("configure", _command("configure"), variables)


def part(name: str, files: tuple[int, ...] = (), *arguments: str) -> Part:
    """Returns a part that the fork server forks; `api-2` is another process of `api`."""
    return Part(name, [name.partition("-")[0], "--name", name, *arguments], files=files)


def api_names(settings: Settings) -> list[str]:
    """Returns the names of the processes that serve the API's port."""
    return ["api", *(f"api-{number}" for number in range(2, settings.workers + 1))]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="postroom.service.processes")
    parser.add_argument("process", choices=["fork-server", "configure"])
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--parts", nargs="+", default=[])
    parser.add_argument("--connection", type=int)
    options = parser.parse_args(arguments)
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != options.parent:
        sys.exit("The supervisor is gone.")
    settings = settings_of.from_environment()
    log.configure(settings.log_level)
    if options.process == "configure":
        from postroom.service import configuration

        configuration.carry_out(settings)
    else:
        _run_forked(settings, socket.socket(fileno=options.connection), options.parts)


def _run_forked(settings: Settings, connection: socket.socket, parts: list[str]) -> None:
    """Runs the fork server, and a part in each process that it forks."""
    from postroom.db import load_driver

    _name("fork server", settings)
    load_driver(settings.database)
    order = forking.serve(connection, {part: MODULES[part] for part in parts})
    parser = argparse.ArgumentParser(prog="postroom")
    parser.add_argument("part", choices=MODULES)
    parser.add_argument("--name", required=True)
    parser.add_argument("--instance", default="")
    parser.add_argument("--shows-key", action="store_true")
    parser.add_argument("--has-dovecot", action="store_true")
    options = parser.parse_args(order.arguments)
    _name(options.name, settings)
    importlib.import_module(MODULES[options.part]).main(settings, options, order.files)


def _name(process: str, settings: Settings) -> None:
    """Says in the list of processes what this process is."""
    import setproctitle  # not in the supervisor

    setproctitle.setproctitle(f"postroom: {process} ({settings.data})")


if __name__ == "__main__":
    main()
