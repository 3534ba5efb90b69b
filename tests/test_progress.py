"""The summary that `./test` prints."""

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent


def test_it_says_how_many_tests_each_database_has_passed() -> None:
    files = ["tests/api/test_stats.py", "tests/test_address.py"]
    command = [sys.executable, "-m", "pytest", "-p", "tests.harness.progress", *files]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout
    (counts,) = re.findall(r"^passed: (\d+) on SQLite, (\d+) on PostgreSQL, (\d+) whose names", done.stdout, re.M)
    assert counts[0] == counts[1] != "0"
    assert counts[2] != "0"
