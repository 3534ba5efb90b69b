"""The documents of the repository, and their fenced blocks."""

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
REFERENCE = (
    "docs/api.md",
    "docs/aliases.md",
    "docs/forwarding.md",
    "docs/outbound.md",
    "docs/app-passwords.md",
    "docs/setup-links.md",
    "docs/owner-page.md",
    "docs/domains.md",
    "docs/client-settings.md",
    "docs/monitoring.md",
    "docs/messages.md",
    "docs/webhooks.md",
)


class Block(NamedTuple):
    """A fenced block."""

    kind: str
    text: str


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(name: str) -> list[Block]:
    return [Block(*match.groups()) for match in re.finditer(r"^```(\w*)\n(.*?)^```$", read(name), re.M | re.S)]
