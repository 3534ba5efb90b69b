"""For how long the worker's oldest work has been due, for /metrics.

A stranger would get wrong: what fails again and again and was put off for that is late, too: somebody has to look at
it.
"""

from postroom import sessions
from postroom.db import Tx

PURGE = "SELECT purge_at FROM accounts WHERE purge_at <= :now ORDER BY purge_at LIMIT 1"
CHECK = "SELECT due_at FROM domain_checks WHERE due_at <= :now ORDER BY due_at LIMIT 1"


def by_work(tx: Tx) -> dict[str, float]:
    """Seconds, for each kind of work; 0 where nothing is due."""
    rows = {"purges": tx.one(PURGE, now=tx.now), "checks": tx.one(CHECK, now=tx.now)}
    due = {"sessions": sessions.oldest_due(tx)} | {work: int(row[0]) if row else None for work, row in rows.items()}
    return {work: 0.0 if at is None else (tx.now - at) / 1000 for work, at in due.items()}
