"""The client's exceptions: one class for each way to proceed; `code` names the exact error.

`Unreachable` does not say whether a write was carried out. Repeating the call with the same
`idempotency_key` finds out.
"""

import msgspec


class FieldProblem(msgspec.Struct, frozen=True):
    """What is wrong with one field."""

    field: str
    code: str
    message: str


class Problem(msgspec.Struct, frozen=True):
    """An error as the API sends it (RFC 9457)."""

    code: str
    status: int
    detail: str
    request_id: str = ""
    errors: tuple[FieldProblem, ...] = ()
    limit: int | None = None


class PostroomError(Exception):
    """A call that failed. Decide by `code`; with `limit_reached`, `limit` is the limit.
    `retry_after` is in seconds."""

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(problem, retry_after)  # pickle needs these to make the exception again
        self.code = problem.code
        self.status = problem.status
        self.detail = problem.detail
        self.errors = problem.errors
        self.request_id = problem.request_id
        self.limit = problem.limit
        self.retry_after = retry_after

    def __str__(self) -> str:
        others = [error for error in self.errors if error.message != self.detail]
        fields = "".join(f" {error.field}: {error.message}" for error in others)
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {self.detail}{fields}{request}"


class Invalid(PostroomError):
    """Another 4xx: the request must change."""


class Denied(PostroomError):
    """401, 403: the key is not valid, or may not do this."""


class NotFound(PostroomError):
    """404: the object does not exist, or not for this key and user."""


class Conflict(PostroomError):
    """409: the request is valid but conflicts with the present state."""


class TooMany(PostroomError):
    """429: `retry_after` seconds are longer than the client waits, or it has already retried as
    often as it may."""


class Failed(PostroomError):
    """5xx, or an answer that is not Postroom's: a proxy's or another server's."""


class Unreachable(PostroomError):
    """No answer; `status` is 0."""


FAMILIES: dict[int, type[PostroomError]] = {401: Denied, 403: Denied, 404: NotFound, 409: Conflict, 429: TooMany}


def error_of(status: int, is_problem: bool, body: bytes, retry_after: float | None) -> PostroomError:
    """The exception for an unsuccessful answer."""
    try:
        problem = msgspec.json.decode(body, type=Problem) if is_problem else None
    except msgspec.MsgspecError:
        problem = None
    if problem is None:
        problem = Problem(f"http_{status}", status, f"The answer {status} is not from Postroom.")
        return Failed(problem, retry_after)
    default = Invalid if 400 <= status < 500 else Failed
    return FAMILIES.get(status, default)(problem, retry_after)
