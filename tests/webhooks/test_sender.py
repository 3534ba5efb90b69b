"""The sender: what it dials, and how long and how much it reads. Real sockets, and a real DNS
server."""

import asyncio
import socket
import ssl
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from postroom.domains.resolver import Resolver
from postroom.webhooks import sender as sending
from postroom.webhooks import targets
from postroom.webhooks.sender import Attempt, Sender
from tests.harness.authority import Authority
from tests.harness.dns_server import DnsServer
from tests.harness.service import LONG
from tests.webhooks.endpoint import OK, Answer, Endpoint, Post, answers

NOT_GLOBAL = """
0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 100.127.255.255 127.0.0.1 127.1.2.3 169.254.169.254 169.254.0.1 172.16.0.1
172.31.255.255 192.0.0.1 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1
239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16 100.100.100.200
:: ::1 ::127.0.0.1 ::8.8.8.8 ::ffff:10.0.0.1 ::ffff:8.8.8.8 64:ff9b::8.8.8.8 64:ff9b::10.0.0.1 64:ff9b:1::1 100::1
2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:10::1 2001:db8::1 2002:0a00:0001::1 2002:808:808::1 3fff::1 5f00::1
fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1
"""
GLOBAL = "1.1.1.1 8.8.8.8 100.63.255.255 100.128.0.1 172.32.0.1 192.0.1.1 2606:4700::1111 2a00:1450:4001::1"
ALLOWED_PRIVATE = "10.0.0.1 172.16.0.1 192.168.0.1 100.64.0.1 127.0.0.1 ::1 fc00::1"
NEVER = "0.0.0.0 169.254.169.254 169.254.1.1 224.0.0.1 fe80::1 ::ffff:10.0.0.1 64:ff9b::10.0.0.1 fd00:ec2::254"


@pytest.fixture(scope="module")
def dns() -> Iterator[DnsServer]:
    with DnsServer.start() as server:
        yield server


def post(url: str, dns: DnsServer | None = None, *, allows_private: bool = True, body: bytes = b"{}") -> Attempt:
    return posts(1, url, dns, allows_private=allows_private, body=body)[0]


def posts(number: int, url: str, dns: DnsServer | None = None, *, allows_private: bool = True, body: bytes = b"{}"):
    async def work() -> list[Attempt]:
        used = Sender(Resolver(dns.address if dns else "127.0.0.1:1", 10.0), allows_private=allows_private)
        async with used.connections() as pool:
            return [await used.post(pool, url, {"webhook-id": "evt_1"}, body) for _ in range(number)]

    return asyncio.run(work())


@pytest.mark.parametrize("text", NOT_GLOBAL.split())
def test_what_is_not_global(text: str) -> None:
    assert not targets.is_global(ip_address(text))


def test_what_is_global_and_what_private_allows() -> None:
    assert [text for text in GLOBAL.split() if not targets.is_global(ip_address(text))] == []
    assert [text for text in ALLOWED_PRIVATE.split() if not targets.is_private(ip_address(text))] == []
    assert [text for text in NEVER.split() if targets.is_private(ip_address(text))] == []


@pytest.mark.parametrize("text", NOT_GLOBAL.split())
def test_nothing_is_sent_to_a_name_that_leads_there(text: str, dns: DnsServer) -> None:
    """Also not if the name has an address of the Internet beside it: nothing is dialled at all."""
    name = f"a{abs(hash(text))}.example"
    dns.publish(name, "AAAA" if ":" in text else "A", ip_address(text).exploded)
    dns.publish(name, "A" if ":" in text else "AAAA", "1.1.1.1" if ":" in text else "2606:4700:0:0:0:0:0:1111")
    found = post(f"https://{name}/", dns, allows_private=False)
    assert (found.status_code, found.error) == (None, "The address is not on the Internet.")


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "10.0.0.1", "169.254.169.254"])
def test_a_literal_address_is_refused_too(host: str) -> None:
    for scheme in ("http", "https"):
        found = post(f"{scheme}://{host}:1/", allows_private=False)
        assert found.status_code is None
        assert "Internet" in str(found.error)


def test_the_judged_address_is_dialled(dns: DnsServer, endpoint: Endpoint) -> None:
    """The name is resolved once a connection, so a name that changes its address in between (DNS
    rebinding) gains nothing, and the Host header keeps the name."""
    dns.publish("once.example", "A", "127.0.0.1")
    dns.asked.clear()
    # With a name, plain http is refused at create; the sender judges anew.
    found = post(f"http://once.example:{endpoint.port}/", dns)
    assert found.error == "Use https: it keeps the events from others."
    assert endpoint.posts == []
    assert dns.asked == []


def test_the_first_address_that_answers(dns: DnsServer, tmp_path: Path) -> None:
    """The addresses of a name are tried in turn, and nothing but these is dialled."""
    (tmp_path / "ca").mkdir()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(Authority.new(tmp_path / "ca").issue("two.example")[0])
    with Endpoint.start(server, host="127.0.0.3") as endpoint:
        dns.publish("two.example", "A", "127.0.0.2", "127.0.0.3")
        assert post(endpoint.url(host="two.example"), dns).error is None
        dns.publish("one.example", "A", "127.0.0.2")
        assert post(endpoint.url(host="one.example"), dns).error == "The connection was refused."
    assert len(endpoint.posts) == 1


def test_tls(dns: DnsServer, tmp_path: Path) -> None:
    """The certificate must be valid for the name; with POSTROOM_WEBHOOK_ALLOW=private, and at a
    private address only, any certificate will do. The name is asked for once."""
    (tmp_path / "ca").mkdir()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, _ = Authority.new(tmp_path / "ca").issue("other.example")
    server.load_cert_chain(certificate)
    names: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: names.append(name)
    dns.publish("tls.example", "A", "127.0.0.1")
    dns.asked.clear()
    with Endpoint.start(server) as endpoint:
        url = endpoint.url(host="tls.example")
        assert [found.error for found in posts(2, url, dns)] == [None, None]
        assert {one.headers["host"] for one in endpoint.posts} == {f"tls.example:{endpoint.port}"}
        assert len({one.port for one in endpoint.posts}) == 1
        assert names == ["tls.example"]
        assert sorted({(name, type_) for name, type_, _ in dns.asked}) == [
            ("tls.example", "A"), ("tls.example", "AAAA")
        ]  # fmt: skip
        assert len(dns.asked) == 2
        assert post(url, dns, allows_private=False).error == "The address is not on the Internet."


def test_a_certificate_is_verified_at_a_global_address(
    dns: DnsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """127.0.0.1 plays an address of the Internet here."""
    monkeypatch.setattr(targets, "is_global", lambda _address: True)
    (tmp_path / "ca").mkdir()
    authority = Authority.new(tmp_path / "ca")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(authority.issue("tls.example")[0])
    for name in ("tls.example", "wrong.example"):
        dns.publish(name, "A", "127.0.0.1")
    with Endpoint.start(server) as endpoint:
        unknown = post(endpoint.url(host="tls.example"), dns)
        assert "The certificate is not valid" in str(unknown.error)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.path))
        assert post(endpoint.url(host="tls.example"), dns).error is None
        wrong = post(endpoint.url(host="wrong.example"), dns)
        assert "The certificate is not valid" in str(wrong.error)
    assert len(endpoint.posts) == 1


def drip(connection: socket.socket, _post: Post) -> None:
    for octet in b"HTTP/1.1 200 OK\r\n" + b"x" * 10_000:
        connection.sendall(bytes([octet]))
        time.sleep(0.05)


def drip_body(connection: socket.socket, _post: Post) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    drip(connection, _post)


def flood(head: bytes, what: bytes) -> Answer:
    def answer(connection: socket.socket, _post: Post) -> None:
        connection.sendall(head)
        while True:  # until the peer ends the connection
            connection.sendall(what * 1000)

    return answer


HEAD = b"HTTP/1.1 200 OK\r\n"
TOO_LATE = "There was no answer within 1 seconds."


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (OK, None),
        (b"HTTP/1.1 204 No\r\n\r\n", None),
        (b"HTTP/1.0 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK, None),
        (answers(302, "Location: http://127.0.0.1/"), "Redirects are not followed."),
        (answers(307, "Location: /other"), "Redirects are not followed."),
        (answers(404), "The endpoint has answered 404."),
        (b"", "The connection has failed."),
        (b"nonsense\r\n\r\n", "The answer is not valid HTTP."),
        (b"HTTP/1.1 200 OK", "The connection has failed."),
        (drip, TOO_LATE),
        (drip_body, None),
        (flood(HEAD + b"Content-Length: 9999999999\r\n\r\n", b"x"), None),
        (flood(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"), None),
        (flood(HEAD, b"x: y\r\n"), "The answer is not valid HTTP."),
        (flood(HEAD + b"x: ", b"y"), "The answer is not valid HTTP."),
        (flood(b"", b"HTTP/1.1 103 Early\r\n\r\n"), TOO_LATE),
    ],
)
def test_answers(endpoint: Endpoint, answer: Answer, error: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a 2xx within the time counts. No answer, however slow or large, holds the sender."""
    monkeypatch.setattr(sending, "SECONDS", 1.0 if error == TOO_LATE else LONG)
    monkeypatch.setattr(sending, "ANSWER_SECONDS", 0.2)

    def once(connection: socket.socket, post: Post) -> None:
        connection.sendall(answer) if isinstance(answer, bytes) else answer(connection, post)
        connection.shutdown(socket.SHUT_WR)

    endpoint.answer = once
    found = post(endpoint.url())
    assert found.error in (error, "The answer is not valid HTTP." if error == "The connection has failed." else error)
    assert len(endpoint.posts) == 1
    endpoint.wait(lambda one: one.open_now == 0)


def test_a_proxy_of_the_environment_is_not_used(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert post(endpoint.url()).error is None
    assert post(endpoint.url(host="localhost")).error is None


def test_failures_have_words(dns: DnsServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert post(f"http://127.0.0.1:{port}/").error == "The connection was refused."
    assert post("https://nothing.example/", dns).error == "The name has no address."
    dns.rcodes["broken.example"] = "SERVFAIL"
    dns.publish("half.example", "A", "10.0.0.1")
    dns.failing.add(("half.example", "AAAA"))
    found = post("https://half.example/", dns, allows_private=False)
    assert found.error == "The address is not on the Internet."
    assert str(post("https://broken.example/", dns).error).startswith("The name was not found: ")
    with Endpoint.start() as endpoint:
        assert post(f"https://127.0.0.1:{endpoint.port}/").error == "TLS has failed."
