"""The command line of Postroom, one file a group of commands.

`start` is the program's entry and imports nothing before it has seen to Ctrl-C, which would
print a traceback while the modules are read.
"""

import signal


def start() -> None:
    """Runs the command line; an interrupt before it has begun ends the process without a word."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not where somebody ignores it, as nohup
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from postroom.cli.main import main

    if ours:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main()
