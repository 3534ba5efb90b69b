"""Patterns of event types: a type such as `account.created`, all of a kind such as `account.*`, or
`*`."""

from collections.abc import Sequence

from postroom.events import TYPES

ALL = "*"
KINDS = tuple(dict.fromkeys(f"{type_.partition('.')[0]}.*" for type_ in TYPES))


def is_known(pattern: str) -> bool:
    """Whether there is a type of event that the pattern means."""
    return pattern == ALL or pattern in KINDS or pattern in TYPES


def matches(patterns: Sequence[str], type_: str) -> bool:
    """Whether one of the patterns means this type. A type of a later version counts too."""
    return ALL in patterns or type_ in patterns or f"{type_.partition('.')[0]}.*" in patterns
