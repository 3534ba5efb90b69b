"""A command whose output is a terminal."""

import os
import pty
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal


def said_at_terminal(
    command: Sequence[str | Path], environment: dict[str, str], stream: Literal["stdout", "stderr"] = "stdout"
) -> str:
    """What a command that succeeds writes to this stream, while it is a terminal."""
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
