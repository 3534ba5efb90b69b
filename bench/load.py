"""Load by HTTP with wrk (Debian package `wrk`), and what it costs the server in CPU time.

Requests a second depend on what else the machine does; CPU time a request hardly does.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CONNECTIONS = 32
SECONDS = 4  # bench.all makes it shorter
TICK = os.sysconf("SC_CLK_TCK")

# wrk calls `request` for each request and `done` at the end. `n` counts, `pick` is a number up to
# its argument.
SCRIPT = """
math.randomseed({seed})
local n = 0
local function pick(most) return math.random(1, most) end
request = function()
  n = n + 1
  return wrk.format("{method}", {path}, headers, {body})
end
done = function(summary, latency, requests)
  local failed = summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.write(string.format("RESULT %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), failed))
end
"""


@dataclass(frozen=True)
class Request:
    """What wrk sends: `path` and `body` are Lua expressions over `n` (ascending) and
    `pick(most)` (random)."""

    method: str
    path: str
    body: str = "nil"


@dataclass(frozen=True)
class Load:
    """One run. Latencies in ms, `cpu_us` is the server's CPU time a request."""

    per_second: float
    p50: float
    p99: float
    cpu_us: float
    failed: int


def run(
    url: str,
    request: Request,
    headers: Mapping[str, str],
    pids: Iterable[int],
    *,
    connections: int = CONNECTIONS,
    seconds: int | None = None,
    seed: int = 1,
) -> Load:
    """Sends requests for so many seconds. Raises SystemExit where wrk is missing or requests
    fail."""
    if not shutil.which("wrk"):
        sys.exit("wrk is missing: apt-get install wrk")
    seconds = seconds or SECONDS
    lines = "".join(f'headers["{name}"] = "{value}"\n' for name, value in headers.items())
    script = SCRIPT.format(seed=seed, method=request.method, path=request.path, body=request.body)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(f"headers = {{}}\n{lines}{script}")
        file.flush()
        before = sum(cpu_seconds(pid) for pid in pids)
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", file.name, url]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        spent = sum(cpu_seconds(pid) for pid in pids) - before
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    requests, microseconds, p50, p99, failed = (int(word) for word in line.split()[1:])
    if failed * 100 > requests:
        sys.exit(f"{request.method} {request.path}: {failed} of {requests} requests failed")
    return Load(requests / microseconds * 1e6, p50 / 1000, p99 / 1000, spent / max(requests, 1) * 1e6, failed)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, its threads included."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK
