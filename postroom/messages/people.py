"""A person in a message that is sent: an address, and a name beside it."""

import re
import unicodedata
from email.header import Header
from email.utils import quote

import msgspec

from postroom.address import LONGEST_ADDRESS, LONGEST_LOCAL_PART, BadAddress, parse_host

LONGEST_NAME = 255
LONGEST_PERSON = LONGEST_NAME * 2 + LONGEST_ADDRESS + 4
# RFC 5322 3.2.3, without quoted local parts: few servers take them.
_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
_LOCAL_PART = re.compile(rf"{_ATEXT}+(?:\.{_ATEXT}+)*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_UNQUOTED = re.compile(r'[^"<>@,;:\\]*')
_PLAIN_NAME = re.compile(rf"{_ATEXT}+(?: {_ATEXT}+)*")


class Person(msgspec.Struct, frozen=True):
    """A name, or None, and an address in the spelling in which it is sent: the domain as
    A-labels."""

    name: str | None
    address: str

    @property
    def key(self) -> str:
        """By which two spellings of an address are equal: nobody tells mailboxes apart by case."""
        return self.address.lower()

    def field(self) -> str:
        """Returns the person as a header field has it, in ASCII; a long name is folded."""
        if not self.name:
            return self.address
        return f"{phrase(self.name)} <{self.address}>"


def parse_person(text: str) -> Person:
    """Reads `name@domain` or `Name <name@domain>`. Raises BadAddress."""
    if len(text) > LONGEST_PERSON:
        raise _bad(f"An address must have at most {LONGEST_ADDRESS} characters, a name {LONGEST_NAME}.")
    if not is_one_line(text):
        raise _bad("An address must not have control characters.")
    text = text.strip()
    name, begins, address = text.removesuffix(">").rpartition("<")
    if not begins or not text.endswith(">"):
        return Person(None, _address(text))
    return Person(_name(name.strip()) or None, _address(address.strip()))


def is_one_line(text: str) -> bool:
    """Whether the text has no control characters, line breaks and lone surrogates."""
    return not any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in text)


def phrase(name: str) -> str:
    """Returns a name as RFC 5322 writes it, in encoded words (RFC 2047) if it is not ASCII or looks
    like one."""
    if not name.isascii() or "=?" in name:
        return Header(name, "utf-8", maxlinelen=72).encode(linesep="\n")
    return name if _PLAIN_NAME.fullmatch(name) else f'"{quote(name)}"'


def _name(text: str) -> str:
    if quoted := _QUOTED.fullmatch(text):
        name = re.sub(r"\\(.)", r"\1", quoted[1])
    elif _UNQUOTED.fullmatch(text):
        name = text
    else:
        raise _bad('Write one address. A name with a comma, @ or the like stands in quotes: "Lee, Ann" <ann@x.org>.')
    if len(name) > LONGEST_NAME:
        raise _bad(f"A name must have at most {LONGEST_NAME} characters.")
    return name


def _address(text: str) -> str:
    local_part, at, domain = text.rpartition("@")
    if not at:
        raise _bad("An address must have the form name@domain.")
    if not _LOCAL_PART.fullmatch(local_part) or len(local_part) > LONGEST_LOCAL_PART:
        raise _bad(f"The part before @ must have 1 to {LONGEST_LOCAL_PART} characters of ASCII, without quotes.")
    address = f"{local_part}@{parse_host(domain)}"
    if len(address) > LONGEST_ADDRESS:
        raise _bad(f"An address must have at most {LONGEST_ADDRESS} characters.")
    return address


def _bad(message: str) -> BadAddress:
    return BadAddress("invalid_address", message)
