"""Random secrets, and the form in which the database keeps them: API keys, and the tokens of
sessions and links."""

import hashlib
import secrets


def new_token() -> str:
    """Returns a new token: 256 random bits in 43 characters."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """Returns the stored form of a token or key. SHA-256 is enough, because the secret itself has
    256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
