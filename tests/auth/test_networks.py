"""Networks: their spellings, the addresses that they contain, and which network lies inside
another."""

import pytest

from postroom.auth import networks


def test_it_works() -> None:
    assert networks.parse("192.0.2.0/24") == "192.0.2.0/24"
    assert networks.holds(["192.0.2.0/24"], "192.0.2.7")
    assert not networks.holds(["192.0.2.0/24"], "192.0.3.7")
    assert networks.within(["192.0.2.0/25"], ["192.0.2.0/24"])


WRITTEN = [
    ("192.0.2.7", "192.0.2.7/32"),
    ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
    ("2001:DB8:0::/32", "2001:db8::/32"),
    ("::1", "::1/128"),
    ("0.0.0.0/0", "0.0.0.0/0"),
]


@pytest.mark.parametrize(("text", "canonical"), WRITTEN)
def test_one_spelling(text: str, canonical: str) -> None:
    assert networks.parse(text) == canonical


@pytest.mark.parametrize(
    "text", ["", " ", "x", "192.0.2.1/24", "192.0.2.0/33", "192.0.2", "1", "::/129", "::%a,0.0.0.0/0", "١.1.1.1"]
)
def test_it_refuses(text: str) -> None:
    with pytest.raises(ValueError):
        networks.parse(text)


HELD = [
    (["10.0.0.0/8", "192.0.2.7/32"], "192.0.2.7", True),
    (["192.0.2.7/32"], "192.0.2.8", False),
    (["192.0.2.7/32"], "::ffff:192.0.2.7", True),
    (["0.0.0.0/0"], "2001:db8::1", False),
    (["::/0"], "192.0.2.7", False),
    (["::/0"], "2001:db8::1", True),
    (["0.0.0.0/0", "::/0"], "", False),
    (["0.0.0.0/0", "::/0"], "unix", False),
    ([], "192.0.2.7", False),
]


@pytest.mark.parametrize(("of", "address", "held"), HELD)
def test_the_addresses_of_networks(of: list[str], address: str, held: bool) -> None:
    assert networks.holds(of, address) == held


INSIDE = [
    (["10.0.0.0/8"], ["10.0.0.0/8"], True),
    (["10.1.0.0/16", "::1/128"], ["10.0.0.0/8", "::/0"], True),
    (["10.0.0.0/7"], ["10.0.0.0/8"], False),
    (["10.0.0.0/8", "11.0.0.0/8"], ["10.0.0.0/8"], False),
    (["10.0.0.0/8"], ["::/0"], False),
    (["::/0"], ["0.0.0.0/0"], False),
    (["10.0.0.0/8"], [], False),
    ([], [], True),
]


@pytest.mark.parametrize(("inner", "outer", "inside"), INSIDE)
def test_which_lies_in_which(inner: list[str], outer: list[str], inside: bool) -> None:
    assert networks.within(inner, outer) == inside
