"""The password of an account in a request: generated, chosen, or imported as a hash."""

from typing import NamedTuple

from msgspec import UNSET, UnsetType

from postroom.accounts import password_hashes
from postroom.accounts.password_hashes import BadHash, PasswordScheme
from postroom.accounts.passwords import generate, hash_generated
from postroom.api.context import RequestContext
from postroom.api.endpoints.account_views import IMPORTED_NOTE, NOBODY_NOTE, NOTE, SETUP_NOTE
from postroom.errors import FieldError

CREDENTIALS = ("password", "setup_link", "none")


class Secret(NamedTuple):
    """A password for the answer (None if only its hash is known), and what is stored of it."""

    shown: str | None
    stored: str
    scheme: PasswordScheme | None
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


def check_credential(
    credential: str, password: str | UnsetType, password_hash: str | UnsetType, problems: list[FieldError]
) -> None:
    """Adds a problem to `problems` if the credential is unknown, or if a password was sent for an
    account that shall have none."""
    if credential not in CREDENTIALS:
        problems.append(FieldError("credential", "invalid", f"Use one of: {', '.join(CREDENTIALS)}."))
    elif credential != "password" and (password, password_hash) != (UNSET, UNSET):
        problems.append(FieldError("credential", "exclusive", "Send no password with setup_link or none."))


async def secret(
    context: RequestContext, chosen: str | UnsetType, hashed: str | UnsetType, credential: str = "password"
) -> Secret:
    """The secret of a request whose fields were checked. Raises Busy if too many passwords are
    being hashed."""
    if credential != "password":  # what is stored is the hash of a password that nobody knows
        note = SETUP_NOTE if credential == "setup_link" else NOBODY_NOTE
        return Secret(None, hash_generated(generate()), None, note)
    if hashed is not UNSET:
        return Secret(None, hashed, "imported", IMPORTED_NOTE)
    if chosen is not UNSET:
        return Secret(chosen, await context.services.hashers.hash_chosen(chosen), "chosen")
    generated = generate()
    return Secret(generated, hash_generated(generated), "generated")
