"""How several API processes share one database: creates over HTTP, each client on a connection of its own, as many
connections to each process.

python -m bench.sharing [--postgres] [--seconds N] [--connections N]

Says how long a create takes (p50, p99, the longest), how many there are a second, and the share of each process; before
that, what the disk alone takes to keep a page, which is the limit of one client.
"""

import argparse
import itertools
import os
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass, field

from bench.instance import start
from tests.every_process import Caller, call_on, names
from tests.service import Service

PROCESSES = (1, 2, 4)
_numbers = itertools.count(1)


@dataclass
class Client:
    """Creates one account after the other; `times` is in seconds."""

    process: str
    caller: Caller
    domain: str
    times: list[float] = field(default_factory=list)

    def work(self, until: float) -> None:
        while (now := time.perf_counter()) < until:
            body = {"domain": self.domain, "local_part": f"s{next(_numbers)}", "user_id": f"u{next(_numbers)}"}
            status, answer, _ = self.caller.call("POST", "/v2/email-accounts/create", body)
            assert status == 201, answer
            self.times.append(time.perf_counter() - now)


def measure(service: Service, key: str, connections: int, seconds: float) -> str:
    """One line: what the clients have seen."""
    processes = names(service)
    clients = [
        Client(process, call_on(service, process, key), "d0.test")
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
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    print(f"fdatasync of a page: {sync_milliseconds():.2f} ms; load {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores")
    print("processes | creates/s | p50 ms | p99 ms | longest ms | share of each")
    for workers in PROCESSES:
        with start(100, postgres=options.postgres, workers=workers) as instance:
            print(measure(instance.service, instance.key, options.connections, options.seconds), flush=True)


if __name__ == "__main__":
    main()
