"""Progress output for `./test` in place of pytest's dots: a bar on a terminal, and otherwise a line
for each tenth."""

import sys
from collections import Counter
from collections.abc import Sequence

import pytest
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

# The engines as they appear in test ids.
ENGINES = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the processes of xdist have no progress bar
        config.pluginmanager.register(Bar())


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """Prints no dot for a test that passed."""
    if report.passed:
        return ("passed" if report.when == "call" else "", "", "")
    return None


class Bar:
    def __init__(self) -> None:
        columns = (
            TextColumn("  tests"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[at]}"),
        )
        self._bar = Progress(*columns, auto_refresh=False, transient=True)
        self._task = self._bar.add_task("tests", total=None, at="")
        self._total = self._done = 0
        self._passed: Counter[str] = Counter()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._begin(len(session.items))

    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        self._begin(len(ids))

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self._done += 1
        if sys.stdout.isatty():
            self._bar.update(self._task, completed=self._done, at=nodeid.partition("::")[0], refresh=True)
        elif self._done * 10 // self._total > (self._done - 1) * 10 // self._total:
            print(f"  tests {self._done * 100 // self._total:3} % ({self._done} of {self._total})", flush=True)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" and report.passed:
            on = [engine for engine in ENGINES if engine in report.nodeid.partition("[")[2]]
            self._passed[on[0] if on else ""] += 1

    def pytest_sessionfinish(self) -> None:
        self._bar.stop()

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        counts = ", ".join(f"{self._passed[engine]} on {name}" for engine, name in ENGINES.items())
        terminalreporter.write_line(f"passed: {counts}, {self._passed['']} whose names say no database")

    def _begin(self, total: int) -> None:
        self._total = total
        self._bar.update(self._task, total=total)
        if sys.stdout.isatty():
            self._bar.start()
