"""Passwords: generating them, refusing weak ones, and hashing them so that Dovecot can check them.

There are two schemes (decision 0013). A generated password has enough entropy that one salted
SHA-512 is as safe as a slower hash and makes each login cheap for the daemons. A password that a
person chose gets Argon2id. Only this module writes the `{SCHEME}` prefix: a password that looks
like a hash is hashed like any other.
"""

import asyncio
import base64
import hashlib
import os
import re
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib import resources
from itertools import pairwise

from argon2 import PasswordHasher

from postroom.errors import Busy

SHORTEST, LONGEST = 15, 256  # Unicode characters; NIST SP 800-63B-4 3.1.1.2
LONGEST_UNIT = 8
FEWEST_CHARACTERS = 5
SHORTEST_NAME = 5  # characters; a shorter local part appears in too many good passphrases

# No vowels, so that no word appears. No digits, so that no character looks like another and a phone
# needs only one keyboard.
ALPHABET = "bcdfghjkmnpqrstvwxyz"
GROUPS, GROUP = 6, 5  # 20^30 is 129.6 bits

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")

# Argon2id (RFC 9106) with the parameters that OWASP recommends for servers: 19 MiB, about 20 ms.
_ARGON2 = PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1, hash_len=32, salt_len=16)

# Rows of keys in the common layouts, with and without Shift. Each key lies to the upper left of the
# key with the same index in the next row.
_KEYBOARDS = (
    ("1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./"),
    ("!@#$%^&*()_+", "qwertyuiop{}", 'asdfghjkl:"', "zxcvbnm<>?"),
    ("1234567890", "qwertzuiop", "asdfghjkl", "yxcvbnm"),
    ("1234567890", "azertyuiop", "qsdfghjklm", "wxcvbn"),
)
_SEQUENCES = ("01234567890", "abcdefghijklmnopqrstuvwxyz")
SHORTEST_STRETCH = 3


class WeakPassword(ValueError):
    """The chosen password is refused. `message` names the rule and never contains the password."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def generate() -> str:
    """Returns a new random password of at least 128 bits that is easy to read aloud and to type."""
    base = len(ALPHABET)
    number = secrets.randbelow(base ** (GROUPS * GROUP))
    letters = []
    for _ in range(GROUPS * GROUP):
        number, digit = divmod(number, base)
        letters.append(ALPHABET[digit])
    text = "".join(letters)
    return "-".join(text[at : at + GROUP] for at in range(0, len(text), GROUP))


def check(password: str, address: str) -> None:
    """Raises WeakPassword if `password` is too weak to protect the account at `address`."""
    if len(password) < SHORTEST:
        raise WeakPassword("too_short", f"A password must have at least {SHORTEST} characters.")
    if len(password) > LONGEST:
        raise WeakPassword("too_long", f"A password must have at most {LONGEST} characters.")
    if _CONTROL.search(password):
        raise WeakPassword("control_character", "A password must not have control characters.")
    if _SURROGATE.search(password):
        raise WeakPassword("surrogate", "A password must not have lone surrogates, which are not characters.")
    _check_guessable(password, password.lower(), address.lower())


def _check_guessable(password: str, folded: str, address: str) -> None:
    if _is_common(folded):
        raise WeakPassword("common", "This is one of the most common passwords, or one of them repeated.")
    if any(_repeats(text, LONGEST_UNIT) for text in (password, folded)):
        raise WeakPassword("repeated", f"This repeats one piece of at most {LONGEST_UNIT} characters.")
    if len(set(password)) < FEWEST_CHARACTERS:
        raise WeakPassword("few_characters", f"A password must have at least {FEWEST_CHARACTERS} different characters.")
    if _is_run(folded):
        raise WeakPassword("keyboard_run", "This is only a run of keys, digits or letters: choose another password.")
    name = address.rpartition("@")[0]
    if address in folded or (len(name) >= SHORTEST_NAME and name in folded):
        raise WeakPassword("contains_address", "A password must not contain the address that it protects.")


def _is_common(folded: str) -> bool:
    common = _common()
    sizes = range(1, len(folded) // 2 + 1)
    return folded in common or any(folded[:n] in common and _has_period(folded, n) for n in sizes)


def _repeats(text: str, longest: int) -> bool:
    return any(_has_period(text, size) for size in range(1, longest + 1) if 2 * size <= len(text))


def _has_period(text: str, size: int) -> bool:
    """Whether `text` repeats its first `size` characters; the last repetition may be cut off."""
    return text[size:] == text[:-size]


def _is_run(folded: str) -> bool:
    """Whether `folded` consists only of stretches in which each key lies beside the previous
    one."""
    beside = _beside()
    length = 1
    for first, second in pairwise(folded):
        if first + second in beside:
            length += 1
        elif length < SHORTEST_STRETCH:
            return False
        else:
            length = 1
    return length >= SHORTEST_STRETCH


@cache
def _beside() -> frozenset[str]:
    """Every pair of keys that are the same key or lie side by side or one above the other."""
    pairs: set[tuple[str, str]] = set()
    for rows in (*_KEYBOARDS, *((row,) for row in _SEQUENCES)):
        for row in rows:
            pairs.update(zip(row, row, strict=True))
            pairs.update(pairwise(row))
        for upper, lower in pairwise(rows):
            pairs.update(zip(upper, lower, strict=False))  # 1-q-a-z
            pairs.update(zip(upper[1:], lower, strict=False))  # q-2, w-a, s-z
    return frozenset(a + b for a, b in pairs) | frozenset(b + a for a, b in pairs)


@cache
def _common() -> frozenset[str]:
    text = resources.files("postroom.accounts").joinpath("common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if not line.startswith("#"))


def hash_generated(password: str) -> str:
    """Returns the stored form of a password that `generate` made."""
    salt = os.urandom(16)
    digest = hashlib.sha512(password.encode() + salt).digest()
    return "{SSHA512}" + base64.b64encode(digest + salt).decode("ascii")


def hash_chosen(password: str) -> str:
    """Returns the stored form of a password that a person chose. Takes about 20 ms and 19 MiB."""
    return "{ARGON2ID}" + _ARGON2.hash(password)


class Hashers:
    """A thread pool with a short queue that hashes chosen passwords. The queue is bounded because
    attackers could exploit the cost of a hash."""

    def __init__(self, threads: int | None = None, waiting: int = 64) -> None:
        threads = threads or len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="hasher")
        self._most = threads + waiting
        self._taken = 0

    async def hash_chosen(self, password: str) -> str:
        """As the function `hash_chosen`, off the event loop. Raises Busy when the queue is full."""
        if self._taken >= self._most:
            raise Busy("Too many passwords are being hashed at once.")
        self._taken += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, hash_chosen, password)
        finally:
            self._taken -= 1

    def close(self) -> None:
        """Ends the threads and cancels the queued work."""
        self._pool.shutdown(wait=True, cancel_futures=True)
