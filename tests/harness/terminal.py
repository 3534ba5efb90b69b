"""Commands whose output is a terminal."""

import contextlib
import os
import pty
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal


def said_at_terminal(
    command: Sequence[str | Path], environment: dict[str, str], stream: Literal["stdout", "stderr"] = "stdout"
) -> str:
    """Returns the output of a successful command on a stream that is a terminal."""
    ours, theirs = pty.openpty()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | {stream: theirs}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **streams)  # type: ignore[call-overload]
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # the other end is closed
        pass
    rest = process.communicate(timeout=60)
    os.close(ours)
    assert process.returncode == 0, (said, rest)
    return said.decode()


def typed_at_terminal(secret: str, *command: str | Path) -> None:
    """Runs a command that must succeed, and types a secret each time it asks for a passphrase."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvp(command[0], [str(word) for word in command])
    said, typed = b"", 0
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(terminal, 4096):
            said += part
            if len(re.findall(rb"passphrase[^:]*:", said)) > typed:
                os.write(terminal, secret.encode() + b"\n")
                typed += 1
    os.close(terminal)
    assert os.waitpid(pid, 0)[1] == 0, said
