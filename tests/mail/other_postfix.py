"""A real Postfix in a folder of its own, which is another host to the one under test."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from postroom.mailplane.daemons import POSTFIX, POSTFIX_MASTER
from postroom.supervision.daemon_guard import PR_SET_PDEATHSIG, prctl
from tests.harness.service import SIGNALLED, wait_for

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
meta_directory = /etc/postfix
shlib_directory = /usr/lib/postfix
mail_owner = postfix
setgid_group = postdrop
maillog_file = /dev/stdout
mynetworks =
mydestination =
alias_maps =
smtpd_peername_lookup = no
"""
SERVICES = """
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
tlsmgr unix - - n 1000? 1 tlsmgr
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
discard unix - - n - - discard
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@contextmanager
def running(folder: Path, main: str, listeners: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Runs a Postfix whose main.cf also has `main`, and whose master.cf has `listeners`. Its log is
    the file `log` in the folder."""
    for name in ("etc", "spool", "data"):
        (folder / name).mkdir()
    shutil.chown(folder / "data", "postfix")
    (folder / "etc" / "main.cf").write_text(MAIN.format(folder=folder) + main)
    (folder / "etc" / "master.cf").write_text(listeners + SERVICES)
    # Makes the folders of the queue.
    subprocess.run([POSTFIX, "-c", folder / "etc", "check"], check=True, capture_output=True)
    master: list[str | Path] = [*SIGNALLED, POSTFIX_MASTER, "-s", "-c", folder / "etc"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(master, stdout=log, stderr=log, preexec_fn=_die_with_the_test)
    try:
        wait_for("the other Postfix", (folder / "spool" / "public" / "qmgr").exists)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def _die_with_the_test() -> None:
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
