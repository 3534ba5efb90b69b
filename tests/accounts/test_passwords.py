"""Passwords: which are refused and why, and that the real Dovecot accepts the stored hashes."""

import asyncio
import math
import string
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.accounts import passwords
from postroom.accounts.passwords import (
    ALPHABET,
    GROUP,
    GROUPS,
    Hashers,
    WeakPassword,
    check,
    generate,
    hash_chosen,
    hash_generated,
)
from postroom.errors import Busy
from postroom.mailplane.daemons import dovecot_version

ADDRESS = "billing@customer.com"
GOOD = "violet tractor hums"
NO_SETTINGS = "/dev/null" if dovecot_version() == "2.3" else Path(__file__).with_name("no-settings-2.4.conf")
ANY_CHARACTER = st.characters(codec="utf-8", exclude_categories=["Cc"])

ODD = [
    GOOD,
    "quotes \" and ' and \\ and `",
    "a:colon:contained:one",
    "  spaces on both sides  ",
    "pässwörter sind länger",
    "日本語のパスワードは長いほうがいいです",
    "🦊 jumps over 🐶 twice",
    "%u %s $variable {braces} #",
    "{PLAIN}not a scheme but text",
    "{SSHA512}c2VjcmV0c2VjcmV0c2VjcmV0",
    "$argon2id$v=19$m=19456,t=2,p=1$abcd",
    "-begins like an option",
    "0 1 2 ab " * 28 + "ends",
]


def verified(stored, password):
    """Whether Dovecot accepts `password` for the hash `stored`."""
    command = ["doveadm", "-c", NO_SETTINGS, "pw", "-t", stored, "-p", password]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_it_works():
    password = generate()
    check(password, ADDRESS)
    check(GOOD, ADDRESS)
    assert verified(hash_generated(password), password)
    assert verified(hash_chosen(GOOD), GOOD)


def test_generated_passwords():
    assert math.log2(len(set(ALPHABET)) ** (GROUPS * GROUP)) >= 128
    assert len(set(ALPHABET)) == len(ALPHABET)
    assert set(ALPHABET) <= set(string.ascii_lowercase) - set("ilo")
    many = [generate() for _ in range(2000)]
    assert len(set(many)) == len(many)
    for password in many:
        groups = password.split("-")
        assert [len(group) for group in groups] == [GROUP] * GROUPS
        assert set("".join(groups)) <= set(ALPHABET)
        check(password, ADDRESS)
    letters = "".join(many).replace("-", "")
    for place in range(GROUPS * GROUP):
        # Every letter occurs at every place.
        assert set(letters[place :: GROUPS * GROUP]) == set(ALPHABET)


@pytest.mark.parametrize(
    "password",
    [
        *ODD,
        "correct horse battery staple",
        "fünfzehn zeichn",
        "was refer were poll free",  # words of neighboring keys
        "x9" * 4 + "repeats too long",
        "no composition rules here",
        "ALL UPPER CASE IS FINE",
        "qwertyuiop, and then some",
        "pass password passwords",
        "314159265358979",
        "qwopzxnmertyghjk",  # two neighboring keys are not a run
        "qwertyuiopasdfg!",  # a run with another character behind it
        "the local part of bill is short",
        "\u2028 separators are text",
        "".join(map(chr, range(0x4E00, 0x4E00 + 256))),
    ],
)
def test_accepted(password):
    check(password, ADDRESS)


@pytest.mark.parametrize(
    ("code", "password"),
    [
        ("too_short", ""),
        ("too_short", "fourteen chars"),
        ("too_short", "🦊" * 14),
        ("too_long", GOOD + "x" * (257 - len(GOOD))),
        ("control_character", "violet\ttractor hums"),
        ("control_character", "violet\0tractor hums"),
        ("control_character", "violet tractor hums\n"),
        ("control_character", "violet\x7ftractor hums"),
        ("control_character", "violet\x85tractor hums"),
        ("surrogate", "violet \ud800 tractor hums"),
        ("surrogate", "violet tractor hums \udfff"),
        ("common", "1qaz2wsx3edc4rfv"),
        ("common", "QWERTYUIOP12345"),
        ("common", "passwordpassword"),
        ("common", "PasswordPASSWORD"),
        ("common", "passwordpasswordpass"),
        ("common", "password1password1"),
        ("common", "mailcreated5240"),
        ("repeated", "zqzqzqzqzqzqzqzq"),
        ("repeated", "xk7!Lm2?xk7!Lm2?"),
        ("repeated", "xk7!Lm2?xk7!Lm2?xk7!"),
        ("repeated", "Xk7!Lm2?xk7!lM2?"),
        ("repeated", "İstanbulİstanbul"),  # its lower case has more characters
        ("repeated", "🦊🐶🐱🐭🐹🦊🐶🐱🐭🐹🦊🐶🐱🐭🐹"),
        ("repeated", "z" * 256),
        ("few_characters", "zxzzxxqkzqkkxzqxz"),
        ("keyboard_run", "qwertyuiopasdfghjkl"),
        ("keyboard_run", "lkjhgfdsapoiuytrewq"),
        ("keyboard_run", "1234567890qwertyuiop"),
        ("keyboard_run", "123456789012345"),
        ("keyboard_run", "123456789101112"),
        ("keyboard_run", "543210987654321"),
        ("keyboard_run", "QWERTZUIOPasdfgh"),
        ("keyboard_run", "azertyuiopqsdfgh"),
        ("keyboard_run", "!@#$%^&*()qwerty"),
        ("keyboard_run", "1q2w3e4r5t6y7u8i9o0p"),
        ("keyboard_run", "zaq12wsxcde34rfvbgt5"),
        ("keyboard_run", "wsxqazrfvedcyhn"),
        ("keyboard_run", "abcdefghijklmnop"),
        ("contains_address", "billing is what I do"),
        ("contains_address", "I do BILLING all day"),
        ("contains_address", "it is billing@customer.com"),
    ],
)
def test_refused(code, password):
    with pytest.raises(WeakPassword) as refused:
        check(password, ADDRESS)
    assert refused.value.code == code
    assert not password or password not in refused.value.message


def test_only_a_long_local_part_counts_alone():
    check("ursa minor and ursa major", "ursa@customer.com")
    with pytest.raises(WeakPassword, match="address"):
        check("ask ursa@customer.com today", "ursa@customer.com")
    with pytest.raises(WeakPassword, match="address"):
        check("orion and ursa major", "orion@customer.com")


@given(st.text(ANY_CHARACTER, max_size=300))
def test_anything_is_judged(password):
    try:
        check(password, ADDRESS)
    except WeakPassword as refused:
        assert not password or password not in refused.message or len(password) < 15  # noqa: PT017
    else:
        assert 15 <= len(password) <= 256


@given(st.text(ANY_CHARACTER, min_size=1, max_size=8), st.integers(2, 60))
def test_one_short_piece_is_never_enough(piece, times):
    password = piece * times
    if 15 <= len(password) <= 256:
        with pytest.raises(WeakPassword):
            check(password, ADDRESS)


def test_the_common_list():
    common = passwords._common()
    assert len(common) == 30_000
    assert {"password", "123456", "qwerty"} <= common
    assert all(entry == entry.lower() for entry in common)


@pytest.mark.parametrize("make", [hash_generated, hash_chosen])
@pytest.mark.parametrize("password", ODD)
def test_dovecot_agrees(make, password):
    stored = make(password)
    assert password not in stored
    assert stored != make(password)
    assert verified(stored, password)
    assert not verified(stored, password + "x")
    assert not verified(stored, password[:-1])


def test_nothing_is_normalised_or_cut():
    composed, decomposed = "pässword of a zebra", "pa\u0308ssword of a zebra"
    long = "0123456789 word " * 15
    for make in (hash_generated, hash_chosen):
        assert not verified(make(composed), decomposed)
        assert verified(make(decomposed), decomposed)
        assert not verified(make(long + "a"), long + "b")


def test_what_is_stored():
    assert hash_chosen(GOOD).startswith("{ARGON2ID}$argon2id$v=19$m=19456,t=2,p=1$")
    assert hash_generated(GOOD).startswith("{SSHA512}")


def test_hashers_hash_off_the_loop():
    async def several():
        hashers = Hashers(threads=2)
        try:
            return await asyncio.gather(*(hashers.hash_chosen(GOOD) for _ in range(4)))
        finally:
            hashers.close()

    stored = asyncio.run(several())
    assert len(set(stored)) == 4
    assert all(verified(each, GOOD) for each in stored)


@pytest.fixture
def gate(monkeypatch):
    """Hashing that blocks until the test opens the gate."""
    opened = threading.Event()

    def slow(password):
        assert opened.wait(20)
        return "{ARGON2ID}" + password

    monkeypatch.setattr(passwords, "hash_chosen", slow)
    yield opened
    opened.set()


def test_hashers_are_bounded(gate):
    async def crowd():
        hashers = Hashers(threads=1, waiting=2)
        taken = [asyncio.create_task(hashers.hash_chosen(str(n))) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(Busy) as busy:
            await hashers.hash_chosen("one too many")
        assert busy.value.seconds >= 1
        gate.set()
        assert await asyncio.gather(*taken) == ["{ARGON2ID}0", "{ARGON2ID}1", "{ARGON2ID}2"]
        assert await hashers.hash_chosen("room again") == "{ARGON2ID}room again"
        hashers.close()

    asyncio.run(crowd())


def test_a_cancelled_caller_frees_its_place(gate):
    async def leave():
        hashers = Hashers(threads=1, waiting=1)
        first = asyncio.create_task(hashers.hash_chosen("first"))
        second = asyncio.create_task(hashers.hash_chosen("second"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        third = asyncio.create_task(hashers.hash_chosen("third"))
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(first, third) == ["{ARGON2ID}first", "{ARGON2ID}third"]
        hashers.close()

    asyncio.run(leave())
