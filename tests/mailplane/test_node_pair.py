"""A node's key and certificate, secrets that are sealed for them, and the data that the supervisor
accepts from the worker."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec import json

from postroom.mailplane import node_pair, trust_file
from postroom.mailplane.render import OwnNode, Peer
from postroom.mailplane.trust_file import NotUsable

HOST, ADDRESS = "ams.node.internal", "192.0.2.1"


def own(**changed: object) -> OwnNode:
    pair = node_pair.new(HOST, ADDRESS)
    values: dict[str, object] = {
        "id": 1,
        "host": HOST,
        "port": 1700,
        "certificate": pair.certificate,
        "key": pair.key,
        "bundle": pair.certificate,
        "secret": node_pair.new_secret(),
        "bind": ADDRESS,
        "trusted": (ADDRESS, "2001:db8::1"),
        "peers": (Peer("192.0.2.2", 1700, "ber.node.internal"),),
    }
    return OwnNode(**(values | changed))  # type: ignore[arg-type]


def test_it_works() -> None:
    pair = node_pair.new(HOST, ADDRESS)
    node_pair.check(pair.certificate, HOST, ADDRESS)
    assert node_pair.read(pair.pem) == pair
    assert node_pair.open_sealed(node_pair.seal("secret", pair.certificate), pair.key) == "secret"
    assert node_pair.seal("secret", pair.certificate) != node_pair.seal("secret", pair.certificate)


def test_it_is_good_for_a_year_at_most() -> None:
    now = datetime.now(UTC)
    pair = node_pair.new(HOST, ADDRESS)
    assert not node_pair.is_due(pair.certificate, now)
    assert node_pair.is_due(pair.certificate, now + node_pair.LIFETIME - node_pair.RENEW_BEFORE)
    with pytest.raises(ValueError, match="more than a year"):
        node_pair.check(node_pair.new(HOST, ADDRESS, timedelta(days=367)).certificate, HOST, ADDRESS)


@pytest.mark.parametrize("what", ["another key", "a bit", "cut short"])
def test_a_secret_is_sealed_for_one(what: str) -> None:
    """It does not open with another key, after a change, or in part."""
    pair, other = node_pair.new(HOST, ADDRESS), node_pair.new(HOST, ADDRESS)
    sealed = node_pair.seal("secret", pair.certificate)
    changed = sealed[:-6] + ("A" if sealed[-6] != "A" else "B") + sealed[-5:]
    tried = {"another key": (sealed, other.key), "a bit": (changed, pair.key), "cut short": (sealed[:40], pair.key)}
    with pytest.raises(ValueError, match=r"\w"):
        node_pair.open_sealed(*tried[what])


def test_two_certificates_are_not_one() -> None:
    """The certificate of one row goes into the file of trusted certificates."""
    both = node_pair.new(HOST, ADDRESS).certificate + node_pair.new("ber.node.internal", ADDRESS).certificate
    with pytest.raises(ValueError, match="more than one"):
        node_pair.check(both, HOST, ADDRESS)


def test_a_key_that_is_not_the_certificates() -> None:
    one, other = node_pair.new(HOST, ADDRESS), node_pair.new(HOST, ADDRESS)
    with pytest.raises(ValueError, match="not that of the certificate"):
        node_pair.read(one.key + other.certificate)


@pytest.mark.parametrize(
    "changed",
    [
        {"trusted": ("192.0.2.1\nssl = no",)},
        {"trusted": ("192.0.2.0/24",)},
        {"trusted": ("fe80::1%eth0 x",)},
        {"bind": "0.0.0.0\n"},
        {"host": "ams.node.internal\nx"},
        {"host": "mail.example.com"},
        {"port": 0},
        {"secret": "short"},
        {"secret": "a" * 64 + "\n"},
        {"bundle": "x"},
        {"key": "x"},
        {"certificate": node_pair.new(HOST, ADDRESS).certificate},
        {"peers": (Peer("192.0.2.2", 1700, "ber.node.internal\n[x]:25 may"),)},
        {"peers": (Peer("example.com", 1700, "ber.node.internal"),)},
        {"peers": (Peer("192.0.2.2", 70_000, "ber.node.internal"),)},
    ],
)
def test_what_could_mean_something_else_to_a_daemon_is_refused(changed: dict[str, object]) -> None:
    trust_file.check(own())
    with pytest.raises(NotUsable):
        trust_file.check(own(**changed))


def test_what_the_worker_tells(tmp_path: Path) -> None:
    """The file is for the supervisor alone and is read back unchanged."""
    (tmp_path / "db").mkdir()
    (tmp_path / "tls").mkdir()
    assert trust_file.told(tmp_path) is None
    node = own()
    trust_file.tell(tmp_path, node)
    assert (tmp_path / "db" / trust_file.TOLD).stat().st_mode & 0o077 == 0
    assert trust_file.told(tmp_path) == node
    assert trust_file.given(tmp_path) == ""
    trust_file.give(tmp_path, node)
    assert trust_file.given(tmp_path) == trust_file.digest(node) != trust_file.digest(own())


def _link(path: Path) -> None:
    path.symlink_to("/etc/hostname")


def _fifo(path: Path) -> None:
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.mkdir()


def _nonsense(path: Path) -> None:
    path.write_bytes(b"{}")


def _large(path: Path) -> None:
    path.write_bytes(json.encode(own(bundle="x" * 2**21)))


@pytest.mark.parametrize("make", [_link, _fifo, _folder, _nonsense, _large])
def test_what_is_no_such_file_is_not_read(tmp_path: Path, make: Callable[[Path], None]) -> None:
    """The folder belongs to the system user, and the supervisor is root. The supervisor follows no
    link and waits for nothing."""
    (tmp_path / "db").mkdir()
    make(tmp_path / "db" / trust_file.TOLD)
    with pytest.raises(NotUsable):
        trust_file.told(tmp_path)
