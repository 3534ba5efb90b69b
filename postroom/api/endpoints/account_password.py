"""The password of an account in a request: generated, chosen, or imported as a hash."""

from typing import NamedTuple

from msgspec import UNSET, UnsetType

from postroom.accounts import password_hashes
from postroom.accounts.password_hashes import BadHash, PasswordScheme
from postroom.accounts.passwords import generate, hash_generated
from postroom.api.context import RequestContext
from postroom.api.endpoints.account_views import IMPORTED_NOTE, NOTE
from postroom.errors import FieldError


class Secret(NamedTuple):
    """A password for the answer (None if only its hash is known), and what is stored of it."""

    shown: str | None
    stored: str
    scheme: PasswordScheme
    note: str = NOTE


def parse_hash(
    password_hash: str | UnsetType, password: str | UnsetType, problems: list[FieldError]
) -> str | UnsetType:
    """The stored form of a password hash that was sent, or UNSET. Any problem with it is added to
    `problems`."""
    if password_hash is UNSET:
        return UNSET
    if password is not UNSET:
        problems.append(FieldError("password_hash", "exclusive", "Send either password or password_hash."))
    try:
        return password_hashes.parse(password_hash)
    except BadHash as error:
        problems.append(FieldError("password_hash", error.code, error.message))
    return UNSET


async def secret(context: RequestContext, chosen: str | UnsetType, hashed: str | UnsetType) -> Secret:
    """The secret of a request whose fields were checked. Raises Busy if too many passwords are
    being hashed."""
    if hashed is not UNSET:
        return Secret(None, hashed, "imported", IMPORTED_NOTE)
    if chosen is not UNSET:
        return Secret(chosen, await context.services.hashers.hash_chosen(chosen), "chosen")
    generated = generate()
    return Secret(generated, hash_generated(generated), "generated")
