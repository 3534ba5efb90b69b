"""The system user that the first start creates."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# In a copy of /etc that other processes do not see, many processes create the user at once.
MAKE = """
cp -a /etc "$1" && mount --bind "$1/etc" /etc
sed -i '/^postroom:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow
for _ in 1 2 3 4 5 6 7 8; do
    "$2" -c 'from postroom.instance.system_user import ensure; print(f"{ensure()}\\n", end="")' &
done
wait
grep ^postroom: /etc/passwd
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes users")
def test_first_starts_at_one_moment_make_one_user(tmp_path: Path) -> None:
    """Two useradd of one name could create it with two numbers, and a data directory then belonged
    to no user."""
    command = ["unshare", "--mount", "sh", "-euc", MAKE, "sh", str(tmp_path), sys.executable]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    name, _, uid, gid, *_ = told.pop().split(":")
    assert told == [f"Identity(name='{name}', uid={uid}, gid={gid})"] * 8
