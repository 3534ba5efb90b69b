"""`postroom doctor`: what may be wrong, for a person or as JSON."""

import json

import typer

from postroom import settings
from postroom.cli.options import Json

MARKS = {"ok": ("✓", "green"), "skipped": ("–", "dim"), "warning": ("!", "yellow"), "error": ("✗", "red")}
WIDTH = 12


def doctor(as_json: Json = False) -> None:
    """Look for what may be wrong and say what to do next; nothing is changed. Exit code 1: warnings, 2: errors."""
    import msgspec
    from rich.console import Console
    from rich.text import Text

    from postroom import doctor as clinic

    findings = clinic.examine(settings.load())
    if as_json:
        print(json.dumps(msgspec.to_builtins(findings), ensure_ascii=False))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for finding in findings:
            mark, style = MARKS[finding.level]
            console.print(Text.assemble((mark, style), f" {finding.subject:<{WIDTH}} ", finding.text))
            if finding.next:
                console.print(Text.assemble(" " * (WIDTH + 3), ("→ ", style), (finding.next, "bold")))
    raise typer.Exit(clinic.exit_code(findings))
