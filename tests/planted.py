"""Planted faults: small changes that each break one promise, with the tests that must then fail.

`scripts/plant NAME...` plants each fault in a copy of the checkout. The copy has its own Python
environment, so whole services run the planted code too. The checkout is never touched. A fault
counts as found when its tests pass in a copy without the fault and fail in a copy with the fault.
"""

import argparse
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent.parent
TABLE = HERE / "scripts" / "faults.toml"
LEFT_OUT = ("node_modules", ".git", ".venv*", "__pycache__", ".*_cache", ".hypothesis", "data", "postroom.toml")
SECONDS = 600
FAILED = 1  # the exit code of pytest when some tests failed


class BadFault(Exception):
    """A fault that cannot be planted, or whose tests cannot be run."""


@dataclass(frozen=True)
class Fault:
    """One row of the table: `old` becomes `new` in `file`. `tests` are arguments for pytest."""

    name: str
    kind: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    def planted(self, text: str) -> str:
        """The text of the file with the fault. Raises BadFault unless `old` occurs exactly once."""
        if (times := text.count(self.old)) != 1:
            raise BadFault(f"{self.name}: the old text is in {self.file} {times} times, not once.")
        return text.replace(self.old, self.new)


def read(table: Path = TABLE) -> list[Fault]:
    """The faults of a table."""
    rows = tomllib.loads(table.read_text(encoding="utf-8"))["fault"]
    return [Fault(**{**row, "tests": tuple(row["tests"])}) for row in rows]


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the checkout that every user can read, with an environment that imports from the
    copy."""
    # A short path, because Unix sockets will be in it.
    folder = Path(tempfile.mkdtemp(prefix="postroom-planted-", dir="/tmp"))
    folder.chmod(0o755)
    try:
        copy = folder / "checkout"
        shutil.copytree(HERE, copy, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_OUT))
        _make_environment(copy)
        yield copy
    finally:
        shutil.rmtree(folder)


def _make_environment(copy: Path) -> None:
    environment = copy / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    ours = f"{copy}\nimport site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (packages / "a-copy.pth").write_text(ours, encoding="utf-8")
    command = environment / "bin" / "postroom"
    starts = "import sys\nfrom postroom.cli import start\nsys.exit(start())\n"
    command.write_text(f"#!{environment}/bin/python\n{starts}", encoding="utf-8")
    command.chmod(0o755)
    look = [str(environment / "bin" / "python"), "-I", "-c", "import postroom; print(postroom.__file__)"]
    found = subprocess.run(look, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).is_relative_to(copy), found


def run(copy: Path, tests: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Runs these tests in a copy, and stops at the first failure."""
    command = [str(copy / ".venv" / "bin" / "python"), "-B", "-m", "pytest", "-x", "--tb=line", *tests]
    with subprocess.Popen(
        command, cwd=copy, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as running:
        try:
            output, errors = running.communicate(timeout=SECONDS)
        except BaseException:
            running.send_signal(signal.SIGINT)  # lets pytest stop the services of its tests
            running.communicate(timeout=SECONDS)
            raise
    return subprocess.CompletedProcess(command, running.returncode, output, errors)


def check_without(tests: Sequence[str]) -> None:
    """Raises BadFault unless these tests pass in a copy without a fault."""
    with copied() as copy:
        done = run(copy, tests)
    if done.returncode != 0:
        raise BadFault(f"{' '.join(tests)}: it does not pass without a fault.\n{done.stdout[-2000:]}{done.stderr}")


def find(fault: Fault) -> str | None:
    """Plants a fault and runs its tests. Returns the first test that failed, or None if all passed.
    Raises BadFault if the tests did not run."""
    with copied() as copy:
        target = copy / fault.file
        target.write_text(fault.planted(target.read_text(encoding="utf-8")), encoding="utf-8")
        done = run(copy, fault.tests)
    if done.returncode not in (0, FAILED):
        raise BadFault(f"{fault.name}: the tests did not run.\n{done.stdout[-2000:]}{done.stderr}")
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0].partition(" - ")[0].split(" ", 1)[1] if failed else None


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="scripts/plant", description="Plants faults; the tests must find each one.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults of the table, or `all`")
    parser.add_argument("--list", action="store_true", help="lists the faults")
    parser.add_argument("--quick", action="store_true", help="does not check that the tests pass without the fault")
    parser.add_argument("--table", type=Path, default=TABLE, help="a file with other faults")
    asked = parser.parse_args(arguments)
    table = {fault.name: fault for fault in read(asked.table)}
    if asked.list or not asked.names:
        for fault in table.values():
            print(f"{fault.kind:12} {fault.name:44} {' '.join(fault.tests)}")
        return 0
    names = list(table) if asked.names == ["all"] else asked.names
    if unknown := [name for name in names if name not in table]:
        parser.error(f"no such fault: {', '.join(unknown)}")
    sound = {fault.tests for fault in table.values()} if asked.quick else set[tuple[str, ...]]()
    return 1 if [name for name in names if not _is_found(table[name], sound)] else 0


def _is_found(fault: Fault, sound: set[tuple[str, ...]]) -> bool:
    began = time.monotonic()
    try:
        if fault.tests not in sound:
            check_without(fault.tests)
            sound.add(fault.tests)
        by = find(fault)
    except (BadFault, subprocess.TimeoutExpired) as error:
        print(f"✗ {fault.name}: {error}", flush=True)
        return False
    print(f"{'✓' if by else '✗'} {fault.name:44} {time.monotonic() - began:5.1f} s  {by or 'NOT FOUND'}", flush=True)
    return by is not None


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
