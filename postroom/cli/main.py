"""The command line: thin commands over the same functions that the API uses.

What a command does not need is not imported, so that each starts fast.
"""

import sys

import typer

from postroom import settings
from postroom.cli import accounts, api, backup, console, database, doctor, domains, keys, limits, mcp, nodes, run
from postroom.errors import NOT_THERE, BadBackup, Busy, Refused
from postroom.instance import data_directory, system_user

NOTHING = (
    "The organization has nothing of this name or id for this --user: see `postroom "
    "domains list` and `postroom keys list`."
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.callback()(run.version)
app.command()(run.serve)
app.command()(run.status)
app.command()(run.env)
app.command()(doctor.doctor)
app.command()(backup.backup)
app.command()(backup.restore)
app.command()(database.migrate_database)
app.command()(console.console_link)
app.command()(mcp.mcp)
app.add_typer(keys.app, name="keys")
app.add_typer(limits.app, name="limits")
app.add_typer(domains.app, name="domains")
app.add_typer(nodes.app, name="nodes")
app.add_typer(accounts.app, name="accounts")
app.add_typer(api.app, name="api")


def main() -> None:
    """Runs a command: errors of the operator are one line and an exit code, never a traceback."""
    try:
        app()
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
