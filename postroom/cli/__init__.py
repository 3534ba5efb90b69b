"""The command line of Postroom, one file per group of commands.

`start` is the program's entry point. It imports nothing before it has handled Ctrl-C, which would
otherwise print a traceback while the modules load.
"""

import signal
import sys

MISSING = "postroom: The commands are not installed: pip install '.[server]' or '.[cli]' in Postroom's checkout."


def start() -> None:
    """Runs the command line. An interrupt while the modules load ends the process silently."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # false if ignored, as under nohup
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        from postroom.cli.main import main
    except ModuleNotFoundError as error:
        if str(error.name).startswith("postroom"):
            raise
        sys.exit(MISSING)

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
