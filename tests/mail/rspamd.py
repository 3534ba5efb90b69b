"""A real rspamd (Debian's package) behind the filter hook. It reads the files of docs/filter.md,
uses no network, and asks the DNS server of the test."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from postroom.mailplane import probe
from tests.documents import read
from tests.harness.service import SIGNALLED, wait_for
from tests.mail.clients import own_address

PORT = 11332
# The test message for filters: rspamd refuses it. rspamd's own variant is marked as spam.
REFUSED = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
GTUBE = REFUSED.replace("XJS", "YJS")
PLUGINS = "/usr/share/rspamd/plugins"
# Without the modules that compile large tables or ask the network. Clients of the tests are on the
# loopback, which rspamd does not check by default.
CONFIGURATION = """
options {{
  filters = "dkim";
  dns {{ nameserver = ["{dns}"]; timeout = 1s; retransmits = 2; }}
  check_local = true;
  enable_test_patterns = true;
  gtube_patterns = "all";
  disable_hyperscan = true;
  tempdir = "{folder}";
  url_tld = "{folder}/suffixes";
  hs_cache_dir = "{folder}";
  control_socket = "{folder}/control mode=0600";
}}
lang_detection {{ languages = "{folder}/no-languages"; }}
logging {{ type = "file"; filename = "{folder}/log"; level = "info"; }}
worker "hs_helper" {{ count = -1; }}
worker "rspamd_proxy" {{
  milter = yes;
  spam_header = "X-Spam";
  .include "{folder}/worker-proxy.inc"
  bind_socket = "{address}";
}}
actions {{ .include "{folder}/actions.conf" }}
dkim {{ check_local = true; }}
spf {{ }}
dmarc {{ }}
milter_headers {{
  skip_local = false;
  .include "{folder}/milter_headers.conf"
}}
modules {{ path = "{plugins}/milter_headers.lua"; path = "{plugins}/spf.lua"; path = "{plugins}/dmarc.lua"; }}
"""


@dataclass
class Rspamd:
    """A filter that can be killed, stopped and started again."""

    folder: Path
    address: str
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def new(cls) -> "Iterator[Rspamd]":
        """A filter with its own address, not yet started."""
        folder = Path(tempfile.mkdtemp(prefix="rspamd-", dir="/tmp"))
        shutil.chown(folder, "_rspamd")
        filter_ = cls(folder, own_address())
        try:
            yield filter_
        finally:
            filter_.kill()
            shutil.rmtree(folder)

    @property
    def milter(self) -> str:
        """The value of POSTROOM_FILTER_MILTER."""
        return f"inet:{self.address}:{PORT}"

    def start(self, dns: str) -> None:
        """Starts the filter and waits until it answers."""
        for name, text in re.findall(
            r"`/etc/rspamd/local\.d/(\S+)`:\n\n```ucl\n(.*?)```", read("docs/filter.md"), re.S
        ):
            (self.folder / name).write_text(text)
        (self.folder / "suffixes").write_text("test\nexample\n")
        text = CONFIGURATION.format(dns=dns, folder=self.folder, address=f"{self.address}:{PORT}", plugins=PLUGINS)
        (self.folder / "rspamd.conf").write_text(text)
        command = ["rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", str(self.folder / "rspamd.conf")]
        self.process = subprocess.Popen(
            [*SIGNALLED, "setpriv", "--pdeathsig", "TERM", *command],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for("rspamd", self._answers)

    def _answers(self) -> bool:
        assert self.process
        assert self.process.poll() is None, (self.folder / "log").read_text()
        try:
            with socket.create_connection((self.address, PORT), 1) as client:
                client.sendall(probe.NEGOTIATE)
                return bool(client.recv(1))
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Sends a signal to all processes of the filter."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """Kills the filter, also if it is stopped."""
        self.signal(signal.SIGKILL)
        if self.process:
            self.process.wait()
