"""Memory and start-up of a whole service: idle, under load, and from the start to the first answer.

python -m bench.memory
"""

import re
import time
from collections.abc import Iterator
from pathlib import Path

from bench.http_calls import creation, get
from bench.instance import Instance, start
from bench.report import Row, median, show
from tests.harness.service import wait_for

ROUNDS = 3


def resident(pid: int) -> float:
    """MB of a process that are in memory now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def proportional(pid: int) -> float:
    """MB of a process that are in memory now; a page that processes share counts in parts."""
    found = re.search(r"^Pss:\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    return int(found[1]) / 1024 if found else 0.0


def first_answer(instance: Instance) -> float:
    """Seconds from a stop to the first 200 of a service that has run before."""
    instance.service.stop()
    began = time.perf_counter()
    instance.service.launch()
    wait_for("the first answer", lambda: _answers(instance))
    return time.perf_counter() - began


def _answers(instance: Instance) -> bool:
    try:
        return instance.service.get("/healthz")[0] == 200
    except OSError:
        return False


def measure(mail: str = "off") -> Iterator[Row]:
    with start(20_000, 1, mail=mail) as instance:
        name = "mail plane on" if mail == "on" else "API alone"
        found = median([first_answer(instance) for _ in range(ROUNDS)])
        yield Row(f"warm start to the first 200, {name}", found.value, "s", found.spread, at_most=1.0)
        wait_for("readiness", instance.service.ready)
        if mail == "on":
            everything = {pid: proportional(pid) for pid in instance.service.processes()}
            more = f"{len(everything)} processes; a page that they share counts once"
            total = sum(everything.values())
            yield Row("memory of all processes, mail plane on", total, "MB", 0.0, at_most=110, more=more)
            return
        yield Row("memory of an API process, idle", _largest(instance), "MB", 0.0, at_most=80)
        yield Row("memory of the worker, idle", resident(instance.service.pid("worker")), "MB", 0.0, at_most=80)
        for question, request in (("gets", get(instance)), ("creates", creation(1))):
            instance.run(request, connections=64)
            yield Row(f"memory of an API process after {question} on 64 connections", _largest(instance), "MB", 0.0)


def _largest(instance: Instance) -> float:
    return max(resident(pid) for pid in instance.pids)


def main() -> None:
    for mail in ("off", "on"):
        for row in measure(mail):
            print(show(row), flush=True)


if __name__ == "__main__":
    main()
