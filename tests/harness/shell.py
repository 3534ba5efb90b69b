"""The shell of a reader, for the commands of a document: one bash, with one Python beside it."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

from tests.harness.service import COMMAND, Service

MARK = "\x1e"
PYTHON = r"""
coproc PYTHON { exec python -c '
import ast, sys
names = {}
for line in sys.stdin:
    exec(ast.literal_eval(line), names)
    print("\x1e", end="", flush=True)
'; }
program() {
    printf '%s\n' "$1" >&"${PYTHON[1]}"
    IFS= read -r -d $'\x1e' printed <&"${PYTHON[0]}"
    printf '%s' "$printed"
}
"""


def python(text: str) -> str:
    """Returns the command that runs a part of the program."""
    return f"program {shlex.quote(repr(text))}"


def run(commands: list[str], opening: str, service: Service, folder: Path) -> list[str]:
    """Runs the commands in one shell and returns the output of each. `opening` is the start of the
    program."""
    script = f"{PYTHON}{python(opening)}\n" if any(command.startswith("program ") for command in commands) else ""
    script += "".join(f"{command}\nprintf '{MARK}'\n" for command in commands)
    environment = service.environment | {
        "API_KEY": service.key(),
        "POSTROOM_API_KEY": service.key(),
        "POSTROOM_URL": f"http://127.0.0.1:{service.ports['port']}",
        "PATH": f"{COMMAND.parent}:{os.environ['PATH']}",
        "DATA": str(service.data),
        "BACKUP": str(folder / "backup"),
    }
    bash = [shutil.which("bash") or "bash", "-eu", "-o", "pipefail", "-c", script]
    done = subprocess.run(bash, env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    printed = done.stdout.split(MARK)
    assert done.returncode == 0, f"{commands[len(printed) - 1]}\n{printed[-1]}\n{done.stderr}"
    return printed[:-1]
