"""A From of any bytes is accepted for a mailbox only if Python's own parser reads exactly the same
mailbox."""

from email import message_from_bytes
from email.policy import default

from hypothesis import given
from hypothesis import strategies as st

from postroom.address import Address, parse_host
from postroom.milter import identity
from postroom.milter.identity import NotOwn

ME = Address("me", "demo.test")
PIECES = st.sampled_from(
    [
        *(b"me@demo.test", b"bob@demo.test", b"me", b"bob", b"demo.test", b"@", b"<", b">", b"<me@demo.test>"),
        *(b",", b";", b":", b".", b"(", b")", b'"', b"\\", b"[", b"]", b" ", b"\t", b"\n ", b"\r\n\t", b"\n", b"\r"),
        *(b"\0", b"\x1b", b"\xff", b"=?utf-8?q?bob=40demo.test?=", b"=?utf-8?b?", b"?=", b"=?", b"+tag", b"us: "),
        *("ü".encode(), "＠".encode(), "ｄemo.test".encode(), "。".encode(), "\u200b".encode(), b"Lee", b"'", b"%"),
        *(b"(me@demo.test)", b'"me@demo.test"', b'"Lee, Ann"', b"<bob@demo.test>", b"@x:", b"Q. Public "),
    ]
)
VALUES = st.lists(PIECES, max_size=9).map(b"".join) | st.builds(
    bytes.join, PIECES | st.just(b" "), st.lists(PIECES | st.just(b"<me@demo.test>"), max_size=4)
)


def taken(value: bytes) -> Address | None:
    try:
        return identity.read([(b"From", value)]).author
    except NotOwn:
        return None


def second_reading(value: bytes) -> list[Address]:
    """Returns every mailbox that Python's email package finds in the header."""
    message = message_from_bytes(b"From: " + value + b"\r\nSubject: x\r\n\r\n", policy=default)
    found = [address for field in message.get_all("From", []) for address in field.addresses]
    return [Address(one.username.partition("+")[0].lower(), parse_host(one.domain)) for one in found]


@given(VALUES)
def test_from_is_taken_only_as_everybody_reads_it(value: bytes) -> None:
    author = taken(value)
    if author is not None:
        assert second_reading(value) == [author]


@given(st.binary(max_size=200))
def test_any_octets_are_taken_or_refused(value: bytes) -> None:
    author = taken(value)
    if author is not None:
        assert second_reading(value) == [author]


@given(st.text(max_size=40))
def test_a_name_in_quotes_changes_nothing(name: str) -> None:
    quoted = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '" <me@demo.test>'
    assert taken(quoted.encode("utf-8", "surrogatepass")) in (ME, None)
