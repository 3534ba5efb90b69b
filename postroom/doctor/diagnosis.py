"""What `postroom doctor` says: one line for each thing that it checked, and the next command if one
helps."""

from typing import Literal

import msgspec

Level = Literal["ok", "skipped", "warning", "error"]
LEVELS: tuple[Level, ...] = ("ok", "skipped", "warning", "error")


class Diagnosis(msgspec.Struct, frozen=True):
    """`next` is a command for the shell, or empty."""

    level: Level
    subject: str
    text: str
    next: str = ""


def exit_code(diagnoses: list[Diagnosis]) -> int:
    """The exit code: 0 without problems, 1 with warnings, 2 with errors."""
    levels = {diagnosis.level for diagnosis in diagnoses}
    return 2 if "error" in levels else 1 if "warning" in levels else 0
