"""What `postroom doctor` says of a service."""

import json

from tests.harness.service import Service

Found = list[tuple[str, str, str]]


def look(service: Service, code: int) -> Found:
    """The diagnoses, as (level, subject, text and next command)."""
    done = service.run("doctor", "--json")
    assert done.returncode == code, done.stdout + done.stderr
    return [(row["level"], row["subject"], f"{row['text']} → {row['next']}") for row in json.loads(done.stdout)]


def has(found: Found, level: str, subject: str, *words: str) -> bool:
    return any(f[:2] == (level, subject) and all(word in f[2] for word in words) for f in found)
