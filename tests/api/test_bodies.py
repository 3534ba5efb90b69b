"""Request bodies: type, size and JSON."""

import http.client
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from postroom.api import body as body_module
from tests.api.raw import CREATE, PATH, body_for, create_raw, plain
from tests.api.rows import rows
from tests.harness.server import ApiServer, Tenant

LIMIT = 64 * 1024


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json;charset="UTF-8"',
        "application/json ; charset=UTF-8",
        "application/json;charset=utf8",
        "application/json; charset=UTF8",
        'application/json; charset="utf\\-8"',
        "application/json;\tcharset=utf-8",
        "application/json\t;charset=utf-8\t",
        "application/json;",
        "application/json; ",
        "application/json;;charset=utf-8;",
        "application/json; charset = utf-8",
        "application/json; charset=us-ascii",
        "application/json; charset=",
        "application/json; version=1; odata.metadata=minimal",
        'application/json; x="; charset=utf-16"; charset=utf-8',
        'application/json; x="a\\"; charset=utf-16"',
        "application/json; boundary; =x; profile=https://example.test/a;b",
        "application/json; charset*=utf-8''x",
    ],
)
def test_json_content_types(tenant: Tenant, content_type: str) -> None:
    assert create_raw(tenant, body_for(tenant, "a"), content_type).status == 201


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=iso-8859-1",
        "application/json; charset=utf-16",
        "application/jsonp",
        "application/problem+json",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset=utf-16; charset=utf-8",
        'application/json; charset="utf-16"',
        "application/json; CHARSET=latin1",
        'application/json; x="a"; charset=utf-16',
        'application/json; x="a\\""; charset=utf-16',
        "application/json; charset=utf-8, text/plain",
        "application/json, application/json",
        "application/json text",
        "application / json",
        "application/",
        "/json",
        "json",
        "*/*",
        ";charset=utf-8",
    ],
)
def test_other_content_types(tenant: Tenant, content_type: str) -> None:
    before = rows(tenant)
    refused = create_raw(tenant, body_for(tenant, "a"), content_type)
    assert (refused.status, refused.code) == (415, "unsupported_media_type")
    assert rows(tenant) == before


def test_two_content_types(tenant: Tenant) -> None:
    """With two Content-Type headers, the request is refused unless both are accepted types."""
    body = body_for(tenant, "a")
    length = f"Content-Length: {len(body)}"
    for other, status in (("text/plain", 415), ("application/json; charset=utf-8", 201)):
        types = ("Content-Type: application/json", f"Content-Type: {other}")
        head = f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nx-api-key: {tenant.key}\r\n" + "\r\n".join(
            [length, *types, "", ""]
        )
        with socket.create_connection(("127.0.0.1", tenant.api.port), timeout=30) as connection:
            connection.sendall(head.encode() + body)
            assert connection.recv(4096).split()[1] == b"%d" % status


def _of_size(tenant: Tenant, size: int) -> bytes:
    body = body_for(tenant, "a")
    return body + b" " * (size - len(body))


def test_64_kib(tenant: Tenant) -> None:
    refused = create_raw(tenant, _of_size(tenant, LIMIT + 1))
    assert (refused.status, refused.code) == (413, "payload_too_large")
    assert create_raw(tenant, _of_size(tenant, LIMIT)).status == 201


def test_64_kib_in_chunks(tenant: Tenant) -> None:
    def send(size: int) -> int:
        body = _of_size(tenant, size)
        chunks: Iterator[bytes] = (body[at : at + 8000] for at in range(0, size, 8000))
        connection = http.client.HTTPConnection("127.0.0.1", tenant.api.port, timeout=30)
        headers = {"x-api-key": tenant.key, "content-type": "application/json"}
        try:
            connection.request("POST", CREATE, chunks, headers, encode_chunked=True)
            return connection.getresponse().status
        finally:
            connection.close()

    assert send(LIMIT + 1) == 413
    assert send(LIMIT) == 201


def test_a_length_that_is_announced_is_refused_unread(tenant: Tenant) -> None:
    headers = ("Content-Type: application/json", f"Content-Length: {10**12}")
    assert plain(tenant, "POST", CREATE, *headers)[0] == 413


def test_a_body_that_does_not_arrive(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "SECONDS", 0.1)
    status, answer = plain(tenant, "POST", CREATE, "Content-Type: application/json", "Content-Length: 10")
    assert status == 408
    assert b'"code":"request_timeout"' in answer
    assert tenant.api.request("GET", "/healthz").status == 200


@pytest.mark.parametrize("path", ["/console/session", "/autodiscover/autodiscover.xml"])
def test_a_body_without_a_key_that_does_not_arrive(api: ApiServer, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """Routes without a key bound the time for a body too. The connection then closes, so it holds
    no place."""
    monkeypatch.setattr(body_module, "FIRST_SECONDS", 0.1)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: 10\r\n\r\n"
    with socket.create_connection(("127.0.0.1", api.port), timeout=30) as connection:
        connection.sendall(head.encode())
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nconnection: close\r\n" in answer


def test_a_body_in_crumbs(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client cannot extend the time by sending a few bytes now and then."""
    monkeypatch.setattr(body_module, "FIRST_SECONDS", 0.2)
    head = f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nx-api-key: {tenant.key}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", tenant.api.port), timeout=0.02) as connection:
        connection.sendall(f"{head}Content-Length: 60000\r\n\r\n".encode())
        answer = b""
        while not answer:  # if the server waits forever, the timeout of the whole run ends it
            connection.send(b" ")
            with suppress(TimeoutError):
                answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_large_body_has_more_time(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each KiB that arrives adds one second. Meanwhile, the time of another client's empty body
    runs out."""
    monkeypatch.setattr(body_module, "FIRST_SECONDS", 0.3)
    body = _of_size(tenant, LIMIT)
    head = f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nx-api-key: {tenant.key}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", tenant.api.port), timeout=30) as connection:
        connection.sendall(f"{head}Content-Length: {LIMIT}\r\n\r\n".encode() + body[: LIMIT // 2])
        assert plain(tenant, "POST", CREATE, "Content-Type: application/json", "Content-Length: 10")[0] == 408
        connection.sendall(body[LIMIT // 2 :])
        assert connection.recv(4096).split()[1] == b"201"


def test_a_client_that_goes_away_leaves_nothing_behind(tenant: Tenant) -> None:
    before = rows(tenant)
    body = body_for(tenant, "a")
    head = f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nx-api-key: {tenant.key}\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", tenant.api.port)) as connection:
        connection.sendall(f"{head}Content-Length: {len(body) + 1}\r\n\r\n".encode() + body)
    assert tenant.create("b").status == 201
    left = {name: len(found) for name, found in rows(tenant).items()}
    assert left["accounts"] == len(before["accounts"]) + 1


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"x",
        b" ",
        b"{}x",
        b"{'domain': 1}",
        b'{"domain": NaN}',
        b'{"domain": "a",}',
        b'\xef\xbb\xbf{"domain": "a"}',
        b'{"domain": "\xff"}',
        b'{"domain": "\xed\xa0\x80"}',
        b'{"domain": "a\x00b"}',
        '{"domain": "a"}'.encode("utf-16"),
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"domain":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b"[" * 30_000 + b"]" * 30_000,
        b'{"display_name":' + b'{"a":' * 9_000 + b"1" + b"}" * 9_000 + b"}",
        b"1" * 60_000,
        b'{"domain": 1e999999}',
    ],
    ids=lambda body: ascii(body)[:20],
)
def test_a_body_that_is_not_the_right_json(tenant: Tenant, body: bytes) -> None:
    refused = create_raw(tenant, body)
    assert (refused.status, refused.code) == (400, "invalid_request")
    assert tenant.api.request("GET", "/healthz").status == 200


def test_of_duplicate_keys_the_last_counts(tenant: Tenant) -> None:
    body = (
        body_for(tenant, "first").decode().replace('"local_part": "first"', '"local_part": "first", "local_part": "b"')
    )
    assert create_raw(tenant, body.encode()).json["account"]["local_part"] == "b"


def test_an_unknown_field_is_refused_by_name(tenant: Tenant) -> None:
    refused = create_raw(tenant, body_for(tenant, "a", colour="blue"))
    known = "domain, local_part, user_id, display_name, password, password_hash, allow_reserved, quota_bytes, "
    known += "quota_messages, credential, protocols, main_password"
    assert refused.json["errors"] == [
        {"field": "colour", "code": "unknown_field", "message": f"There is no such field. Known: {known}."}
    ]
    odd = create_raw(tenant, body_for(tenant, "a", **{"a`b\n" + "x" * 10_000: 1}))
    assert odd.status == 400
    assert len(odd.json["errors"][0]["field"]) <= 64


def test_a_body_where_none_is_wanted_is_ignored(tenant: Tenant) -> None:
    assert tenant.request("GET", PATH, raw=b"not json", headers={"content-type": "text/plain"}).status == 200


@pytest.mark.parametrize("length", ["Content-Length: 22", "Transfer-Encoding: chunked"])
def test_an_offered_upgrade_never_loses_the_body(tenant: Tenant, length: str) -> None:
    """`curl --http2` and Java's HttpClient offer an upgrade like this. The body must not be ignored
    in silence."""
    id_ = tenant.account()["id"]
    offer = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    status, answer = plain(tenant, "PUT", f"{PATH}/{id_}", "Content-Type: application/json", length, *offer)
    assert (status, b"Upgrade" in answer) == (400, True)
    assert plain(tenant, "GET", f"{PATH}/{id_}", *offer)[0] == 200
