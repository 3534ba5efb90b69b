"""The documents of docs/ as they are, for programs that read: `/llms.txt`, the index, and
`/docs/….md`.

`guide` is a link to docs/, so that what is installed has its documents with it.
"""

from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

FOLDER = Path(__file__).parent / "guide"
INDEX = "/llms.txt"


def is_one(path: str) -> bool:
    return path == INDEX or (path.startswith("/docs/") and path.endswith(".md"))


def documents(refused: dict[Any, Any]) -> Starlette:
    """What serves them; `refused` says what an exception becomes."""

    async def index(_: object) -> FileResponse:
        return FileResponse(FOLDER / "llms.txt", media_type="text/markdown")

    routes = [Route(INDEX, index), Mount("/docs", StaticFiles(directory=FOLDER))]
    return Starlette(routes=routes, exception_handlers=refused)
