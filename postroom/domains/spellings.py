"""How people spell an internationalized domain in a login, for Dovecot, which compares bytes and
does not know IDNA (decision 0157).

Domains are stored as A-labels. A client that does not convert U-labels sends UTF-8 as typed:
composed or decomposed (Unicode Standard Annex 15), and with capitals, of which Dovecot lowers only
the ASCII ones.
"""

import itertools
import unicodedata
from collections.abc import Iterator

import idna

from postroom.db import Tx

# Maximum number of non-ASCII letters with capitals for which every combination is kept. Of a name
# with more such letters, three variants are kept: no capitals, all capitals, and a capital at the
# start of each word.
COMBINED = 3
ADD = "INSERT INTO domain_spellings (spelling, name) VALUES (:spelling, :name) ON CONFLICT (spelling) DO NOTHING"
UNSPELLED = """
SELECT DISTINCT name FROM domains WHERE (name LIKE 'xn--%' OR name LIKE '%.xn--%') AND deleted_at IS NULL
  AND NOT EXISTS (SELECT 1 FROM domain_spellings WHERE domain_spellings.name = domains.name)"""


def add(tx: Tx, name: str) -> None:
    """Stores the spellings of a canonical name."""
    for spelling in spellings(name):
        tx.run(ADD, spelling=spelling, name=name)


def fill(tx: Tx) -> None:
    """As `add`, for the domains that were made before spellings were stored."""
    for (name,) in tx.all(UNSPELLED):
        add(tx, name)


def spellings(name: str) -> list[str]:
    """Returns the non-ASCII spellings of a canonical name, with ASCII letters in lower case; at
    most 16."""
    if "xn--" not in name:
        return []
    try:
        text = idna.decode(name)
    except UnicodeError:  # a domain that was made under older rules
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
    """Returns the capital whose lower case is this letter; the letter itself if there is none, as
    for one of the two small sigmas."""
    capital = "\u1e9e" if letter == "\u00df" else letter.upper()
    return capital if capital.lower() == letter else letter


def _lower(text: str) -> str:
    """Lowers ASCII letters only, as Dovecot does (%L)."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)
