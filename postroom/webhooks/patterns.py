"""Patterns of event types: a type such as `account.created`, all of a kind such as `account.*`, or
`*`. Mail is sent only where `message.received` is named, never for a pattern, because it needs more
rights."""

from collections.abc import Sequence

from postroom.events import TYPES
from postroom.webhooks.received_messages import RECEIVED

ALL = "*"
KINDS = tuple(dict.fromkeys(f"{type_.partition('.')[0]}.*" for type_ in TYPES))


NAMES = (ALL, *KINDS, *TYPES, RECEIVED)


def is_known(pattern: str) -> bool:
    """Whether there is a type of event that the pattern means."""
    return pattern in NAMES


def matches(patterns: Sequence[str], type_: str) -> bool:
    """Whether one of the patterns means this type. A type of a later version counts too."""
    return ALL in patterns or type_ in patterns or f"{type_.partition('.')[0]}.*" in patterns
