"""The SPF record that a customer should publish in place of a faulty one: ours merged into what
theirs says.

The proposal always parses, and its first term lets our host send. A term that receivers cannot
read is written as it was meant where the meaning is certain, and left out otherwise
(decision 0162).
"""

import re
from collections.abc import Collection, Iterator, Sequence

import msgspec

from postroom.domains import spf
from postroom.domains.dns_lookups import Lookups, Open
from postroom.domains.resolver import Unanswered
from postroom.domains.spf import Mechanism, Modifier, Record, Term
from postroom.domains.spf_check import MOST_LOOKUPS, escaped, the_one
from postroom.domains.spf_faults import DASHES, MECHANISMS, Broken
from postroom.domains.spf_macros import Client, MacroString, is_name

_VERSION = re.compile(r"\W*v\s*=\s*spf1(?![0-9])[\s,;]*", re.ASCII | re.IGNORECASE)
_MEANT = str.maketrans(dict.fromkeys(DASHES, "-") | {"\uff1a": ":"} | dict.fromkeys("\"'`\u201c\u201d\u2018\u2019"))
_RENAMED = re.compile(r"([+?~-]?)ipv([46]):", re.IGNORECASE)
_VOID_TYPES = {"a": ("A", "AAAA"), "mx": ("MX",), "exists": ("A",)}


def is_meant(value: str) -> bool:
    """Whether a person would take a TXT value for an SPF record, also where receivers do not."""
    return _VERSION.match(value) is not None


class Proposal(msgspec.Struct, frozen=True):
    """The record, and the terms of theirs that are not in it because receivers cannot use them."""

    text: str
    left_out: tuple[str, ...]


def with_host(
    records: Sequence[str], host: str, broken: Collection[str] = (), addresses: Sequence[Client] = ()
) -> Proposal:
    """One record that says what these say, without the terms in `broken`, and lets the host
    send: by its name, or by its addresses where some are given."""
    if sum(map(len, records)) > spf.MOST_CHARACTERS:
        return Proposal(f"v=spf1 a:{host} ~all", ("all of its terms",))
    read = list(_read(records))
    terms = {term: meaning for term, meaning in read if meaning and term.lower() not in broken}
    kept = [term for term, meaning in terms.items() if _stays(meaning, host)]
    redirects = [term for term, meaning in terms.items() if meaning.name == "redirect"]
    explanations = [term for term, meaning in terms.items() if meaning.name == "exp"]
    ends = [term for term, meaning in terms.items() if meaning.name == "all" and term.lower() not in ("all", "+all")]
    if len(records) > 1 or len(redirects) > 1:  # one record has one redirect; an include lets the same hosts send
        kept += [f"include:{term.partition('=')[2]}" for term in redirects]
        redirects = []
    ours = [f"ip{address.version}:{address}" for address in addresses] or [f"a:{host}"]
    merged = " ".join(["v=spf1", *_unlike([*ours, *kept]), *(ends or redirects or ["~all"])[:1], *explanations[:1]])
    if len(merged) > spf.MOST_CHARACTERS:
        return Proposal(f"v=spf1 a:{host} ~all", ("all of its terms",))
    return Proposal(merged, tuple(dict.fromkeys(term for term, _ in read if term not in terms)))


def broken_terms(
    domain: str, records: Sequence[str], host: str, lookups: Lookups, *, void: bool = False
) -> frozenset[str]:
    """Terms of a domain's records, in lower case, that parse and are of no use: an include or
    redirect that leads to no record, to one that does not parse, or in a circle; with `void` also
    a, mx and exists of names without records.

    What the DNS does not answer counts as usable. Raises Open.
    """
    walk = _Walk(domain, lookups)
    useless = set()
    for term, meaning in ((term, meaning) for term, meaning in _read(records) if meaning):
        name = domain if isinstance(meaning, Mechanism) and meaning.domain is None else _fixed(_domain_of(meaning))
        if name is None or name.lower() == host:
            continue
        if meaning.name in ("include", "redirect"):
            is_useless = not walk.is_usable(name)
        else:
            types = _VOID_TYPES.get(meaning.name, ()) if void else ()
            is_useless = bool(types) and walk.is_void(name, types)
        if is_useless:
            useless.add(term.lower())
    return frozenset(useless)


class _Walk:
    """What stands behind the terms of a record, whatever the client; about as many questions as
    an evaluation has."""

    def __init__(self, domain: str, lookups: Lookups) -> None:
        self._path = [domain.lower()]
        self._answers = lookups
        self._questions = 0

    def is_usable(self, name: str) -> bool:
        """Whether a domain has a record that parses, and from which no path leads in a circle."""
        if self._questions >= MOST_LOOKUPS:
            return True
        try:
            self._record(name)
        except Broken:
            return False
        return not self._leads_back(name.lower().removesuffix("."))

    def is_void(self, name: str, types: Sequence[str]) -> bool:
        """Whether a name has no record of these types."""
        self._questions += len(types)
        if self._questions > 4 * MOST_LOOKUPS:
            return False
        self._answers.note((escaped(name), each) for each in types)
        return not any(self._answers.hint(escaped(name), each).values for each in types)

    def _leads_back(self, name: str) -> bool:
        if name in self._path:
            return True
        try:
            record = self._record(name) if self._questions < MOST_LOOKUPS else None
        except Broken:
            return False
        if record is None:
            return False
        self._questions += 1
        self._path.append(name)
        targets = [_fixed(each.domain) for each in record.mechanisms if each.name == "include"]
        if not any(each.name == "all" for each in record.mechanisms):
            targets.append(_fixed(record.redirect))
        found = any(self._leads_back(target.lower().removesuffix(".")) for target in targets if target)
        self._path.pop()
        return found

    def _record(self, name: str) -> Record | None:
        """The record of a domain; None where the DNS gave no answer. Raises Broken, Open."""
        if not is_name(name.removesuffix(".")):
            raise Broken(f"{name} names no domain.")
        try:
            values = self._answers.find(escaped(name.removesuffix(".")), "TXT").values
        except Open:
            raise
        except Unanswered:
            return None
        return the_one([value for value in values if spf.is_record(value)])


def _read(records: Sequence[str]) -> Iterator[tuple[str, Term | None]]:
    """The terms that receivers can read, or could if they were written as they were meant; None
    with all others. Nothing of records that no proposal could hold."""
    for record in records if sum(map(len, records)) <= spf.MOST_CHARACTERS else ():
        words = _VERSION.sub("", record, count=1).split()[::-1]
        while words:
            word = words.pop()
            if meaning := _parsed(word):
                yield word, meaning
                continue
            meant = _RENAMED.sub(r"\1ip\2:", word.translate(_MEANT)).strip(",;")
            if meant[-1:] in ("=", ":") and words and not _parsed(words[-1]) and _parsed(meant + words[-1]):
                meant += words.pop()
            for piece in [meant] if _parsed(meant) else re.split("[,;]", meant):
                yield piece, _parsed(piece)


def _parsed(text: str) -> Term | None:
    try:
        return spf.parse_term(text)
    except Broken:
        return None


def _stays(meaning: Term, host: str) -> bool:
    """Whether a term is neither an end of the record, nor about our host alone or every host, nor
    a modifier without a meaning."""
    if isinstance(meaning, Modifier):
        return meaning.name not in ("redirect", "exp", "v", *MECHANISMS)
    versions = (4, 6) if meaning.network is None else (meaning.network.version,)
    if meaning.qualifier == "+" and any(spf.names_nobody(meaning, version) for version in versions):
        return False
    is_ours = meaning.name == "a" and (_fixed(meaning.domain) or "").lower() == host
    is_wide = meaning.qualifier == "+" and (meaning.length4, meaning.length6) != (32, 128)
    return meaning.name != "all" and (is_wide or not is_ours)


def _unlike(terms: Sequence[str]) -> list[str]:
    """The terms without repetitions. The case of letters means something in macros alone."""
    return list({term if "%" in term else term.lower(): term for term in reversed(terms)}.values())[::-1]


def _domain_of(meaning: Term) -> MacroString | None:
    return meaning.domain if isinstance(meaning, Mechanism) else meaning.value


def _fixed(pieces: MacroString | None) -> str | None:
    """The name that the pieces spell; None where macros make it."""
    if pieces is None or not all(isinstance(piece, str) for piece in pieces):
        return None
    return "".join(map(str, pieces)).removesuffix(".")
