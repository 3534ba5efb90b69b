"""The command line of Postroom, one file per group of commands.

`start` is the program's entry point. It imports nothing before it has handled Ctrl-C, which would
otherwise print a traceback while the modules load.
"""

import signal


def start() -> None:
    """Runs the command line. An interrupt while the modules load ends the process silently."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # false if ignored, as under nohup
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from postroom.cli.main import main

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
