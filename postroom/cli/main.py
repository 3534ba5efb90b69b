"""The command line: thin commands over the same functions that the API uses.

Commands import only the modules that they need, so that each starts fast.
"""

import typer

from postroom.cli import (
    accounts,
    api,
    backup,
    bans,
    console,
    database,
    doctor,
    domains,
    exits,
    keys,
    limits,
    mcp,
    nodes,
    run,
    webhooks,
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
app.add_typer(bans.app, name="bans")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(api.app, name="api")


def main() -> None:
    """Runs a command."""
    exits.run(app)
