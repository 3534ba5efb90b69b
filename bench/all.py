"""Everything that is measured, and docs/performance.md and docs/performance-details.md with what
came out, whatever it is.

    python -m bench.all [--quick] [--output FOLDER]

`--quick` shows that it runs, in a few minutes; its figures say little. Measure on a machine that
does nothing else.
"""

import argparse
import datetime
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import checkpoint_cost, create_cost, http_calls, latency, load, mail, memory, parts, purges, report, scale
from bench.page import Section, details, page, plot
from bench.report import Row, show

GET = (
    "CPU time in one process without sockets. To be half as fast as the bare answer, a get may add only as much "
    "CPU time as the bare answer takes. Its two look-ups alone take more: the account, and the key, which is "
    "looked up at every request so that a revoked key is refused at once."
)
CREATE = (
    "The same for a create. All of it is Python under one lock, so this CPU time limits the creates of one "
    "process; waiting for the disk happens in parallel. The ten statements read the domain twice and the limits, "
    "write two counters, the user, the account, its address and its event, and enclose all that in a savepoint."
)
CHECKPOINT = (
    "A checkpoint copies the pages of SQLite's write-ahead log into the database file. The table shows how long "
    "the disk takes, and the next batch waits that long. When checkpoints take more than a hundredth of the time, "
    "they determine the p99 of creates at full speed. Under load there is one checkpoint a second, a compromise "
    "between this cost and the size of the log."
)
DOCS = Path(__file__).parent.parent / "docs"


def sections(quick: bool) -> Iterator[tuple[str, str, Callable[[], Iterator[Row]]]]:
    """Title, what it says, and what measures it."""
    accounts, most = (5_000, 50_000) if quick else (20_000, 1_000_000)
    beside = "Each row is compared with its limit, measured alternately with it. 32 connections."
    calls = http_calls.measure
    yield "Calls, SQLite", beside, lambda: calls(accounts, 1, brief=quick)
    yield "Calls, SQLite, two workers", beside, lambda: calls(accounts, 1, workers=2, brief=True)
    yield "Calls, PostgreSQL", beside, lambda: calls(accounts, 1, postgres=True, brief=quick)
    yield "Calls, PostgreSQL, two workers", beside, lambda: calls(accounts, 1, postgres=True, workers=2, brief=True)
    grown = "CPU time of a call over HTTP, and median time of a look-up inside the database's process, without HTTP."
    yield "Growth, SQLite", grown, lambda: scale.measure(most, wide=not quick)
    yield "Growth, PostgreSQL", grown, lambda: scale.measure(most // 2, postgres=True, wide=False)
    crowd = "Eight connections make one kind of call while sixteen others make another kind at full speed."
    yield "Latency under load", crowd, lambda: latency.measure()
    yield "Memory and start", "The processes of one service.", lambda: _both(memory.measure)
    yield "Mail", mail.SAYS, lambda: mail.measure(quick=quick)
    yield "Mail, PostgreSQL", "As above, over PostgreSQL.", lambda: mail.measure(quick=quick, postgres=True)
    yield "Purges", "Deleted accounts without mail, that a worker with nothing else to do erases.", purges.rows
    yield "Where the time of a get goes", GET, parts.measure
    yield "What a create costs", CREATE, create_cost.measure
    yield "What a checkpoint costs", CHECKPOINT, checkpoint_cost.measure


def _both(measure: Callable[[str], Iterator[Row]]) -> Iterator[Row]:
    for switch in ("off", "on"):
        yield from measure(switch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--output", type=Path, default=DOCS)
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    load.SECONDS = 1 if options.quick else 2
    report.ROUNDS = 1 if options.quick else 3
    began, found = time.perf_counter(), []
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for title, says, measure in sections(options.quick):
        print(f"\n{title} ({time.perf_counter() - began:.0f} s)", flush=True)
        rows = []
        for row in measure():
            print(f"  {show(row)}", flush=True)
            rows.append(row)
        found.append(Section(title, says, rows))
        # After each section: what is measured is not lost by what comes later.
        minutes = (time.perf_counter() - began) / 60
        (options.output / "performance.svg").write_text(plot(found), encoding="utf-8")
        for name, write in (("performance.md", page), ("performance-details.md", details)):
            text = write(found, today, minutes, options.quick)
            (options.output / name).write_text(text, encoding="utf-8")
    print(f"\n{options.output / 'performance.md'} after {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
