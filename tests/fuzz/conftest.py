"""The amount of fuzzing: the same few hundred examples in `./test`, and new examples for a time
with `--fuzz`.

A target is a test with `@given` and without `@settings` (decision 0182).
"""

import time

import pytest
from hypothesis import settings

EXAMPLES = 200  # per target; with `--fuzz`, per round

SAME = settings(max_examples=EXAMPLES)
NEW = settings(SAME, derandomize=False, print_blob=True)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Gives a target its settings. hypothesis refuses a test that already has some."""
    function = item.function if isinstance(item, pytest.Function) else None
    if function and getattr(function, "is_hypothesis_test", False) and not hasattr(function, "is_fuzz_target"):
        profile = NEW if item.config.getoption("--fuzz") else SAME
        profile(function).is_fuzz_target = True


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """With `--fuzz`, runs rounds of new examples until the target's time is over. pytest's own call
    is the last round."""
    if not pyfuncitem.config.getoption("--fuzz") or not hasattr(pyfuncitem.function, "is_fuzz_target"):
        return
    until = time.monotonic() + pyfuncitem.config.getoption("--fuzz-seconds")
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    while time.monotonic() < until:
        pyfuncitem.obj(**arguments)
