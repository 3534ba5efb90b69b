"""How a command ends that has failed: one line, and the exit code. Loads no typer."""

import sys
from collections.abc import Callable

from postroom import settings
from postroom.errors import NOT_THERE, BadBackup, Busy, Refused
from postroom.instance import data_directory, system_user

NOTHING = (
    "The organization has nothing of this name or id for this --user: see `postroom "
    "domains list` and `postroom keys list`."
)


def run(command: Callable[[], object]) -> None:
    """Runs a command. An error of the operator is printed as one line with an exit code, never as a
    traceback."""
    try:
        command()
    except Refused as error:
        found = NOTHING if error.detail == NOT_THERE else error.detail
        _fail(" ".join(field.message for field in error.fields) or found, 1)
    except Busy as error:
        _fail(error.detail, 1)
    except BadBackup as error:
        _fail(str(error), 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except (settings.BadSettings, data_directory.CannotStart, system_user.NoSystemUser) as error:
        _fail(str(error), 2)


def _fail(text: str, code: int) -> None:
    print(f"postroom: {text}", file=sys.stderr)
    sys.exit(code)
