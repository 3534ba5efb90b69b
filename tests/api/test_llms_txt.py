"""GET /llms.txt: the first page for an agent, and the documents that it links to."""

import re
from pathlib import Path

from tests.harness.server import ApiServer

DOCS = Path(__file__).parent.parent.parent / "docs"


def test_it_works(api: ApiServer) -> None:
    index = api.request("GET", "/llms.txt")
    assert (index.status, index.headers["content-type"]) == (200, "text/markdown; charset=utf-8")
    assert index.text.startswith("# Postroom\n\n> ")
    links = re.findall(r"\]\(([^)]+)\)", index.text)
    assert "/openapi.json" in links
    for link in links:
        assert api.request("GET", link).status == 200, link


def test_a_document_is_the_document(api: ApiServer) -> None:
    page = api.request("GET", "/docs/api.md")
    assert page.headers["content-type"].startswith("text/markdown")
    assert page.text == (DOCS / "api.md").read_text()


def test_nothing_else_is_served(api: ApiServer) -> None:
    for path in ("/docs/../README.md", "/docs/%2e%2e/README.md", "/docs/screenshots.py", "/docs/nothing.md"):
        assert api.request("GET", path).status == 404, path
    assert api.request("POST", "/llms.txt").status == 405
