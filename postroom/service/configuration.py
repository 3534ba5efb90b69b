"""Writes the daemons' files in a process of its own, which has the user of the supervisor and ends
at once. jinja2 and cryptography are loaded there, and not in the supervisor (decision 0187).
"""

import subprocess
import sys

import msgspec

from postroom.instance.system_user import Identity
from postroom.mailplane import daemons, trust_file
from postroom.mailplane.render import OwnNode
from postroom.settings import Settings
from postroom.supervision.supervisor import Part


class Order(msgspec.Struct, frozen=True):
    """What the files need besides the settings. With `renews`, the daemons run, and only the files
    that have changed are written."""

    identity: Identity
    doveadm_key: str
    postgres: dict[str, str] | None
    node: OwnNode | None = None
    renews: bool = False


class _Report(msgspec.Struct):
    has_changed: bool = False
    refused: str = ""


def write(part: Part, order: Order) -> bool:
    """Has the process `part` write the files. Returns whether any file has changed. Raises
    Unusable."""
    done = subprocess.run(
        part.command,
        env=dict(part.environment),
        input=msgspec.json.encode(order),
        capture_output=True,
        start_new_session=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the daemons' files are not written: {done.stderr.decode(errors='replace')}")
    report = msgspec.json.decode(done.stdout, type=_Report)
    if report.refused:
        raise daemons.Unusable(report.refused)
    return report.has_changed


def carry_out(settings: Settings) -> None:
    """Carries out the order on standard input, and reports on standard output."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Order)
    report = _Report()
    try:
        report.has_changed = _carry_out(settings, order)
    except (daemons.Unusable, trust_file.NotUsable, OSError) as error:
        report.refused = str(error)
    sys.stdout.buffer.write(msgspec.json.encode(report))


def _carry_out(settings: Settings, order: Order) -> bool:
    if order.node:
        trust_file.check(order.node)
        if order.renews:
            return daemons.renew_configuration(settings, order.identity, order.postgres, order.node)
    daemons.write_configuration(settings, order.identity, order.doveadm_key, order.postgres, order.node)
    return True
