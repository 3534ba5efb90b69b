"""The examples in the documents work when they are pasted.

Each `sh` block is run, and must print the `json` or `text` block right behind it. In the reference
of the API, the `python` blocks are run too, between the `sh` blocks, as one program.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.documents import NAMES, REFERENCE, Block, blocks, read
from tests.harness.dns_server import DnsServer
from tests.harness.service import Service
from tests.harness.shell import python, run

# Fields of the JSON that differ between two runs.
VOLATILE = {
    "used_bytes",
    "token",
    "messages",
    *("id", "account_id", "account_ids", "domain_id", "key_id", "request_id", "instance", "client_address"),
    *("password", "created_at", "updated_at", "expires_at", "api_key", "prefix", "parent_id", "expected_value", "port"),
    *("setup_url", "setup_expires_at", "sent_at", "status_at", "secret"),
    *("rfc822", "rfc_message_id", "queued_at", "received_at", "size", "raw_url", "uidvalidity", "highestmodseq"),
}
# What readers do before the commands, or set to values of their own. The tests do this instead.
NOT_RUN = re.compile(r"(git clone |\./start|\./test|API_KEY=|DATA=|BACKUP=)")


def runnable(text: str) -> str:
    return "\n".join(line for line in text.splitlines() if not NOT_RUN.match(line)).strip()


def command(name: str, block: Block) -> str:
    """The block as a shell command; empty if the block is not run."""
    if block.kind == "python" and name in REFERENCE:
        return python(block.text)
    return runnable(block.text) if block.kind == "sh" else ""


def commands(name: str) -> list[int]:
    """The numbers of the blocks in a document that are run."""
    return [number for number, block in enumerate(blocks(name)) if command(name, block)]


RUN = [name for name in NAMES if commands(name)]


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with DnsServer.start() as dns, Service.new(resolver=dns.address) as new:
        dns.publish("mail.postroom.test", "A", "127.0.0.1")
        yield new.start()


def test_the_documents_have_commands() -> None:
    assert {"README.md", "docs/api.md", "docs/cli.md", "docs/operations.md", "docs/python.md"} <= set(RUN)


@pytest.mark.skipif(os.geteuid() != 0, reason="the documents send mail, and Postfix needs root")
@pytest.mark.parametrize("name", RUN)
def test_commands_do_what_the_document_says(service: Service, name: str, tmp_path: Path) -> None:
    found = blocks(name)
    numbers = commands(name)
    opening = next(block.text for block in blocks("docs/api.md") if block.kind == "python")
    printed = run([command(name, found[number]) for number in numbers], opening, service, tmp_path)
    for number, output in zip(numbers, printed, strict=True):
        promised = found[number + 1] if number + 1 < len(found) else Block("", "")
        if promised.kind == "json":
            answer = output[output.index("{") :]
            assert stable(json.loads(answer)) == stable(json.loads(promised.text)), found[number].text
            assert order(json.loads(answer)) == order(json.loads(promised.text)), found[number].text
        elif promised.kind == "text":
            for line in promised.text.splitlines():
                assert re.search("^" + re.escape(line).replace("…", ".+") + r"\r?$", output, re.M), (line, output)


def test_the_readme_has_the_curl_of_the_first_start(service: Service) -> None:
    body = re.search(r"-d '(.*)'", service.said())
    assert body
    assert body[1] in read("README.md")


def stable(value: Any) -> Any:
    """The JSON with only the type of each value that differs between two runs."""
    if isinstance(value, dict):
        return {k: type(v).__name__ if k in VOLATILE else stable(v) for k, v in value.items()}
    if isinstance(value, str) and value.endswith("._domainkey"):
        return "a selector"
    if isinstance(value, str) and re.fullmatch(r"\d+\.1", value):
        return "the id of a message"
    return [stable(item) for item in value] if isinstance(value, list) else value


def order(value: Any) -> Any:
    """The keys of the JSON in their order."""
    if isinstance(value, dict):
        return [(key, order(item)) for key, item in value.items()]
    return [order(item) for item in value] if isinstance(value, list) else None
