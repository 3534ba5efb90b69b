"""The errors with which Postroom refuses a request. The codes are stable; api/problems.py gives
each code its HTTP status."""

from dataclasses import dataclass

NOT_THERE = "It is not there."


@dataclass(frozen=True)
class FieldError:
    """An error in one field. `message` is a sentence for a person and never repeats the value."""

    field: str
    code: str
    message: str


class Refused(Exception):
    """The whole request is refused: nothing was written."""

    def __init__(self, code: str, detail: str, *fields: FieldError) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.fields = fields


class LimitReached(Refused):
    """The request would exceed the limit `limit`. `advice` says what the caller can do."""

    def __init__(self, name: str, limit: int, advice: str = "delete one, or have it raised (PUT /v2/limits)") -> None:
        what = name.replace("_", " ")
        super().__init__(
            "limit_reached",
            f"The limit of {what} ({limit}) is reached: {advice}.",
            FieldError(name, "limit_reached", f"At most {limit}."),
        )
        self.limit = limit


def not_found(*fields: FieldError) -> Refused:
    """Returns the error for a missing item and for another organization's item: both look the
    same. The text that the API returns depends only on the path (api/problems.py). `fields` say
    what is missing inside of an item that the actor sees."""
    return Refused("not_found", NOT_THERE, *fields)


def invalid(*fields: FieldError) -> Refused:
    """Returns the error for a request with invalid fields; each of them is named."""
    return Refused("invalid_request", "The request is not valid: see errors.", *fields)


class TooMany(Refused):
    """A limit of calls is reached; calls are possible again after `seconds`."""

    def __init__(self, detail: str, seconds: int, *fields: FieldError) -> None:
        super().__init__("too_many_requests", detail, *fields)
        self.seconds = seconds


class Busy(Exception):
    """The database or the password hashers are overloaded. Nothing was done; try again after
    `seconds`."""

    code = "busy"

    def __init__(self, detail: str, seconds: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.seconds = seconds


class MailUnavailable(Busy):
    """Dovecot does not reply to a request about a mailbox."""

    code = "mail_unavailable"


class OutcomeUnknown(Busy):
    """Nobody knows whether the request was carried out: all of it was, or none of it. `what` has
    happened; by default, the database was lost during the commit (decision 0084)."""

    code = "outcome_unknown"

    def __init__(self, what: str = "The database was lost during the commit") -> None:
        super().__init__(
            f"{what}: the request may have been carried out. "
            "Look, or send it again with the same Idempotency-Key, if it had one."
        )


class BadBackup(Exception):
    """A backup cannot be written, read or restored. The text is one line for the operator."""


class NoMailRole(Exception):
    """The daemons have no usable PostgreSQL role. The text is one line for the operator, with the
    SQL that fixes the problem."""
