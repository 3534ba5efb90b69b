"""Which tests see what differs between Debian 12 and 13: the mail daemons and PostgreSQL.

`--daemons` selects these tests, and `.ci/run` runs them on Debian 13. No other test may start the
mail daemons.
"""

import os
from pathlib import Path

TESTS = Path(__file__).parent.parent
# Folders and files of tests/.
SEE_DAEMONS = (
    "cluster", "doctor", "faults", "mail", "mailplane", "milter", "service", "upgrade",
    "api/test_proxies.py", "backup/test_backup.py", "console/test_first_mailbox.py",
    "db/test_mail_role.py", "db/test_postgres.py",
    "test_canary.py", "test_deploy.py", "test_document_examples.py", "test_plans.py", "test_start.py",
)  # fmt: skip


def sees_daemons(file: Path) -> bool:
    """Whether `--daemons` selects the tests of a file."""
    place = file.relative_to(TESTS)
    return any(place.is_relative_to(seeing) for seeing in SEE_DAEMONS)


def check_sees_daemons() -> None:
    """Fails if `--daemons` does not select the current test. A benchmark runs in no test."""
    running = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
    assert not running or sees_daemons(TESTS.parent / running), (
        f"{running} starts mail daemons: name it in SEE_DAEMONS in tests/harness/daemons.py"
    )
