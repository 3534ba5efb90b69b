"""What an Idempotency-Key costs: creates and replays over real HTTP, one client, with the header
and without.

python bench/retry_cost.py [DIRECTORY]        DIRECTORY: another checkout, whose creates without it
are timed too

The variants take turns, so that what else the machine does meets all of them. The database is
SQLite in memory-backed /dev/shm: no disk, so that what is left is the work.
"""

import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

HERE = Path(__file__).resolve().parent.parent
ROUNDS = 15
CALLS = 200

SERVER = """
import os, socket, sys
import uvicorn
from postroom.log import log
from postroom.service import bootstrap as operator
from postroom import settings
from postroom.api.app import create_app
from postroom.api.connection import configure
from postroom.db import migrate, open_database
from postroom.auth.keys import CreateKey

async def end_sessions(pairs):
    return True

async def probe():
    return {}

migrate(sys.argv[1])
database = open_database(sys.argv[1])
def work(tx):
    operator.create_domain(tx, "bench", "bench.test", None, "active")
    return operator.create_key(tx, "bench", CreateKey())
key = database.write_sync(work)
listener = socket.create_server(("127.0.0.1", 0))
made = settings.Settings(rate_limit="off")
log.configure(made.log_level)
app = create_app(database, made, end_sessions=end_sessions, probe=probe, instance="bench", digest_key="b")
print(listener.getsockname()[1], key, flush=True)
os.dup2(2, 1)  # nobody reads the pipe any more, and the log would fill it
uvicorn.Server(configure(app, loop="uvloop")).run(sockets=[listener])
"""


class Bench:
    """A server of a checkout, and a client that keeps its connection."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        command = [sys.executable, "-c", SERVER, f"sqlite:///{folder / 'bench.db'}"]
        environment = os.environ | {"PYTHONPATH": str(checkout)}
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdout
        port, self.key = self.process.stdout.readline().split()
        self.client = http.client.HTTPConnection("127.0.0.1", int(port))
        self.id = 1

    def send(self, method: str, path: str, body: object, once: str | None) -> None:
        headers = {"x-api-key": self.key, "content-type": "application/json"}
        if once:
            headers["idempotency-key"] = once
        self.client.request(method, path, None if body is None else json.dumps(body), headers)
        answer = self.client.getresponse()
        text = answer.read()
        assert answer.status in (200, 201), text

    def create(self, *, keyed: bool) -> None:
        body = {"domain": "bench.test", "local_part": uuid4().hex, "user_id": "u"}
        self.send("POST", "/v2/email-accounts/create", body, str(uuid4()) if keyed else None)

    def replay(self) -> None:
        self.send(
            "POST",
            "/v2/email-accounts/create",
            {"domain": "bench.test", "local_part": "same", "user_id": "u"},
            "the same one",
        )

    def get(self) -> None:
        self.send("GET", "/v2/email-accounts?limit=1", None, None)


def main() -> None:
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    benches = {"": Bench(HERE, _made(folder / "here"))}
    here = benches[""]
    variants = {
        "create": lambda: here.create(keyed=False),
        "create with the header": lambda: here.create(keyed=True),
        "replay": here.replay,
        "list of one": here.get,
    }
    if len(sys.argv) > 1:
        before = benches["before"] = Bench(Path(sys.argv[1]).resolve(), _made(folder / "before"))
        variants |= {"create, before": lambda: before.create(keyed=False), "list of one, before": before.get}
    took: dict[str, list[float]] = {name: [] for name in variants}
    try:
        for _ in range(ROUNDS):
            for name, call in variants.items():
                started = time.perf_counter()
                for _ in range(CALLS):
                    call()
                took[name].append((time.perf_counter() - started) / CALLS * 1e6)
    finally:
        for bench in benches.values():
            bench.process.kill()
            bench.process.wait()
        shutil.rmtree(folder)
    for name, rounds in took.items():
        print(f"{name:24} {statistics.median(rounds):7.0f} µs (best {min(rounds):.0f}, worst {max(rounds):.0f})")


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    main()
