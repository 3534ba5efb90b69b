"""How people write an internationalized domain in a login: for Dovecot, which compares bytes and
knows no IDNA (decision 0157).

A domain is stored in A-labels. A client that does not turn U-labels into them sends UTF-8, as it
was typed: with capitals, which Dovecot makes small only where they are ASCII, and composed or
decomposed (Unicode Standard Annex 15).
"""

import itertools
import unicodedata
from collections.abc import Iterator

import idna

from postroom.db import Tx

# Of so many letters that have capitals each combination is kept; of more, all capitals and each
# word's first.
COMBINED = 3
ADD = "INSERT INTO domain_spellings (spelling, name) VALUES (:spelling, :name) ON CONFLICT (spelling) DO NOTHING"
UNSPELLED = """
SELECT DISTINCT name FROM domains WHERE (name LIKE 'xn--%' OR name LIKE '%.xn--%') AND deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM domain_spellings WHERE domain_spellings.name = domains.name)"""


def add(tx: Tx, name: str) -> None:
    """Keeps the spellings of a canonical name."""
    for spelling in spellings(name):
        tx.run(ADD, spelling=spelling, name=name)


def fill(tx: Tx) -> None:
    """As `add`, for the domains that were made before there were any spellings."""
    for (name,) in tx.all(UNSPELLED):
        add(tx, name)


def spellings(name: str) -> list[str]:
    """What is not ASCII of the ways to write a canonical name, with ASCII letters in lower case;
    at most 16."""
    if "xn--" not in name:
        return []
    try:
        text = idna.decode(name)
    except UnicodeError:  # of a domain that was made under other rules
        return []
    forms = {
        _lower(unicodedata.normalize(form, variant)) for variant in _capitals(text) for form in ("NFC", "NFD", "NFKD")
    }
    return sorted(form for form in forms if not form.isascii())


def _capitals(text: str) -> Iterator[str]:
    places = [place for place, letter in enumerate(text) if not letter.isascii() and _capital(letter) != letter]
    chosen: set[tuple[int, ...]]
    if len(places) <= COMBINED:
        chosen = {some for size in range(len(places) + 1) for some in itertools.combinations(places, size)}
    else:
        first = tuple(place for place in places if place == 0 or text[place - 1] in ".-")
        chosen = {(), first, tuple(places)}
    for some in sorted(chosen):
        yield "".join(_capital(letter) if place in some else letter for place, letter in enumerate(text))


def _capital(letter: str) -> str:
    """The one capital that is this letter in lower case, or the letter: of two small sigmas one
    has none."""
    capital = "\u1e9e" if letter == "\u00df" else letter.upper()
    return capital if capital.lower() == letter else letter


def _lower(text: str) -> str:
    """As Dovecot does it (%L)."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
