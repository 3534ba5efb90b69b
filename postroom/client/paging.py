"""Lists as iterators: each page is fetched when it is needed, from the address that the previous
page gave.

`limit` is the size of a page, not of the list.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Generic, TypeVar

from postroom.client.request import Listed

T = TypeVar("T")


class Pages(Generic[T]):
    """Iterates over all items, or page by page with `pages()`. Iterating again sends the requests
    again."""

    def __init__(self, fetch: Callable[[str | None], Listed[T]]) -> None:
        self._fetch = fetch

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[list[T]]:
        page = self._fetch(None)
        yield page.items
        while page.next is not None:
            page = self._fetch(page.next)
            yield page.items


class AsyncPages(Generic[T]):
    """Like `Pages`, for `async for`."""

    def __init__(self, fetch: Callable[[str | None], Awaitable[Listed[T]]]) -> None:
        self._fetch = fetch

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page:
                yield item

    async def pages(self) -> AsyncIterator[list[T]]:
        page = await self._fetch(None)
        yield page.items
        while page.next is not None:
            page = await self._fetch(page.next)
            yield page.items
