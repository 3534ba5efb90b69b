"""A hostile body of a message takes little memory: its sizes come first (decision 0342)."""

import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from postroom.api.endpoints.message_sends import LARGEST_BODY
from postroom.api.routes import ROUTES
from tests.api.raw import PATH
from tests.api.rows import rows
from tests.api.test_send_message import BODY, attachment
from tests.harness.server import Tenant

MIB = 1024 * 1024
# Two texts of 6 MiB in letters of four bytes, a list of 1 MiB and the rest: of any body, the most.
MOST_MEMORY = 80 * MIB
TINY = b'{"filename":"","content_type":"","content_base64":""}'
WIDE = "\U0001f600".encode()


@pytest.fixture
def path(tenant: Tenant) -> str:
    return f"{PATH}/{tenant.account('writer')['id']}/messages/send"


def full(start: bytes, item: bytes, end: bytes) -> bytes:
    """A body of the largest size, in which `item` is repeated; the last one without its comma."""
    number = (LARGEST_BODY - len(start) - len(end)) // len(item)
    return start + (item * number).removesuffix(b",") + end


def names(start: bytes, end: bytes) -> bytes:
    """A body of the largest size with names that are all different."""
    number = (LARGEST_BODY - len(start) - len(end)) // 13
    return start + b",".join(b'"%07x":""' % each for each in range(number)) + end


def most_of_all() -> bytes:
    """The most that the check lets pass."""
    text = b'"' + WIDE + b"a" * (6 * MIB - 4) + b'"'
    start = b'{"to":[' + b'"a",' * (MIB // 4 - 40) + b'"a"],"text":' + text + b',"html":' + text
    return full(start + b',"attachments":[{"content_base64":"', b"\\u0041", b'"}]}')


HOSTILE = {
    "unknown fields": (lambda: names(b"{", b"}"), "0000000"),
    "one unknown field again and again": (lambda: full(b"{", b'"aaaa":1,', b"}"), "aaaa"),
    "to": (lambda: full(b'{"to":[', b'"a",', b"]}"), "to"),
    "to twice": (lambda: full(b'{"to":[', b'"a",', b'],"to":[]}'), "body"),
    "cc with a fault at its end": (lambda: full(b'{"cc":[', b'"a",', b",1]}").replace(b",,", b","), "cc"),
    "headers": (lambda: names(b'{"headers":{', b"}}"), "headers"),
    "from is a list": (lambda: full(b'{"from":[', b"1,", b"]}"), "from"),
    "text is a list": (lambda: full(b'{"text":[', b"1,", b"]}"), "text"),
    "text": (lambda: full(b'{"html":"' + WIDE, b"a", b'"}'), "html"),
    "attachments are numbers": (lambda: full(b'{"attachments":[', b"1,", b"]}"), "attachments"),
    "attachments": (lambda: full(b'{"attachments":[', TINY + b",", b"]}"), "attachments"),
    "fields of an attachment": (lambda: names(b'{"attachments":[{', b"}]}"), "attachments"),
    "filename": (lambda: full(b'{"attachments":[{"filename":"' + WIDE, b"a", b'"}]}'), "attachments"),
    "content twice": (
        lambda: full(b'{"attachments":[{"content_base64":"' + WIDE, b"a", b'","content_base64":""}]}'),
        "attachments",
    ),
    "content in letters of four bytes": (
        lambda: full(b'{"attachments":[{"content_base64":"' + WIDE, b"a", b'"}]}'),
        "attachments[0].content_base64",
    ),
    "content with an escaped letter": (
        lambda: full(b'{"attachments":[{"content_base64":"\\ud83d\\ude00', b"a", b'"}]}'),
        "attachments[0].content_base64",
    ),
    "a name": (lambda: full(b'{"' + WIDE, b"a", b'":1}'), "body"),
    "space": (lambda: full(b"{", b" ", b"}"), "body"),
    "the most of all": (most_of_all, "attachments"),
    "a list": (lambda: full(b"[", b"1,", b"]"), "body"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_body_takes_little_memory(tenant: Tenant, path: str, kind: str) -> None:
    make, field = HOSTILE[kind]
    body = make()
    assert 25 * MIB - 100 < len(body) <= LARGEST_BODY
    json.loads(body)
    before = rows(tenant)
    with little_memory():
        answer = tenant.request("POST", path, raw=body)
    assert (answer.status, answer.code) == (400, "invalid_request"), answer.text
    assert [error["field"] for error in answer.json["errors"]] == [field]
    assert rows(tenant) == before


@contextmanager
def little_memory() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < MOST_MEMORY


CONTENT = "A" * (2 * MIB)


@pytest.mark.parametrize(
    ("fields", "field", "words"),
    [
        ({"html_body": "x" * (2 * MIB)}, "html_body", "did you mean html?"),
        ({"attachment": [attachment(content_base64=CONTENT)]}, "attachment", "did you mean attachments?"),
        ({"attachments": attachment(content_base64=CONTENT)}, "attachments", "Send a list of at most 100 objects"),
        ({"attachments": [CONTENT]}, "attachments", "Send a list of at most 100 objects"),
        ({"attachments": [attachment(content=CONTENT)]}, "attachments", "filename, content_type, content_base64"),
        ({"attachments": [attachment(content_base64=CONTENT[: MIB // 5])] * 101}, "attachments", "at most 100"),
        ({"headers": {f"X-{n}": "x" * 999 for n in range(1200)}}, "headers", "Send less: a body may have 1 MiB"),
        ({"to": ["ann@else.example"] * 60_000}, "to", "Send less: a body may have 1 MiB"),
        ({"html": "x" * (2 * MIB)}, "html", "at most 1 MiB"),
        ({"html": "x" * (7 * MIB)}, "html", "at most 1 MiB"),
    ],
)
def test_a_mistake_is_named(tenant: Tenant, path: str, fields: dict[str, Any], field: str, words: str) -> None:
    answer = tenant.post(path, BODY | fields)
    assert answer.status == 400
    ((error),) = answer.json["errors"]
    assert error["field"] == field
    assert words in error["message"]


def test_mistakes_beside_an_attachment(tenant: Tenant, path: str) -> None:
    """What a small body is told, a large one is told too."""
    wrong = {"subjet": "hi", "cc": "ann@else.example", "save_sent": 1, "headers": {"X-A": 1}}
    for content in ("AAAA", CONTENT):
        answer = tenant.post(path, BODY | wrong | {"attachments": [attachment(content_base64=content)]})
        assert [error["field"] for error in answer.json["errors"]] == ["subjet", "cc", "save_sent", "headers"]


@pytest.mark.parametrize("fields", [b'"to":1,"subject":"\xff"', b'"subject":"\xff"', b'"to":[1],"cc":["\xff"]'])
def test_a_large_body_that_is_no_utf_8(tenant: Tenant, path: str, fields: bytes) -> None:
    answer = tenant.request("POST", path, raw=b'{%b,"text":"%b"}' % (fields, b"a" * 70_000))
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert "not valid JSON in UTF-8" in answer.text


def test_the_most_that_is_allowed(tenant: Tenant, path: str) -> None:
    """Each field at its limit, in letters of four bytes that JSON escapes, and spaces."""
    wide = "\U0001f600"
    fields = {
        "to": [f"{wide * 255} <a{number}@else.example>" for number in range(100)],
        "subject": wide * 998,
        "text": wide * (MIB // 4),
        "html": "\u007f" * MIB,
        "headers": {f"X-{number}": wide * 900 for number in range(30)},
        "attachments": [attachment(filename=wide * 250, content_base64=CONTENT[: MIB // 16])] * 100,
    }
    body = json.dumps(fields, indent=1).encode()
    assert 10 * MIB < len(body) < LARGEST_BODY
    assert tenant.request("POST", path, raw=body).status == 202


def test_content_may_have_escapes(tenant: Tenant, path: str) -> None:
    """Some libraries escape the plus sign and the slash of base64."""
    body = json.dumps(BODY | {"attachments": [attachment(content_base64="+/+/" * 50_000)]}).replace("/", "\\/")
    escaped = body.replace("application\\/pdf", "application/pdf").replace("+", "\\u002B")
    assert tenant.request("POST", path, raw=escaped.encode()).status == 202


def test_one_route_takes_large_bodies() -> None:
    """A new one needs checks of its sizes, and a test like these."""
    assert [route.path for route in ROUTES if route.large] == [f"{PATH}/:id/messages/send"]
