"""The table of planted faults: each fault can still be planted, and scripts/plant reports the
truth.

`scripts/plant all` plants the whole table; the tests here plant only a small fault.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests import planted
from tests.planted import HERE, BadFault, Fault

FAULTS = planted.read()
PLANT = HERE / "scripts" / "plant"


def test_names_are_for_one_fault_each() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names))
    assert len(names) >= 50


def undefined_names(text: str) -> str:
    """Ruff's report of names that a program uses and does not define."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--quiet", "--select", "F821", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_it_can_be_planted(fault: Fault) -> None:
    """The old text occurs exactly once, and the new text is a valid program: a test that fails with
    a NameError has not found the fault."""
    text = fault.planted((HERE / fault.file).read_text(encoding="utf-8"))
    assert text != (HERE / fault.file).read_text(encoding="utf-8")
    if fault.file.endswith(".py"):
        compile(text, fault.file, "exec")
        assert undefined_names(text) == ""


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_its_tests_are_there(fault: Fault) -> None:
    named = [test for test in fault.tests if test.startswith("tests/")]
    assert named
    for path, _, function in (test.partition("::") for test in named):
        tree = ast.parse((HERE / path).read_text(encoding="utf-8"))
        functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert function in functions or (not function and any(name.startswith("test_") for name in functions)), path


def test_an_undefined_name_is_noticed() -> None:
    assert undefined_names("a = 1\nb = a\n") == ""
    assert "`c`" in undefined_names("a = 1\nb = c\n")


def test_a_text_that_is_not_there_once_is_refused() -> None:
    fault = Fault("x", "x", "x", "b", "c", ())
    assert fault.planted("abd") == "acd"
    for text in ("ad", "abdb"):
        with pytest.raises(BadFault, match="not once"):
            fault.planted(text)


ROW = """
[[fault]]
name = "{name}"
kind = "test"
file = "postroom/auth/networks.py"
old = '''    return str(ipaddress.ip_network(text))'''
new = '''{new}'''
tests = ["{tests}"]
"""
FOUND = ROW.format(name="found", new="    return text", tests="tests/auth/test_networks.py")
# A change that breaks nothing; a fault with a syntax error; a test that does not exist.
SAME = ROW.format(name="same", new='    return f"{ipaddress.ip_network(text)}"', tests="tests/auth/test_networks.py")
BROKEN = ROW.format(name="broken", new="    return str(", tests="tests/auth/test_networks.py")
FAILING = ROW.format(name="failing", new="    return text", tests="tests/no_such_test.py")


@pytest.mark.parametrize(
    ("row", "options", "code", "said"),
    [
        (FOUND, ["--quick"], 0, "✓ found"),
        (SAME, ["--quick"], 1, "NOT FOUND"),
        (BROKEN, ["--quick"], 1, "the tests did not run"),
        (FAILING, [], 1, "does not pass without a fault"),
    ],
    ids=["found", "not found", "no program", "no test"],
)
def test_it_tells_the_truth(tmp_path: Path, row: str, options: list[str], code: int, said: str) -> None:
    table = tmp_path / "table.toml"
    table.write_text(row, encoding="utf-8")
    before = (HERE / "postroom" / "auth" / "networks.py").read_bytes()
    command = [str(PLANT), *options, "--table", str(table), "all"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr
    assert (HERE / "postroom" / "auth" / "networks.py").read_bytes() == before


def test_the_list_is_shown() -> None:
    done = subprocess.run([PLANT, "--list"], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == len(FAULTS)
    assert subprocess.run([PLANT, "no-such-fault"], capture_output=True).returncode == 2
