"""The files that are served as they are: the page at `/docs/`, the documents for programs that read
(`/llms.txt`, the index, and `/docs/….md`), and the files of the console.

`guide` is a link to docs/, so that what is installed has its documents with it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from pathlib import Path
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from postroom.api.endpoints.console import FILE_HEADERS, KEEP, Console
from postroom.api.exchange import Receive, Scope, Send, new_id
from postroom.api.replies import Headers, MethodNotAllowed, problem
from postroom.errors import not_found

INDEX = "/llms.txt"
DOCS = "/docs"
DOCS_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    b"connect-src 'self'; font-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
DOCS_HEADERS: Headers = ((b"content-security-policy", DOCS_POLICY),)

Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class Files:
    """The files of one process."""

    def __init__(self, console: Console) -> None:
        here = Path(__file__).parent
        self._index = here / "guide" / "llms.txt"
        self._documents = StaticFiles(directory=here / "guide")
        self._docs = StaticFiles(directory=here / "docs", html=True)
        self._console = console

    def find(self, path: str) -> Application | None:
        """What answers the path of a file, whether the file is there or not."""
        if path.startswith("/v2/"):  # as nearly always
            return None
        if path == INDEX:
            return partial(_serve, self._send_index, "", DOCS_HEADERS, ())
        if path.startswith(f"{DOCS}/"):
            return partial(_serve, self._documents if path.endswith(".md") else self._docs, DOCS, DOCS_HEADERS, ())
        if path.startswith(self._console.prefix):
            return partial(_serve, self._console.files, self._console.prefix, FILE_HEADERS, KEEP)
        return None

    async def _send_index(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405)
        await FileResponse(self._index, media_type="text/markdown")(scope, receive, send)


async def _serve(
    files: Application, prefix: str, headers: Headers, found: Headers, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serves a file with these headers, and with `found` where it is there; what is none is
    answered as any other problem."""
    request_id = new_id()
    added = (*headers, (b"x-content-type-options", b"nosniff"), (b"x-request-id", request_id.encode()))

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *added, *(found if message["status"] < 400 else ())]
        await send(message)

    try:
        await files({**scope, "root_path": scope.get("root_path", "") + prefix}, receive, sending)
    except HTTPException as error:
        reply = problem(MethodNotAllowed("GET, HEAD") if error.status_code == 405 else not_found(), request_id)
        shown = {name.decode(): value.decode() for name, value in reply.headers}
        await Response(reply.body, reply.status, shown)(scope, receive, sending)
