"""Every listener that receives passwords or mail, tried by a TLS client that offers only weak
options."""

import pytest

from tests.harness.service import Service
from tests.mail.handshakes import GOOD, WEAK, taken

# Setting of the port -> the name of its STARTTLS protocol in openssl.
LISTENERS = {
    "smtp_port": "smtp",
    "submission_port": "smtp",
    "submissions_port": "",
    "imap_port": "imap",
    "imaps_port": "",
    "pop3_port": "pop3",
    "pop3s_port": "",
    "sieve_port": "sieve",
}


def test_every_listener_is_asked(service: Service) -> None:
    assert set(LISTENERS) == set(service.ports) - {"port"}


@pytest.mark.parametrize("name", LISTENERS)
def test_it_works(service: Service, name: str) -> None:
    assert [offer for offer, said in GOOD.items() if not taken("127.0.0.1", *_at(service, name), said)] == []


@pytest.mark.parametrize("name", LISTENERS)
def test_what_is_weak_is_refused(service: Service, name: str) -> None:
    assert [offer for offer, said in WEAK.items() if taken("127.0.0.1", *_at(service, name), said)] == []


def _at(service: Service, name: str) -> tuple[int, str]:
    return service.ports[name], LISTENERS[name]
