"""`postroom doctor`: reports what may be wrong, as text or as JSON."""

import json

import typer

from postroom import settings
from postroom.cli.options import Json

MARKS = {"ok": ("✓", "green"), "skipped": ("–", "dim"), "warning": ("!", "yellow"), "error": ("✗", "red")}
WIDTH = 12


def doctor(as_json: Json = False) -> None:
    """Look for what may be wrong and say what to do next; nothing is changed. Exit code 1:
    warnings, 2: errors."""
    import msgspec
    from rich.console import Console
    from rich.text import Text

    from postroom import doctor as clinic

    diagnoses = clinic.examine(settings.load())
    if as_json:
        print(json.dumps(msgspec.to_builtins(diagnoses), ensure_ascii=False))
    else:
        console = Console(highlight=False, soft_wrap=True)
        for diagnosis in diagnoses:
            mark, style = MARKS[diagnosis.level]
            console.print(Text.assemble((mark, style), f" {diagnosis.subject:<{WIDTH}} ", diagnosis.text))
            if diagnosis.next:
                console.print(Text.assemble(" " * (WIDTH + 3), ("→ ", style), (diagnosis.next, "bold")))
    raise typer.Exit(clinic.exit_code(diagnoses))
