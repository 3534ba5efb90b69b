"""`./start`, `./test` and scripts/install.sh: shellcheck, and the messages when they cannot
continue."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent.parent
SCRIPTS = ("start", "test", "scripts/install.sh", "scripts/closed-checkout", "scripts/audit", "scripts/sbom")
WITHOUT_ROOT = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
# In this mount namespace, dpkg knows of no installed package.
NO_PACKAGES = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /var/lib/dpkg && exec "$@"', "sh")
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can switch users and mount")


@pytest.fixture
def checkout() -> Iterator[Path]:
    """The scripts alone, in a folder that every user can read."""
    folder = Path(tempfile.mkdtemp(prefix="postroom-", dir="/tmp"))
    folder.chmod(0o755)
    for name in SCRIPTS:
        (folder / name).parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        shutil.copy(HERE / name, folder / name)
    yield folder
    shutil.rmtree(folder)


def test_the_shell_is_right() -> None:
    scripts = [*SCRIPTS, "scripts/plant", "scripts/on-debian13"]
    done = subprocess.run(["shellcheck", "-x", *scripts], cwd=HERE, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@AS_ROOT
def test_without_root_it_says_what_is_missing(checkout: Path) -> None:
    """`./start` names the missing packages in one line and creates nothing."""
    before = sorted(checkout.rglob("*"))
    done = subprocess.run(
        [*NO_PACKAGES, *WITHOUT_ROOT, checkout / "start"],
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("✗ Missing: ")
    assert "dovecot-imapd" in done.stderr
    assert "postfix" not in done.stderr, "without root, Postfix cannot run anyway"
    assert sorted(checkout.rglob("*")) == before


@AS_ROOT
@pytest.mark.parametrize(
    ("url", "in_file", "wanted", "unwanted"),
    [
        ("", False, "dovecot-sqlite lua-dbi-sqlite3", "dovecot-pgsql"),
        ("postgresql://db/postroom", False, "dovecot-pgsql lua-sql-postgres", "dovecot-sqlite"),
        ("postgresql://db/postroom", True, "dovecot-pgsql lua-sql-postgres", "dovecot-sqlite"),
        ("sqlite:////srv/postroom.db", True, "dovecot-sqlite lua-dbi-sqlite3", "dovecot-pgsql"),
    ],
)
def test_the_packages_are_those_of_the_database(
    checkout: Path, url: str, in_file: bool, wanted: str, unwanted: str
) -> None:
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    if in_file:
        (checkout / "postroom.toml").write_text(f'database_url = "{url}"\n')
    elif url:
        environment["POSTROOM_DATABASE_URL"] = url
    done = subprocess.run(
        [*NO_PACKAGES, *WITHOUT_ROOT, checkout / "start"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert wanted in done.stderr
    assert unwanted not in done.stderr


REMADE = """here=$PWD
. scripts/install.sh
remake_venv() { echo remade; exit; }
find_python() { echo /usr/bin/env; }
mkdir .venv
for python; do
    echo "$python" >.venv/python.stamp
    (install_venv lock)
done
"""


def test_the_environment_is_made_anew_when_the_system_has_another_python(checkout: Path) -> None:
    """Also while the old Python is still there, as after an upgrade of Debian."""
    (checkout / "postroom").mkdir()
    for name in ("pyproject.toml", "lock", "postroom/__init__.py"):
        (checkout / name).touch()
    command = ["sh", "-c", REMADE, "sh", "/usr/bin/true", "/usr/bin/env", "/nonexistent"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines().count("remade") == 2, done.stdout + done.stderr


APT_GET = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/asked"
echo 'Inst libexpat1 (2.5.0-1 Debian:14/testing [amd64])'
echo 'Inst dovecot-core (1:2.5.0+dfsg1-1 Debian:14/testing [amd64])'
"""


@AS_ROOT
def test_a_dovecot_that_is_not_known_is_not_installed(checkout: Path) -> None:
    """`./start` refuses in one line, before it tells apt to install anything."""
    (checkout / "apt-get").write_text(APT_GET)
    (checkout / "apt-get").chmod(0o755)
    environment = {"PATH": f"{checkout}:/usr/sbin:/usr/bin:/sbin:/bin"}
    command = [*NO_PACKAGES, str(checkout / "start")]
    done = subprocess.run(command, env=environment, cwd=checkout, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("✗ Postroom knows Dovecot 2.3 2.4 (Debian 12, 13); here apt offers 2.5.")
    asked = (checkout / "asked").read_text().splitlines()
    assert [line for line in asked if not line.startswith(("update", "install -s "))] == []
