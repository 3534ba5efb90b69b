"""Who tries passwords, against real Dovecot and Postfix: an account under attack, and an address
that attacks."""

import json
import smtplib
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.service import Service, wait_for
from tests.mail import clients
from tests.mail.clients import HOST, Imap, own_address, submission, tls
from tests.mail.guesses import Guess, lets_in, try_all
from tests.mail.platform import Mailbox
from tests.mail.test_app_passwords import PROTOCOLS, create, works

# The bounds by default.
OF_ACCOUNT, OF_ADDRESS = 100, 20
At = Callable[[str], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> At:
    """Returns a function that sets the address from which clients connect."""
    return lambda address: monkeypatch.setattr(clients, "own_address", lambda: address)


def bans(service: Service) -> Any:
    done = service.run("bans", "list", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def events(mailbox: Mailbox) -> list[Any]:
    found = mailbox.platform.call("GET", f"/v2/events?account_id={mailbox.id}", None)["items"]
    return [event for event in found if "login_attack" in event["type"]]


def is_known(mailbox: Mailbox, network: str) -> bool:
    sql = "SELECT 1 FROM login_networks WHERE account_id = :id AND network = :network"
    return bool(mailbox.platform.sql(sql, id=mailbox.id, network=network))


def refusals(mailbox: Mailbox, name: str, password: str) -> tuple[str, str]:
    """What IMAP and submission say."""
    imap = Imap(HOST, mailbox.platform.service.ports["imaps_port"], ssl_context=tls())
    with pytest.raises(Imap.error) as by_imap:
        imap.login(name, password)
    imap.shutdown()
    with pytest.raises(smtplib.SMTPAuthenticationError) as by_smtp:
        submission(mailbox.platform.service, name, password)
    return str(by_imap.value), str(by_smtp.value)


def test_an_account_under_attack(alice: Mailbox, service: Service, at: At) -> None:
    home, abroad, secret = own_address(), own_address(), "Guess-4711-of-the-attacker"
    _, app_password = create(alice)
    at(home)
    alice.login().logout()
    wait_for("the known address", lambda: is_known(alice, home))
    attackers = [f"198.51.100.{n}" for n in range(60)] + [f"2001:db8:{n:x}::7" for n in range(60)]
    guesses = [Guess(client, alice.address, secret, PROTOCOLS[n % 4]) for n, client in enumerate(attackers)]
    assert not any(try_all(service, guesses))
    (began,) = wait_for("the attack", lambda: events(alice))
    assert began["type"] == "account.login_attack_started"
    assert began["data"]["failures"] >= OF_ACCOUNT
    at(abroad)
    assert works(alice, alice.password) == []
    unknown = refusals(alice, f"nobody@{alice.platform.domain}", "x")
    assert refusals(alice, alice.address, alice.password) == unknown
    assert "AUTHENTICATIONFAILED" in unknown[0]
    assert works(alice, app_password) == list(PROTOCOLS)
    at(home)
    assert works(alice, alice.password) == list(PROTOCOLS)
    assert [one["address"] for one in bans(service)["accounts"] if one["account_id"] == alice.id] == [alice.address]
    assert "the attack has ended" in service.run("bans", "lift", alice.address).stdout
    assert lets_in(service, "203.0.113.1", alice.address, alice.password)
    assert [event["type"] for event in events(alice)][-1] == "account.login_attack_ended"
    logs = b"".join(path.read_bytes() for path in (service.data / "log").glob("*.log"))
    assert b"auth_request_finished" in logs or b"original_user" in logs
    assert secret.encode() not in logs


def test_an_address_that_attacks(alice: Mailbox, bob: Mailbox, service: Service, at: At) -> None:
    """Whatever the protocol and the account, existing or not; on the owner's page, too."""
    line, address = "2001:db8:aaaa:1", own_address()
    names = [alice.address, bob.address, f"nobody@{alice.platform.domain}", "nobody@elsewhere.example"]
    assert lets_in(service, f"{line}::5", alice.address, alice.password)
    wait_for("the known network", lambda: is_known(alice, f"{line}::/64"))
    guesses = [Guess(f"{line}::{n:x}", names[n // 4 % 4], service=PROTOCOLS[n % 4]) for n in range(2 * OF_ADDRESS)]
    guesses += [Guess(address, bob.address, service=[*PROTOCOLS, "me"][n % 5]) for n in range(OF_ADDRESS + 1)]
    assert not any(try_all(service, guesses))
    banned = {f"{line}::/64", address}
    wait_for("the bans", lambda: banned <= {ban["network"] for ban in bans(service)["networks"]})
    _, app_password = create(bob)
    tried = [
        Guess(client, mailbox.address, password)
        for client in (f"{line}:1:2:3:4", "2001:db8:aaaa:2::1")
        for mailbox, password in ((alice, alice.password), (bob, bob.password), (bob, app_password))
    ]
    assert try_all(service, tried) == [True, False, False, True, True, True]
    at(address)
    unknown = refusals(bob, f"nobody@{bob.platform.domain}", "x")
    assert refusals(bob, bob.address, bob.password) == unknown
    assert "the ban is lifted" in service.run("bans", "lift", address).stdout
    assert works(bob, bob.password) == list(PROTOCOLS)
    assert service.run("bans", "lift", "nonsense").returncode != 0
    assert "was not banned" in service.run("bans", "lift", "2001:db8:aaaa:2::/64").stdout
