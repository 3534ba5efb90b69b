"""Strict SMTP: no smuggling, no pipelining before the greeting, no commands that enumerate
users."""

import socket

from tests.harness.service import Service
from tests.mail.clients import HOST, own_address, smtp
from tests.mail.platform import Platform

SMUGGLED = (
    b"Subject: outer\r\n\r\nfirst\n.\nMAIL FROM:<admin@elsewhere.example>\r\nRCPT TO:<%b>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nsecond\r\n.\r\n"
)


def _connect(service: Service) -> socket.socket:
    return socket.create_connection((HOST, service.ports["smtp_port"]), 60, (own_address(), 0))


def _say(client: socket.socket, line: bytes) -> bytes:
    client.sendall(line)
    return client.recv(4096)


def test_a_smuggled_message_is_no_message(platform: Platform) -> None:
    """CVE-2023-51764: LF.LF must not end the data."""
    mailbox = platform.create()
    with _connect(platform.service) as client:
        client.recv(4096)
        _say(client, b"EHLO client.example\r\n")
        _say(client, b"MAIL FROM:<someone@elsewhere.example>\r\n")
        _say(client, b"RCPT TO:<" + mailbox.address.encode() + b">\r\n")
        _say(client, b"DATA\r\n")
        client.sendall(SMUGGLED % mailbox.address.encode())
        answer = client.recv(4096)
    assert answer[:3] in (b"521", b"250", b"550")
    mailbox.receive("after")
    mailbox.wait_for("after")
    assert "smuggled" not in mailbox.subjects()


def test_a_client_that_does_not_wait_is_refused(platform: Platform) -> None:
    mailbox = platform.create()
    with _connect(platform.service) as client:
        client.recv(4096)
        everything = b"MAIL FROM:<a@elsewhere.example>\r\nRCPT TO:<%b>\r\nDATA\r\n" % mailbox.address.encode()
        client.sendall(b"HELO client.example\r\n" + everything)
        answer = b""
        while chunk := client.recv(4096):
            answer += chunk
            if b"503 5.5.0" in answer or b"554 5.5.0" in answer:
                break
    assert b"5.5.0" in answer


def test_commands_that_tell_who_is_there_are_off(platform: Platform) -> None:
    mailbox = platform.create()
    with smtp(platform.service) as client:
        client.ehlo()
        assert client.verify(mailbox.address)[0] == 502
        assert client.docmd("EXPN", mailbox.address)[0] in (500, 502)
        assert client.docmd("ETRN", "x.example")[0] in (458, 459, 500, 502)


def test_a_message_from_outside_has_a_hundred_recipients(platform: Platform) -> None:
    """The others wait for another one (RFC 5321 4.5.3.1.8), also on a route that takes any
    address."""
    anna = platform.create("anna", user_id="a")
    with smtp(platform.service) as client:
        client.ehlo()
        client.mail("someone@elsewhere.example")
        codes = [client.rcpt(anna.address.replace("@", f"+{number}@"))[0] for number in range(102)]
    assert codes == [250] * 100 + [452] * 2
