"""Makes a method of both clients from one description: `@operation` for one answer, `@listing` for
a list.

The decorated function sends nothing: it returns a `Request`. The method returns the request's
result, or an awaitable of it, depending on the client that it is called on (decision 0066).
"""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

import httpx2
import msgspec

from postroom.client.following import AsyncEvents, Events
from postroom.client.paging import AsyncPages, Pages
from postroom.client.request import Listed, Plan, Request, RetryPolicy, call, call_page, call_stream
from postroom.client.shape import Page

P = ParamSpec("P")
T = TypeVar("T")


class Blocking(Protocol):
    """A client that carries out a plan and returns the result."""

    retry_policy: RetryPolicy

    def run(self, plan: Plan[T]) -> T: ...


class Awaiting(Protocol):
    """A client whose results are awaited."""

    retry_policy: RetryPolicy

    def run_async(self, plan: Plan[T]) -> Coroutine[Any, Any, T]: ...


class Operation(Generic[P, T]):
    """A route as a method."""

    def __init__(self, method: str, path: str, describe: Callable[Concatenate[Any, P], Request[T]]) -> None:
        self.method, self.path, self.describe = method, path, describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> "Operation[P, T]": ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Any:
        if client is None:
            return self
        run: Callable[[Plan[T]], Any] = client.run_async if hasattr(client, "run_async") else client.run

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            request = self.describe(client, *args, **kwargs)
            return run(call(self.method, self.path, request, client.retry_policy))

        return functools.wraps(self.describe)(method)


class Listing(Generic[P, T]):
    """A route that returns a list, as a method."""

    def __init__(self, method: str, path: str, describe: Callable[Concatenate[Any, P], Request[Page[T]]]) -> None:
        self.method, self.path, self.describe = method, path, describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> "Listing[P, T]": ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Pages[T]]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, AsyncPages[T]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            request = self.describe(client, *args, **kwargs)

            def plan(next_: str | None) -> Plan[Listed[T]]:
                return call_page(self.method, self.path, request, next_, client.retry_policy)

            if hasattr(client, "run_async"):
                return AsyncPages(lambda next_: client.run_async(plan(next_)))
            return Pages(lambda next_: client.run(plan(next_)))

        return functools.wraps(self.describe)(method)


class Stream(Generic[P, T]):
    """A route that returns events without an end, as a method."""

    method = "GET"

    def __init__(self, path: str, describe: Callable[Concatenate[Any, P], Request[T]]) -> None:
        self.path, self.describe = path, describe
        self.__doc__ = describe.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> "Stream[P, T]": ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Events[T]]: ...
    @overload
    def __get__(self, client: Awaiting, owner: type) -> Callable[P, AsyncEvents[T]]: ...
    def __get__(self, client: Blocking | Awaiting | None, owner: type) -> Any:
        if client is None:
            return self

        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            request = self.describe(client, *args, **kwargs)
            last_id = str(request.query.get("last_event_id", ""))

            def plan(last_id: str) -> Plan[httpx2.Response]:
                return call_stream(self.path, request, last_id, client.retry_policy)

            def decode(data: str, last_id: str) -> T:
                return request.decode(event_with_id(data, last_id))

            if hasattr(client, "run_async"):
                return AsyncEvents(lambda last_id: client.run_async(plan(last_id)), decode, last_id)
            return Events(lambda last_id: client.run(plan(last_id)), decode, last_id)

        return functools.wraps(self.describe)(method)


def event_with_id(data: str, last_id: str) -> bytes:
    """The data of an event, a JSON object, with the id with which its stream goes on."""
    return msgspec.json.encode(msgspec.json.decode(data, type=dict[str, Any]) | {"last_event_id": last_id})


def operation(method: str, path: str) -> Callable[[Callable[Concatenate[Any, P], Request[T]]], Operation[P, T]]:
    return lambda describe: Operation(method, path, describe)


def streaming(path: str) -> Callable[[Callable[Concatenate[Any, P], Request[T]]], Stream[P, T]]:
    return lambda describe: Stream(path, describe)


def listing(path: str) -> Callable[[Callable[Concatenate[Any, P], Request[Page[T]]]], Listing[P, T]]:
    return lambda describe: Listing("GET", path, describe)
