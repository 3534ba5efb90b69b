"""The command line of Postroom, one file per group of commands.

`start` is the program's entry point. It imports nothing before it has handled Ctrl-C, which would
otherwise print a traceback while the modules load.
"""

import signal
import sys
from collections.abc import Callable

MISSING = "postroom: The commands are not installed: pip install '.[server]' or '.[cli]' in Postroom's checkout."


def start() -> None:
    """Runs the command line. An interrupt while the modules load ends the process silently."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # false if ignored, as under nohup
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        command = _load()
    except ModuleNotFoundError as error:
        if str(error.name).startswith("postroom"):
            raise
        sys.exit(MISSING)
    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    command()


def _load() -> Callable[[], None]:
    """Loads the command line; for a plain `postroom serve` only the supervisor, which runs for
    months: typer and its pydantic would take 8 MB of it (decision 0187)."""
    if sys.argv[1:] != ["serve"]:
        from postroom.cli.main import main

        return main
    from postroom import settings
    from postroom.cli import exits
    from postroom.service.serve import serve

    return lambda: exits.run(lambda: sys.exit(serve(settings.load())))
