"""The tests that see what another Debian brings: Dovecot, Postfix, opendkim, PostgreSQL's programs.

`--daemons` runs them alone, and `.ci/run` does so on Debian 13. A test that is not among them is
not let start mail daemons.
"""

import os
from pathlib import Path

TESTS = Path(__file__).parent.parent
# Folders and files of tests/.
SEE_DAEMONS = (
    "backup", "cluster", "db", "doctor", "faults", "mail", "mailplane", "milter", "service",
    "api/test_proxies.py", "cli/test_keys.py", "console/test_first_mailbox.py",
    "test_canary.py", "test_deploy.py", "test_docs.py", "test_plans.py", "test_start.py",
)  # fmt: skip


def sees_daemons(file: Path) -> bool:
    """Whether a file of tests is among them."""
    place = file.relative_to(TESTS)
    return any(place.is_relative_to(seeing) for seeing in SEE_DAEMONS)


def check_sees_daemons() -> None:
    """Fails where the test that runs is not among them. The benchmarks are no tests."""
    running = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
    assert not running or sees_daemons(TESTS.parent / running), (
        f"{running} starts mail daemons: name it in SEE_DAEMONS in tests/harness/daemons.py"
    )
