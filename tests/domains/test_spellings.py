"""Spellings that people use for an internationalized domain: which of them are stored."""

import unicodedata
from collections.abc import Iterator

import idna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.address import BadAddress, parse_domain
from postroom.db import Database, Tx
from postroom.domains import spellings
from postroom.service import bootstrap
from tests.harness.kept import KeptDatabase

LETTERS = "abcäöüßéøıžασςфи日本한글אก"


def typed(text: str) -> str:
    """The text as Dovecot compares it: ASCII letters in lower case."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


@pytest.mark.parametrize(
    "name",
    ["b\u00fccher.example", "stra\u00dfe.example", "\u0441\u0430\u0439\u0442.\u0440\u0444", "日本.example"],
)
def test_it_works(name: str) -> None:
    canonical = parse_domain(name)
    kept = spellings.spellings(canonical)
    for form in ("NFC", "NFD"):
        assert typed(unicodedata.normalize(form, name)) in kept
    assert typed(name.upper().replace("SS", "\u1e9e")) in kept


@pytest.mark.parametrize("name", ["example.com", "a.xn--p1ai.example", "x--y.example"])
def test_a_name_with_one_spelling(name: str) -> None:
    assert all(not spelling.isascii() for spelling in spellings.spellings(name))
    assert spellings.spellings("example.com") == []


@given(st.text(LETTERS, min_size=1, max_size=20))
def test_each_spelling_is_one_of_the_name(label: str) -> None:
    """Each spelling leads to its own domain only, and a domain has few spellings."""
    try:
        canonical = parse_domain(f"{label}.example.com")
    except BadAddress:
        return
    kept = spellings.spellings(canonical)
    assert len(kept) <= 16
    for spelling in kept:
        assert idna.encode(spelling, uts46=True).decode() == canonical


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = KeptDatabase(database_url)
    yield opened
    opened.close()


def test_older_domains_get_their_spellings(database: Database) -> None:
    def make(tx: Tx) -> None:
        bootstrap.create_domain(tx, "acme", "xn--bcher-kva.example", None, "active")
        tx.run("DELETE FROM domain_spellings")
        spellings.fill(tx)
        spellings.fill(tx)

    database.write_sync(make)
    found = database.write_sync(
        lambda tx: tx.all("SELECT name FROM mail_spellings WHERE spelling = 'b\u00fccher.example'")
    )
    assert found == [("xn--bcher-kva.example",)]
