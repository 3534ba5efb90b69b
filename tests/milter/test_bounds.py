"""Bounds on work for strangers on port 25: simultaneous checks, and bytes of messages in memory."""

from pathlib import Path

import pytest

from postroom.db import open_database
from postroom.milter.inbound import LARGEST_CHECKED, NO_ROOM, TOO_LARGE, WAITING_OCTETS, Inbound
from postroom.milter.message import Message
from postroom.milter.slots import Full, Slots
from postroom.settings import load

PIECE = 1024 * 1024


def test_it_works() -> None:
    slots = Slots(in_all=3, for_each=2)
    with slots.one("a"), slots.one("a"):
        with pytest.raises(Full), slots.one("a"):
            pass
        with slots.one("b"), pytest.raises(Full), slots.one("c"):
            pass
        with slots.one("c"):
            pass
    with slots.one("b"), slots.one("b"), slots.one("c"):
        pass


def test_a_check_that_fails_gives_its_place_back() -> None:
    slots = Slots(in_all=1, for_each=1)
    with pytest.raises(ValueError), slots.one("a"):
        raise ValueError
    with slots.one("a"):
        pass


@pytest.fixture
def inbound(tmp_path: Path) -> Inbound:
    settings = load({"POSTROOM_DATA": str(tmp_path)})
    return Inbound(open_database(f"sqlite:///{tmp_path}/postroom.db"), settings)


def fill(inbound: Inbound, message: Message, octets: int) -> int:
    """Offers this number of bytes and returns the number of kept bytes."""
    return PIECE * sum(inbound.has_room(message, PIECE) for _ in range(octets // PIECE))


def test_messages_that_wait_have_room_for_two_of_the_largest_a_client(inbound: Inbound) -> None:
    clients = ["192.0.2.1"] * 3 + ["192.0.2.2"] * 2 + ["192.0.2.3"]
    messages = [Message(macros={"{client_addr}": client}) for client in clients]
    kept = [fill(inbound, message, LARGEST_CHECKED) for message in messages]
    assert kept == [LARGEST_CHECKED, LARGEST_CHECKED, 0, LARGEST_CHECKED, LARGEST_CHECKED, 0]
    assert sum(kept) == WAITING_OCTETS[0]
    assert [message.note for message in messages] == ["", "", NO_ROOM, "", "", NO_ROOM]
    for message in messages:
        inbound.forget(message)
        inbound.forget(message)  # a second call changes nothing
    late = Message(macros={"{client_addr}": "192.0.2.3"})
    assert fill(inbound, late, LARGEST_CHECKED) == LARGEST_CHECKED


def test_what_is_too_large_to_check_is_not_kept(inbound: Inbound) -> None:
    """Not even its beginning is kept, so that other messages have the space."""
    message = Message(macros={"{client_addr}": "192.0.2.1"})
    message.body.append(b"the beginning")
    fill(inbound, message, LARGEST_CHECKED + 2 * PIECE)
    assert (message.note, message.body) == (TOO_LARGE, [])
    assert fill(inbound, Message(macros={"{client_addr}": "192.0.2.1"}), LARGEST_CHECKED) == LARGEST_CHECKED
