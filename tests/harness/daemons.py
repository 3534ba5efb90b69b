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
    "accounts/test_passwords.py", "api/test_proxies.py", "console/test_first_mailbox.py",
    "db/test_mail_role.py", "db/test_postgres.py",
    "test_deploy.py", "test_start.py",
)  # fmt: skip
# These start daemons too, or lie in a folder of SEE_DAEMONS, but what they promise depends on no
# daemon's version.
ALIKE = (
    "backup/test_backup.py", "doctor/test_doctor.py", "faults/test_refused_starts.py", "service/test_housekeeping.py",
    "service/test_login_guard.py", "service/test_purge.py", "service/test_quota_counts.py", "service/test_serve.py",
    "service/test_serve_checks.py", "service/test_serve_processes.py", "service/test_serve_two_workers.py",
    "service/test_worker.py", "test_canary.py", "test_document_examples.py", "test_plans.py",
    "upgrade/test_upgrade.py",
)  # fmt: skip


def sees_daemons(file: Path) -> bool:
    """Whether `--daemons` selects the tests of a file."""
    return _is_in(file, SEE_DAEMONS) and not _is_in(file, ALIKE)


def _is_in(file: Path, places: tuple[str, ...]) -> bool:
    return any(file.relative_to(TESTS).is_relative_to(place) for place in places)


def check_sees_daemons() -> None:
    """Fails if neither list has the current test. A benchmark runs in no test."""
    running = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0]
    assert not running or _is_in(TESTS.parent / running, SEE_DAEMONS + ALIKE), (
        f"{running} starts mail daemons: name it in SEE_DAEMONS in tests/harness/daemons.py"
    )
