"""A second mail server: a real Postfix, in a folder of its own, that takes mail for far.example and
keeps none. A table says what it answers to a recipient."""

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.harness.ports import free_port
from tests.harness.service import wait_for
from tests.mail import other_postfix
from tests.mail.clients import HOST

MAIN = """
myhostname = second.example
inet_interfaces = {host}
inet_protocols = ipv4
local_recipient_maps =
relay_domains = far.example
relay_transport = discard
smtpd_relay_restrictions = reject_unauth_destination
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/answers, permit
"""


@dataclass
class SecondPostfix:
    """The server, while it runs."""

    folder: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def relayhost(self) -> str:
        """The address of this server for POSTROOM_RELAYHOST."""
        return f"[{HOST}]:{self.port}"

    def answer(self, **answers: str) -> None:
        """Sets the answer to each local part at far.example; all others are taken."""
        table = "".join(f"{name}@far.example {text}\n" for name, text in answers.items())
        (self.folder / "answers").write_text(table)
        if self.process:
            self.process.send_signal(signal.SIGHUP)  # new processes read the table
            wait_for("the new table", lambda: self._log().count("reload -- version") > self._reloads)
            self._reloads += 1

    _reloads: int = 0

    def _log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @classmethod
    @contextmanager
    def start(cls) -> "Iterator[SecondPostfix]":
        folder = Path(tempfile.mkdtemp(prefix="second-", dir="/tmp"))
        try:
            folder.chmod(0o755)
            second = cls(folder, free_port())
            second.answer()
            main, listener = MAIN.format(folder=folder, host=HOST), f"{second.port} inet n - n - - smtpd"
            with other_postfix.running(folder, main, listener) as second.process:
                yield second
        finally:
            shutil.rmtree(folder)
