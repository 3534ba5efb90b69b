"""The last steps of a restore, which a crash may have left to the next start.

They may be done any number of times, and everything that opens a data directory does
them first.
"""

import contextlib
import os
from pathlib import Path

from postroom.instance import durable

MOVED, ASIDE = "restored-", "before-restore-"


def finish(data: Path) -> Path | None:
    """Completes a decided restore. Returns the folder of the former data, if there was any."""
    if not os.access(data, os.R_OK | os.X_OK, effective_ids=True):  # absent or closed: opening it reports that
        return None
    aside = None
    for decided in sorted(data.glob(f"{MOVED}*")):
        for source in sorted(path for path in decided.iterdir() if path.name in ("db", "mail")):
            former = data / source.name
            if former.exists():
                aside = data / (ASIDE + decided.name.removeprefix(MOVED))
                aside.mkdir(mode=0o700, exist_ok=True)
                former.rename(aside / source.name)
            source.rename(former)
        durable.sync(data)
        with contextlib.suppress(OSError):
            decided.rmdir()
    return aside
