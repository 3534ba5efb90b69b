"""docs/performance.md, which a person reads, and docs/performance-details.md with all that was
measured. They say what came out: a target that is missed comes first."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from xml.sax.saxutils import escape

from bench.report import Row, machine, number

PROGRAMS = {
    "Dovecot": ["dovecot", "--version"],
    "Postfix": ["postconf", "-dh", "mail_version"],
    "PostgreSQL": ["psql", "--version"],
}
LINE, BARS = 22, 410
CHARACTER = 6.6  # wide, on the average, at this size


@dataclass(frozen=True)
class Section:
    title: str
    says: str
    rows: Sequence[Row]


# The ten rows of the page: what a question begins with, and what its row is compared with.
HEADLINES = (
    ("get by id, SQLite, ", "bare answer"),
    ("list of 50, SQLite, ", "bare, same SQL"),
    ("create, SQLite, ", "a commit each"),
    ("create, PostgreSQL, ", "a commit each"),
    ("get by id, SQLite, 1 × ", "at "),
    ("Postfix: a recipient, SQLite, ", "at "),
    ("purges, SQLite", ""),
    ("SMTP to the mailbox", "stock"),
    ("SMTP accepts", "stock"),
    ("memory of all processes, mail plane on", ""),
)


def page(sections: Sequence[Section], date: str, minutes: float, quick: bool) -> str:
    """The page that a person reads."""
    judged = [row for section in sections for row in section.rows if row.verdict]
    wrong = [row for row in judged if _is_missed(row)]
    lines = [
        "# Performance",
        "",
        "`python -m bench.all` writes this page; nothing here is written by hand. A figure holds for this",
        "machine only. What counts is its ratio to a limit that was measured in the same run.",
        *_when(date, minutes, quick),
        f"{len(judged) - len(wrong)} of {len(judged)} targets are met.",
        "",
        *table(headlines(sections)),
        "",
        "[All figures](performance-details.md), where the time goes, and the other targets",
        "",
        "![Ratios and their targets](performance.svg)",
    ]
    return "\n".join(lines) + "\n"


def details(sections: Sequence[Section], date: str, minutes: float, quick: bool) -> str:
    """All that was measured."""
    lines = [
        "# Performance: all figures",
        "",
        "`python -m bench.all` writes this page; nothing here is written by hand. Figures are medians, ± half",
        "of their range. CPU µs are user and system time of the API's processes for a call.",
        *_when(date, minutes, quick),
        *missed(sections),
    ]
    for section in sections:
        lines += ["", f"## {section.title}", "", section.says, "", *table(section.rows)]
    return "\n".join(lines) + "\n"


def headlines(sections: Sequence[Section]) -> list[Row]:
    """The rows of the page, the missed ones first."""
    rows = [row for section in sections for row in section.rows]
    found = [
        next((row for row in rows if row.question.startswith(begin) and row.limit.startswith(limit)), None)
        for begin, limit in HEADLINES
    ]
    return sorted((row for row in found if row), key=lambda row: not _is_missed(row))


def missed(sections: Sequence[Section]) -> list[str]:
    """The targets that were not reached."""
    wrong = [row for section in sections for row in section.rows if _is_missed(row)]
    lines = ["## Missed targets", ""]
    for row in wrong:
        got = f"{row.ratio:.2f} × {row.limit}" if row.ratio is not None else quantity(row)
        lines.append(f"* {row.question}: {got}, target {row.verdict.partition(': ')[2]}.")
    return lines if wrong else [*lines, "None."]


def _when(date: str, minutes: float, quick: bool) -> list[str]:
    warning = ["", "**A quick run: one short round of each, so these figures say little.**"] if quick else []
    return [*warning, "", f"{date}, {minutes:.0f} minutes. {machine()}. {programs()}.", ""]


def _is_missed(row: Row) -> bool:
    return row.verdict.startswith("MISSED")


def quantity(row: Row) -> str:
    """A value with its unit."""
    return f"{number(row.value)} {row.unit}".replace(" /s", "/s")


def table(rows: Sequence[Row]) -> list[str]:
    lines = ["| | | compared with | ratio | target | |", "|---|---|---|---|---|---|"]
    for row in rows:
        value = quantity(row) + (f" ± {row.spread * 100:.0f} %" if row.spread else "")
        limit = f"{row.limit}: {number(row.limit_value)}" if row.limit_value else ""
        ratio = f"{row.ratio:.2f}" if row.ratio is not None else ""
        cells = (row.question, value, limit, ratio, row.verdict.replace("met: ", "met, "), row.more)
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def programs() -> str:
    said = [f"{name} {version(name)}" for name in ("uvicorn", "uvloop", "psycopg")]
    for name, command in PROGRAMS.items():
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        except (OSError, subprocess.CalledProcessError):
            continue
        said.append(f"{name} {next((word for word in answer if word[0].isdigit()), '?')}")
    return ", ".join(said)


def plot(sections: Sequence[Section]) -> str:
    """A bar for each ratio that has a target, and a mark where the target is."""
    rows = [row for section in sections for row in section.rows if row.ratio is not None and row.verdict]
    labels = [f"{row.question} / {row.limit}" for row in rows]
    left = round(max(map(len, labels), default=0) * CHARACTER) + 16
    width, height, scale = left + BARS + 60, LINE * (len(rows) + 1), BARS / 3
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"',
        ' font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        y, target = LINE * place + 8, row.at_least if row.at_least is not None else row.at_most
        good = row.verdict.startswith("met")
        bar = min(row.ratio or 0.0, 3.0) * scale
        mark = left + min(target or 0.0, 3.0) * scale
        lines += [
            f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>',
            f'<rect x="{left}" y="{y}" width="{bar:.0f}" height="14" fill="{"#2a7" if good else "#c60"}"/>',
            f'<line x1="{mark:.0f}" x2="{mark:.0f}" y1="{y - 3}" y2="{y + 17}" stroke="#000" stroke-width="2"/>',
            f'<text x="{max(left + bar, mark) + 6:.0f}" y="{y + 12}">{row.ratio:.2f}</text>',
        ]
    return "\n".join([*lines, "</svg>"]) + "\n"
