"""The types that a user's mypy sees, blocking and async: they are exact, and mypy finds
mistakes."""

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("program.py")


def test_mypy_agrees_with_a_small_program(tmp_path: Path) -> None:
    """`--strict` reports unused ignores, so mypy must find each mistake in the program."""
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "--cache-dir", str(tmp_path)]
    root = PROGRAM.parent.parent.parent
    done = subprocess.run([*command, str(PROGRAM)], capture_output=True, text=True, cwd=root)
    assert done.returncode == 0, done.stdout + done.stderr
