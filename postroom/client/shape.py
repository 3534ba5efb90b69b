"""What the client's shapes have in common: no repr shows a secret.

A new field or status of a newer server must not break an old client. So unknown fields are ignored,
and a value whose set may grow is a `str`.
"""

from typing import Any, Generic, TypeVar

import msgspec

T = TypeVar("T")
SECRETS = ("password", "api_key", "setup_url", "secret", "webhook_secret")
# Secrets with a name that is no secret elsewhere, by shape.
SECRETS_OF = {"MailToken": ("token",)}


def secrets_of(shape: type) -> tuple[str, ...]:
    """The names of a shape's fields that are secrets."""
    known = (*SECRETS, *SECRETS_OF.get(shape.__name__, ()))
    return tuple(name for name in getattr(shape, "__struct_fields__", ()) if name in known)


class Shape(msgspec.Struct, frozen=True):
    """A struct that is safe to print in a terminal or a log: its secrets are hidden."""

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"{type(self).__name__}({inner})"

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        secrets = secrets_of(type(self))
        return [(name, "…" if name in secrets else getattr(self, name)) for name in self.__struct_fields__]


class Page(Shape, Generic[T], frozen=True):
    items: list[T]
