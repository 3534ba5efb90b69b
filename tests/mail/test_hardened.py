"""The service under the restrictions of its systemd unit: few capabilities, no new privileges, and
no writes outside its folder.

systemd itself does not run. setpriv and a mount namespace set the same restrictions.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.service import Service, is_alive
from tests.mail.platform import Platform

UNIT = Path(__file__).parents[2] / "deploy" / "systemd" / "postroom.service"
# Like ProtectSystem=strict, with the data directory in the service's private /tmp.
READ_ONLY = 'mount --bind /tmp /tmp && mount -o remount,bind,ro / && exec "$@"'


def capabilities() -> list[str]:
    found = re.search(r"^CapabilityBoundingSet=(.+)$", UNIT.read_text(), re.M)
    assert found
    return [name.removeprefix("CAP_").lower() for name in found[1].split()]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    assert os.geteuid() == 0, "Postfix needs root: run the tests as root"
    bounding = ",".join(["-all", *(f"+{name}" for name in capabilities())])
    with Service.new() as new:
        new.prefix = ("unshare", "--mount", "sh", "-c", READ_ONLY, "sh")
        new.prefix += ("setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounding}")
        yield new.start()


def test_it_works(service: Service, platform: Platform) -> None:
    """Creates an account, receives mail, sends signed mail, and resets a password, which ends
    sessions."""
    ann, ben = platform.create("ann"), platform.create("ben")
    ann.receive("from outside")
    ann.wait_for("from outside")
    ann.send(ben.address, "signed")
    assert b"DKIM-Signature:" in ben.wait_for("signed")
    session = ben.login()
    assert ben.reset().can_login()
    assert not session.is_open()
    session.shutdown()


def test_it_has_no_more(service: Service) -> None:
    masters = [service.pid(name) for name in ("dovecot", "postfix")]
    for pid in masters:
        status = Path(f"/proc/{pid}/status").read_text()
        assert re.search(r"^NoNewPrivs:\s+1$", status, re.M)
        bounding = re.search(r"^CapBnd:\s+(\w+)$", status, re.M)
        assert bounding
        assert int(bounding[1], 16).bit_count() == len(capabilities())


def test_it_ends(service: Service) -> None:
    parts = service.processes()
    assert service.stop() == 0
    assert [pid for pid in parts if is_alive(pid)] == []
