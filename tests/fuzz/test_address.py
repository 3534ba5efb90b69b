"""Addresses: one spelling, a narrow alphabet, and the same result as from a second implementation
of the rules.

The second implementation uses loops, the file of the public suffix list and GNU libidn2. It shares
no pattern and no library with `postroom.address`.
"""

import ctypes
import functools
import itertools
import string
from pathlib import Path

import publicsuffixlist
from hypothesis import given
from hypothesis import strategies as st

from postroom.address import Address, BadAddress, parse_domain, parse_local_part

LOWER = set(string.ascii_lowercase)
DIGITS = set(string.digits)
IDN2_NONTRANSITIONAL = 8

# Texts around every bound of the rules, and arbitrary texts.
EDGES = st.sampled_from([1, 2, 3, 4, 61, 62, 63, 64, 65, 66])
LETTER = st.sampled_from(string.ascii_letters + string.digits)
PLAIN = st.sampled_from(string.ascii_letters + string.digits + "._-")
ODD = st.sampled_from("+ \t@%/'\"\\$\0\n\r\x7f\x85,;:<>()[]*~^!#{}|`=?&")
LONG = st.builds(lambda letter, size: letter * size, LETTER, EDGES)
WORD = st.text(PLAIN, min_size=1, max_size=12)
LOCAL_PARTS = st.lists(LONG | WORD | st.text(PLAIN | ODD, max_size=3), min_size=1, max_size=3).map("".join)
LABELS = st.one_of(
    LONG,
    st.text(LETTER, min_size=1, max_size=10),
    st.text(LETTER | st.just("-"), min_size=1, max_size=10),
    st.text(LETTER | ODD, max_size=3),
)
TOPS = st.sampled_from(["example", "COM", "co.uk", "ck", "www.ck", "github.io", "7", "0x1", "-", "", "kawasaki.jp"])
DOMAINS = st.builds(lambda labels, top: ".".join([*labels, top]), st.lists(LABELS, max_size=4), TOPS | LABELS)
# Letters whose case, composition and mapping are the same in all versions of Unicode since 5.2.
SCRIPTS = (
    "äöüßéèñçøåžšłàěïÄÖÜÉŽŠabc",
    "άλφςπωΆΛΦ",
    "абвгдёжщяієАБЯ",
    "\u05d0\u05d1\u05d2\u05e9",
    "かなカナ漢字例",
    "한글",
)
FOREIGN = st.sampled_from(SCRIPTS).flatmap(lambda letters: st.text(letters, min_size=1, max_size=12))
WIDE = st.text("ａｂｃＡＢＣ１２３-abc", min_size=1, max_size=8)
FOREIGN_DOMAINS = st.builds(
    lambda labels, dot, top: dot.join([*labels, top]),
    st.lists(FOREIGN | WIDE | WORD, min_size=1, max_size=3),
    st.sampled_from([".", "。", "．", "｡"]),
    st.sampled_from(["example", "ＣＯＭ", "рф", "中国", "test"]),
)
ANYTHING = st.text(max_size=80)


def is_local_part(text: str) -> bool:
    """By docs/api.md: a-z, 0-9, dot, underscore and hyphen; starts with a letter or digit; at most
    64 characters."""
    inner = LOWER | DIGITS | set(string.ascii_uppercase)
    if not 1 <= len(text) <= 64 or text[0] not in inner:
        return False
    dots = [at for at, letter in enumerate(text) if letter == "."]
    pairs = any(later - earlier == 1 for earlier, later in itertools.pairwise(dots))
    return all(letter in inner or letter in "._-" for letter in text) and not pairs and not text.endswith(".")


def is_domain(text: str) -> bool:
    """Whether it is an ASCII name without A-labels that a customer can own (RFC 1035 2.3.1, RFC
    5891 4.2.3.1)."""
    labels = text.lower().split(".")
    if len(text) > 253 or len(labels) < 2 or not all(is_label(label) for label in labels):
        return False
    return labels[-1][0] in LOWER and public_part(labels) < len(labels)


def is_label(label: str) -> bool:
    if not 1 <= len(label) <= 63 or set(label) - LOWER - DIGITS - {"-"}:
        return False
    return label[0] != "-" and label[-1] != "-" and label[2:4] != "--"


def public_part(labels: list[str]) -> int:
    """Returns the number of labels in the public suffix, by the algorithm at publicsuffix.org."""
    most = 1
    for count in range(1, len(labels) + 1):
        name = labels[-count:]
        if "!" + ".".join(name) in rules():
            return count - 1
        # The parent of a wildcard counts too: the owner of `kawasaki.jp` has all names below it.
        if {".".join(name), ".".join(["*", *name[1:]]), ".".join(["*", *name])} & rules():
            most = count
    return most


@functools.cache
def rules() -> frozenset[str]:
    lines = Path(publicsuffixlist.__file__).with_name("public_suffix_list.dat").read_text("utf-8").splitlines()
    return frozenset(line.split()[0] for line in lines if line.strip() and not line.startswith("//"))


@functools.cache
def libidn2() -> ctypes.CDLL:
    library = ctypes.CDLL("libidn2.so.0")
    library.idn2_free.argtypes = [ctypes.c_void_p]
    return library


def a_labels(text: str) -> str | None:
    """Returns the name as libidn2 spells it (UTS 46, non-transitional), or None if that library
    refuses it."""
    answer = ctypes.c_char_p()
    if libidn2().idn2_to_ascii_8z(text.encode(), ctypes.byref(answer), IDN2_NONTRANSITIONAL) != 0:
        return None
    try:
        return (answer.value or b"").decode("ascii")
    finally:
        libidn2().idn2_free(answer)


def parsed(text: str) -> Address | None:
    try:
        return Address.parse(text)
    except BadAddress:
        return None


def domain_of(text: str) -> str | None:
    try:
        return parse_domain(text)
    except BadAddress:
        return None


@given(st.builds("{}@{}".format, LOCAL_PARTS | ANYTHING, DOMAINS | FOREIGN_DOMAINS | ANYTHING) | ANYTHING)
def test_what_is_accepted_is_canonical_and_narrow(text: str) -> None:
    address = parsed(text)
    if address is None:
        return
    spelled = str(address)
    assert Address.parse(spelled) == address
    assert Address.parse(spelled.upper()) == address
    assert parse_local_part(address.local_part) == address.local_part
    assert parse_domain(address.domain) == address.domain
    assert set(address.local_part) <= LOWER | DIGITS | set("._-")
    assert set(address.domain) <= LOWER | DIGITS | set(".-")
    assert spelled.count("@") == 1
    assert len(spelled) <= 254
    assert is_local_part(address.local_part)


@given(LOCAL_PARTS | ANYTHING)
def test_a_local_part_is_judged_alike(text: str) -> None:
    try:
        assert parse_local_part(text) == text.lower()
    except BadAddress:
        assert not is_local_part(text)
    else:
        assert is_local_part(text)


@given((DOMAINS | DOMAINS | ANYTHING).filter(lambda text: text.isascii() and "xn--" not in text.lower()))
def test_a_domain_is_judged_alike(text: str) -> None:
    assert domain_of(text) == (text.lower() if is_domain(text) else None)


@given(FOREIGN_DOMAINS)
def test_a_foreign_domain_is_spelled_alike(text: str) -> None:
    ours, theirs = domain_of(text), a_labels(text)
    if ours is not None and theirs is not None:
        assert ours == theirs


@given(LOCAL_PARTS, DOMAINS)
def test_an_address_is_its_parts(local_part: str, domain: str) -> None:
    is_good = is_local_part(local_part) and domain_of(domain) is not None and len(f"{local_part}@{domain}") <= 254
    assert (parsed(f"{local_part}@{domain}") is not None) == is_good
