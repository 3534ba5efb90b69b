"""The parser of From and similar fields: values that certainly name exactly one mailbox, and values
that do not."""

import pytest

from postroom.address import Address
from postroom.milter import header_from, identity
from postroom.milter.header_from import Unclear
from postroom.milter.identity import NotOwn

ME = Address("me", "demo.test")

CLEAR = (
    "me@demo.test",
    " me@demo.test",
    "ME@Demo.TEST",
    "<me@demo.test>",
    "Me <me@demo.test>",
    "Me Myself <me+tag@demo.test>",
    '"Lee, Ann" <me@demo.test>',
    '"a \\"b\\" c" <me@demo.test>',
    "\"'me@demo.test'\" <me@demo.test>",
    '"Me - me@demo.test" <me@demo.test>',
    '"me@demo.test via Shop" <me@demo.test>',
    "John Q. Public <me@demo.test>",
    "Acme Inc. <me@demo.test>",
    "me@demo.test (Me)",
    "(Me) me@demo.test",
    "Me (at home) <me@demo.test> (now)",
    "Me\r\n <me@demo.test>",
    "Me\n\t<me@demo.test>",
    "=?utf-8?q?J=C3=BCrgen?= <me@demo.test>",
    "=?iso-8859-1?q?J=FCrgen?= =?utf-8?b?w7w=?= <me@demo.test>",
    "Jürgen <me@demo.test>",
    "株式会社 <me@demo.test>",
)
UNCLEAR: tuple[str | bytes, ...] = (
    "",
    " ",
    "<>",
    "Me <>",
    "me",
    "Me",
    "me@demo.test, bob@demo.test",
    "me@demo.test, me@demo.test",
    "me@demo.test,",
    ",me@demo.test",
    "Doe, John <me@demo.test>",
    "me@demo.test <me@demo.test>",
    "bob@demo.test <me@demo.test>",
    "<bob@demo.test> <me@demo.test>",
    '"(" <bob@demo.test> ")" <me@demo.test>',
    "<me@demo.test>bob@demo.test",
    "Me <me@demo.test> Bob",
    "Me <me@demo.test",
    "Me me@demo.test>",
    "Me <<me@demo.test>>",
    "me@demo.test;",
    "us: me@demo.test;",
    "us: me@demo.test, bob@demo.test;",
    "undisclosed:;",
    "<@x:me@demo.test>",
    "<@x,@y:me@demo.test>",
    "@x:me@demo.test",
    "me(@x)@demo.test",
    "me@(x)demo.test",
    "me@demo(x).test",
    "me (x) @ demo.test",
    "me @demo.test",
    "< me@demo.test>",
    "Me <(x)me@demo.test>",
    '"me"@demo.test',
    '"me"."x"@demo.test',
    '<"me"@demo.test>',
    "me@demo.test.",
    "me@[127.0.0.1]",
    "me@ｄemo.test",
    "me＠demo.test",
    "me@demo。test",
    "mе@demo.test",  # a Cyrillic e
    "=?utf-8?q?me=40demo.test?=",
    "<=?utf-8?q?me?=@demo.test>",
    "=?x-nothing?q?Me?= <me@demo.test>",
    "=?utf-8?b?a?= <me@demo.test>",
    '"Me <me@demo.test>',
    "Me (x <me@demo.test>",
    "Me (a (b) c) <me@demo.test>",
    "Me\\ <me@demo.test>",
    "Me [x] <me@demo.test>",
    ". <me@demo.test>",
    ".Me <me@demo.test>",
    " .Me <me@demo.test>",
    "(x).Me <me@demo.test>",
    "Me.<me@demo.test>",
    "=?utf-8?q?Me?=x <me@demo.test>",
    "x=?utf-8?q?Me?= <me@demo.test>",
    "Me\n \n <me@demo.test>",
    "Me\n<me@demo.test>",
    "Me\r<me@demo.test>",
    "me@demo.test\r",
    "me@demo.test\0",
    "me@demo.test\0, bob@demo.test",
    "Me\x1b <me@demo.test>",
    "Me\u0085<me@demo.test>",
    "Me\u2028<me@demo.test>",
    '"\u202emoc.x@bob" <me@demo.test>',  # shown from right to left
    "Me \u202d <me@demo.test>",
    "=?utf-8?q?=E2=80=AEmoc.x=40bob?= <me@demo.test>",
    b"J\xfcrgen <me@demo.test>",
    b"me@demo.test \xff",
    "x" * 5000 + " <me@demo.test>",
    '"' + "=?a?q? " * 100 + '" <me@demo.test>',
)


def octets(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


@pytest.mark.parametrize("value", CLEAR)
def test_one_mailbox_for_certain(value: str) -> None:
    assert header_from.parse(octets(value)).address == ME


@pytest.mark.parametrize("value", UNCLEAR)
def test_what_is_not_certain(value: str | bytes) -> None:
    with pytest.raises(Unclear):
        header_from.parse(octets(value))


@pytest.mark.parametrize(
    "text",
    [
        "bob@demo.test",
        "Bob <bob@DEMO.test>",
        "Bob, bob+tag@demo.test.",
        "'bob@demo.test'",
        "mailto:bob@demo.test",
        "b @ bob @ demo.test",
        "bob＠ｄｅｍｏ．ｔｅｓｔ",
        "bob\u200b@de\u00admo.test",
        "bob@demo.test's",
        "=?utf-8?q?bob=40demo.test?=",
        "=?utf-8?q?bob?= =?utf-8?q?=40demo.test?=",
        '"=?utf-8?b?Ym9iQGRlbW8udGVzdA==?="',
        "\\b\\o\\b@demo.test",
        "bob@demo\u3002test",
        "bob@demo\uff61test",
        # charsets that some readers know by another name or treat as ASCII
        "=?utf-16?b?AGIAbwBiAEA=?=demo.test",
        "=?utf-16?b?YgBvAGIAQAA=?=demo.test",
        "=?utf-32be?b?AAAAYgAAAG8AAABiAAAAQA==?=demo.test",
        "=?utf-7?q?bob+AEA-demo.test?=",
        "=?cp037?q?bob=40demo.test?=",
    ],
)
def test_an_address_that_a_name_shows_is_seen(text: str) -> None:
    shown = header_from.parse(f'"{text}" <me@demo.test>'.replace('""', '"').encode()).shown
    assert ("bob", "demo.test") in list(header_from.shown_addresses(shown))


def test_a_name_without_an_address_shows_none() -> None:
    for text in ("Bob", "a @ b", "user@host", "me@", "@home", "5 @ 10.5", ""):
        assert list(header_from.shown_addresses(text)) == []


def test_hundreds_of_addresses_in_a_name_are_unclear() -> None:
    with pytest.raises(Unclear):
        list(header_from.shown_addresses("a@b.test " * 100))


@pytest.mark.parametrize(
    ("headers", "says"),
    [
        ([], "there is no From field"),
        ([("Subject", "x")], "there is no From field"),
        ([("From", "me@demo.test"), ("From", "me@demo.test")], "more than one From field"),
        ([("From", "me@demo.test"), ("FROM ", "bob@demo.test")], "more than one From field"),
        ([("From", "me@demo.test"), ("Sender", "")], "Sender must be your own address"),
        ([("From", "me@demo.test"), ("Resent-From", "a, b")], "Resent-From must be your own address"),
        ([("From", "me@demo.test")] + [("Resent-From", "me@demo.test")] * 20, "too many fields"),
        (
            [("From", "me@demo.test")] + [("Resent-From", f'"{"a@b.test " * 10}" <me@demo.test>')] * 3,
            "too many addresses",
        ),
    ],
)
def test_the_fields_of_a_message(headers: list[tuple[str, str]], says: str) -> None:
    with pytest.raises(NotOwn, match=says):
        identity.read([(name.encode(), value.encode()) for name, value in headers])


def test_every_field_that_names_a_sender_is_a_claim() -> None:
    names = ("From", "Sender", "Resent-From", "Resent-Sender", "resent-from\t")
    found = identity.read([(name.encode(), b" me@demo.test") for name in names])
    assert [address for _, address, _ in found.claims] == [ME] * len(names)
