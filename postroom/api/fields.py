"""Fields that several endpoints take. Checks add to a list of problems, so that one answer names
all of them."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from msgspec import UNSET, Meta, UnsetType

from postroom.accounts.model import Account
from postroom.accounts.passwords import WeakPassword, check
from postroom.accounts.setup_links import Found
from postroom.address import Address, BadAddress, parse_domain, parse_local_part
from postroom.api.decoding import check_display_name, check_user_id, unknown_names
from postroom.auth import networks
from postroom.errors import FieldError, invalid
from postroom.parameters import ListOrder

T = TypeVar("T")

# A query's flag is text here, so that the message can say what is accepted.
FLAG = Meta(examples=["true"], extra_json_schema={"enum": ["true", "false"]})
ORDERS = ("oldest", "newest")
Order = Annotated[ListOrder[str], Meta(extra_json_schema={"enum": list(ORDERS)})]
LATEST = datetime(9999, 1, 1, tzinfo=UTC)
NOWHERE = Address("x", "invalid")


def text_problems(
    query_user: str | UnsetType, body_user: str | UnsetType = UNSET, display_name: str | None = None
) -> list[FieldError]:
    """The problems with a user_id or a display name."""
    problems: list[FieldError] = []
    for user in (query_user, body_user):
        if user is not UNSET and (problem := check_user_id(user)):
            problems.append(problem)
    if display_name is not None and (problem := check_display_name(display_name)):
        problems.append(problem)
    return problems


def parse_address(domain: str, local_part: str, problems: list[FieldError]) -> Address:
    """The canonical address. Any problems with it are added to `problems`."""
    name = parse_domain_field(domain, problems)
    try:
        return Address(parse_local_part(local_part), name)
    except BadAddress as error:
        problems.append(FieldError("local_part", error.code, error.message))
    return NOWHERE


def parse_domain_field(domain: str, problems: list[FieldError], field: str = "domain") -> str:
    """The canonical domain name. Any problem with it is added to `problems`."""
    try:
        return parse_domain(domain)
    except BadAddress as error:
        problems.append(FieldError(field, error.code, error.message))
    return NOWHERE.domain


def parse_password(
    password: str | UnsetType, owner: Address | Account | Found, problems: list[FieldError], field: str = "password"
) -> str | UnsetType:
    """The password that was sent, or UNSET if one is to be generated. If the password is too weak,
    a problem with `field` is added to `problems`."""
    if password is not UNSET:
        try:
            check(password, f"{owner.local_part}@{owner.domain}")
        except WeakPassword as error:
            problems.append(FieldError(field, error.code, error.message))
    return password


def parse_networks(sent: list[str] | UnsetType, problems: list[FieldError]) -> tuple[str, ...] | None:
    """The networks in their canonical notation; None if none were sent. Any problem is added to
    `problems`."""
    if sent is UNSET:
        return None
    try:
        return tuple(dict.fromkeys(networks.parse(text) for text in sent))
    except ValueError:
        message = "A network is an address or a CIDR without host bits, like 192.0.2.0/24 or 2001:db8::/32."
        problems.append(FieldError("networks", "invalid", message))
    return None


def parse_expiry(sent: datetime | UnsetType | None, problems: list[FieldError], what: str) -> int | None:
    """The expiry in milliseconds since 1970 UTC; None if none was sent. The year 9999 is a problem,
    because its last hours cannot be shown in UTC."""
    if not isinstance(sent, datetime):
        return None
    if sent >= LATEST:
        problems.append(FieldError("expires_at", "invalid", f"{what} must expire before the year 9999."))
    return int(sent.timestamp() * 1000)


def is_newest(order: str, problems: list[FieldError]) -> bool:
    """Whether a list is requested with its newest items first. If `order` is invalid, a problem is
    added to `problems`."""
    if order not in ORDERS:
        problems.append(FieldError("order", "invalid", "Use one of: oldest, newest."))
    return order == "newest"


def projection(
    fields: str | UnsetType, default: Callable[[T], Any], known: Mapping[str, Callable[[T], Any]]
) -> Callable[[T], Any]:
    """The function that shows a thing for this `?fields=`: in the default shape, with all known
    fields (`*`) or with the named ones. Raises `invalid_request`."""
    if fields is UNSET:
        return default
    names = list(known) if fields == "*" else [name.strip() for name in fields.split(",")]
    if not set(names) <= known.keys():
        message = f"{unknown_names(names, known)} Known fields: {', '.join(known)}. Or * for all."
        raise invalid(FieldError("fields", "unknown_field", message))
    wanted = [(name, known[name]) for name in dict.fromkeys(names)]
    return lambda thing: {name: read(thing) for name, read in wanted}


def raise_if_any(problems: list[FieldError]) -> None:
    """Raises the error that names every problem, if there are any."""
    if problems:
        raise invalid(*problems)
