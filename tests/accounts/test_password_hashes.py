"""Which password hashes of other systems are accepted, to the last character, and at which cost."""

import re

import pytest

from postroom.accounts.password_hashes import BadHash, parse
from tests.harness.hashes import HASHES, PASSWORD

ARGON2 = "$argon2id$v=19$m=4096,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$+aaOUYJz/KMBSF3kp7PTXBN6oWk66oES2kyjlrrxTp0"
BCRYPT = "$2y$12$abcdefghijklmnopqrstuuEglhETm4WI6F5Cx.ebuOnzo0nOLUUsO"
SHA512 = f"$6$rounds=5000$salt${'a' * 85}."
SHA256 = f"$5$rounds=5000$salt${'a' * 42}."
PBKDF2 = "{PBKDF2}$1$salt$5000$5240eb5e2cfbd0e6ec3a6c34b076878116cde526"
SSHA = "{SSHA}B2zQsZT4NM5ccLLnwrFQzGGEe+UAAQIDBAUGBw=="
MD5 = "{MD5-CRYPT}$1$saltsalt$AfYEQT3SUP66g0dahANlV1"

REFUSED: list[tuple[str, str]] = [
    ("", "unknown_scheme"),
    (PASSWORD, "unknown_scheme"),
    ("{}", "unknown_scheme"),
    ("{SSHA", "unknown_scheme"),
    *((f"{{{name}}}{PASSWORD}", "unknown_scheme") for name in ("PLAIN", "CLEAR", "CLEARTEXT", "PLAIN-TRUNC", "SHA1")),
    *((f"{{{name}}}$1$s$/c1BW6w9oMdpQUwlCV1Uu/", "unknown_scheme") for name in ("CRYPT", "MD5", "DES-CRYPT", "OTP")),
    *((f"{{{name}}}5240eb5e2cfbd0e6ec3a6c34b076878116cde526", "unknown_scheme") for name in ("SHA", "SHA.HEX")),
    *((SSHA.replace("SSHA", name), "unknown_scheme") for name in ("SSHA.HEX", "SSHA.B64", "SMD5", "SCRAM-SHA-256")),
    *(
        (f"$2x$12${'a' * 53}", "unknown_scheme"),
        ("$y$j9T$abc$def", "unknown_scheme"),
        ("abcJnggxhB/yWI", "unknown_scheme"),
    ),
    (ARGON2.replace("2id$", "2d$"), "unknown_scheme"),
    *((f"{space}{BCRYPT}", "outer_space") for space in (" ", "\n", "\t", "\u00a0")),
    *((f"{BCRYPT}{space}", "outer_space") for space in (" ", "\n", "\t")),
    (f"{BCRYPT}\0", "malformed"),
    (f"{{SSHA}} {SSHA[6:]}", "malformed"),
    ("x" * 257, "too_long"),
    # Digests that are too short or too long, that no algorithm computes, or of another scheme.
    *((BCRYPT[:-1], "malformed"), (f"{BCRYPT}a", "malformed"), (f"{BCRYPT[:-1]}P", "malformed")),
    *((f"{BCRYPT[:28]}v{BCRYPT[29:]}", "malformed"), (BCRYPT.replace("$12$", "$03$"), "malformed")),
    *((SHA512[:-1], "malformed"), (f"{SHA512}.", "malformed"), (f"{SHA512[:-1]}2", "malformed")),
    *((SHA256[:-1], "malformed"), (f"{SHA256}.", "malformed"), (f"{SHA256[:-1]}E", "malformed")),
    *((MD5[:-1], "malformed"), (f"{MD5}1", "malformed"), (f"{MD5[:-1]}2", "malformed")),
    *((MD5.replace("saltsalt", salt), "malformed") for salt in ("", "saltsalts", "sa:t", "sält")),
    *((PBKDF2[:-1], "malformed"), (f"{PBKDF2}0", "malformed"), (PBKDF2.replace("5000", "0"), "malformed")),
    *((ARGON2.replace(*change), "malformed") for change in ((",p=1", ""), ("v=19", "v=16"), ("m=4096", "m=7"))),
    *((ARGON2.replace(*change), "malformed") for change in (("t=2", "t=0"), ("p0", "p0="))),
    *(
        (ARGON2.replace("AAECAwQFBgcICQoLDA0ODw", salt), "malformed")
        for salt in ("AAECAwQFBg", "AAECAwQFBgcICQoLDA0ODx")
    ),
    (f"{ARGON2.rpartition('$')[0]}$AAECAwQFBgcICQoLDA0O", "malformed"),
    ("{SSHA}B2zQsZT4NM5ccLLnwrFQzGGEe+U=", "malformed"),
    ("{SSHA}not base64!", "malformed"),
    (f"{{SSHA512}}{SSHA[6:]}", "malformed"),
    (f"{{SSHA256}}{SSHA[6:]}", "malformed"),
    (SSHA.rstrip("="), "malformed"),
    (f"{{ARGON2I}}{ARGON2}", "malformed"),
    (f"{{SHA512-CRYPT}}{SHA256}", "malformed"),
    (f"{{BLF-CRYPT}}{MD5[11:]}", "malformed"),
    # A hash that would cost each login too much, or that crypt(3) computes with other rounds.
    *((BCRYPT.replace("$12$", f"${cost}$"), "too_costly") for cost in (13, 31, 99)),
    *((SHA512.replace("5000", rounds), "too_costly") for rounds in ("100001", "999999999", "9" * 100)),
    (SHA256.replace("5000", "100001"), "too_costly"),
    *((SHA512.replace("5000", rounds), "malformed") for rounds in ("999", "05000")),
    (PBKDF2.replace("5000", "200001"), "too_costly"),
    *((ARGON2.replace(*change), "too_costly") for change in (("m=4096", "m=65537"), ("t=2", "t=5"), ("p=1", "p=5"))),
]


@pytest.mark.parametrize("text", HASHES, ids=lambda text: text[:14])
def test_it_works(text: str) -> None:
    """What is stored has the name of its scheme in upper case, before the digest as it was sent."""
    stored = parse(text)
    scheme, digest = re.fullmatch(r"\{([A-Z0-9-]+)\}(.+)", stored).groups()  # type: ignore[union-attr]
    assert text.endswith(digest)
    assert text == digest or text.upper().startswith(f"{{{scheme}}}")
    assert parse(stored) == stored


@pytest.mark.parametrize("text", [ARGON2, BCRYPT, SHA512, SHA256, PBKDF2, SSHA, MD5], ids=lambda text: text[:9])
def test_what_the_refusals_start_from(text: str) -> None:
    assert parse(text).endswith(text)


@pytest.mark.parametrize(("text", "code"), REFUSED, ids=lambda text: ascii(text)[1:30])
def test_it_refuses(text: str, code: str) -> None:
    with pytest.raises(BadHash) as refused:
        parse(text)
    assert refused.value.code == code
    assert len(text) < 12 or text not in refused.value.message
    assert not any(part in refused.value.message for part in re.split(r"[{}$,]", text) if len(part) > 12)
