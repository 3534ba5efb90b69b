"""How several API processes share one database: creates over HTTP, each client on a connection of
its own, as many connections to each process.

python -m bench.sharing [--postgres] [--seconds N] [--connections N] python -m bench.sharing --lock
[--seconds N]        SQLite's lock alone: processes that do nothing but take it

Says how long a create takes (p50, p99, the longest), how many there are a second, and the share
of each process; before that, what the disk alone takes to keep a page, which is the limit of one
client.
"""

import argparse
import itertools
import multiprocessing
import os
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.instance import start
from postroom.db.sqlite import exclusive
from tests.harness.every_process import Caller, call_on, names
from tests.harness.service import Service

PROCESSES = (1, 2, 4)
# Those that meet on a domain's counter, or on a user, are in each other's way.
DOMAINS, USERS = 4, 50
HELD_SECONDS = 0.003
_numbers = itertools.count(1)


@dataclass
class Client:
    """Creates one account after the other; `times` is in seconds."""

    process: str
    caller: Caller
    times: list[float] = field(default_factory=list)

    def work(self, until: float) -> None:
        while (now := time.perf_counter()) < until:
            number = next(_numbers)
            body = {"domain": f"d{number % DOMAINS}.test", "local_part": f"s{number}", "user_id": f"u{number % USERS}"}
            status, answer, _ = self.caller.call("POST", "/v2/email-accounts/create", body)
            assert status == 201, answer
            self.times.append(time.perf_counter() - now)


def measure(service: Service, key: str, connections: int, seconds: float) -> str:
    """One line: what the clients have seen."""
    processes = names(service)
    clients = [
        Client(process, call_on(service, process, key))
        for process in processes
        for _ in range(connections // len(processes))
    ]
    until = time.perf_counter() + seconds
    threads = [threading.Thread(target=client.work, args=(until,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = sorted(one for client in clients for one in client.times)
    shares = [sum(len(client.times) for client in clients if client.process == process) for process in processes]
    cuts = [times[len(times) * part // 100] * 1000 for part in (50, 99)]
    shared = " ".join(f"{share / len(times):.0%}" for share in shares)
    latencies = f"{cuts[0]:.1f} | {cuts[1]:.1f} | {times[-1] * 1000:.1f}"
    return f"{len(processes)} | {len(times) / seconds:.0f} | {latencies} | {shared}"


def lock_waits(processes: int, seconds: float) -> str:
    """One line: how often each process had the lock, and how long the unluckiest one waited for
    it."""
    with tempfile.TemporaryDirectory() as folder, multiprocessing.Pool(processes) as pool:
        runs = [pool.apply_async(_take, (f"{folder}/x.db", seconds)) for _ in range(processes)]
        waits = [run.get() for run in runs]
    times = sorted(wait for run in waits for wait in run)
    shares = " ".join(f"{len(run) / len(times):.0%}" for run in waits)
    return f"{processes} | {times[len(times) * 99 // 100] * 1000:.0f} | {times[-1] * 1000:.0f} | {shares}"


def _take(path: str, seconds: float) -> list[float]:
    waits = []
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until:
        with exclusive(Path(path)):
            waits.append(time.monotonic() - now)
            time.sleep(HELD_SECONDS)
    return waits


def sync_milliseconds(count: int = 50) -> float:
    """What the disk alone takes to keep a page: the median."""
    with tempfile.NamedTemporaryFile(dir="/tmp") as file:
        times = []
        for _ in range(count):
            os.write(file.fileno(), bytes(4096))
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--lock", action="store_true")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    if options.lock:
        print("processes | p99 ms | longest ms | share of each")
        for processes in PROCESSES[1:]:
            print(lock_waits(processes, options.seconds), flush=True)
        return
    print(f"fdatasync of a page: {sync_milliseconds():.2f} ms; load {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")
    print("processes | creates/s | p50 ms | p99 ms | longest ms | share of each")
    for workers in PROCESSES:
        with start(100, DOMAINS, postgres=options.postgres, workers=workers) as instance:
            print(measure(instance.service, instance.key, options.connections, options.seconds), flush=True)


if __name__ == "__main__":
    main()
