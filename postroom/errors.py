"""The few ways in which Postroom says no. Codes are stable; api/problems.py gives each its HTTP
status."""

from dataclasses import dataclass

NOT_THERE = "It is not there."


@dataclass(frozen=True)
class FieldError:
    """One field at fault. `message` is a sentence for a person and never repeats the value."""

    field: str
    code: str
    message: str


class Refused(Exception):
    """A request that is refused as a whole: nothing was written."""

    def __init__(self, code: str, detail: str, *fields: FieldError) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.fields = fields


class LimitReached(Refused):
    """One more would be too many; `limit` is the cap that stands in the way. `advice` is what to
    do."""

    def __init__(self, name: str, limit: int, advice: str = "delete one, or have it raised (PUT /v2/limits)") -> None:
        what = name.replace("_", " ")
        super().__init__(
            "limit_reached",
            f"The limit of {limit} {what} is reached: {advice}.",
            FieldError(name, "limit_reached", f"At most {limit}."),
        )
        self.limit = limit


def not_found() -> Refused:
    """Foreign and missing look the same: what a caller of the API reads depends on the path
    alone (api/problems.py)."""
    return Refused("not_found", NOT_THERE)


def invalid(*fields: FieldError) -> Refused:
    """A request whose fields break the rules, each named."""
    return Refused("invalid_request", "The request is not valid: see errors.", *fields)


class TooMany(Refused):
    """A limit of calls is reached; it opens again after `seconds`."""

    def __init__(self, detail: str, seconds: int) -> None:
        super().__init__("too_many_requests", detail)
        self.seconds = seconds


class Busy(Exception):
    """The database or the password hashers cannot take more now: nothing was done; try again
    after `seconds`."""

    code = "busy"

    def __init__(self, detail: str, seconds: int = 1) -> None:
        super().__init__(detail)
        self.detail = detail
        self.seconds = seconds


class MailUnavailable(Busy):
    """Dovecot, which was asked about a mailbox, gives no answer."""

    code = "mail_unavailable"


class OutcomeUnknown(Busy):
    """The database was lost in the commit: what was asked for has happened or not, as a whole."""

    code = "outcome_unknown"

    def __init__(self) -> None:
        super().__init__(
            "The database was lost during the commit: the request may have been carried out. "
            "Look, or send it again with the same Idempotency-Key."
        )


class BadBackup(Exception):
    """A backup that cannot be written, read or restored; the text is one clear line for the
    operator."""


class NoMailRole(Exception):
    """The daemons have no PostgreSQL role that they can use; the text is one line for the
    operator, with the SQL that helps."""
