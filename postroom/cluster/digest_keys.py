"""Which key the digests of all app passwords are made with, and the secrets of webhooks are sealed
with. A host with another key would make app passwords that do not work on the hosts that run
Dovecot, and secrets that other hosts cannot open, so it makes none (decision 0251)."""

from postroom.db import Tx
from postroom.errors import Refused

CLAIM = "INSERT INTO digest_keys (id, fingerprint) VALUES (1, :fingerprint) ON CONFLICT (id) DO NOTHING"
GET = "SELECT fingerprint FROM digest_keys WHERE id = 1"
REPLACE = """
UPDATE digest_keys SET fingerprint = :fingerprint
WHERE id = 1 AND NOT EXISTS (SELECT 1 FROM app_passwords) AND NOT EXISTS (SELECT 1 FROM webhooks)"""


def claim(tx: Tx, fingerprint: str) -> bool:
    """Makes the key of a host that runs Dovecot the key of all hosts, while there is neither an
    app password nor a webhook. Returns whether it is the key of all hosts."""
    tx.run(CLAIM, fingerprint=fingerprint)
    tx.run(REPLACE, fingerprint=fingerprint)
    return is_shared(tx, fingerprint)


def known(tx: Tx) -> str | None:
    """Returns the fingerprint of the key of all hosts. None: no host with Dovecot has started."""
    row = tx.one(GET)
    return None if row is None else str(row[0])


def is_shared(tx: Tx, fingerprint: str) -> bool:
    """Whether this key is the key of all hosts."""
    return known(tx) == fingerprint


def check(tx: Tx, fingerprint: str) -> None:
    """Raises `not_available` on a host whose key is not the key of all hosts."""
    if not is_shared(tx, fingerprint):
        raise Refused(
            "not_available",
            "The hosts that run Dovecot have another key of app passwords and webhooks than this host: the operator "
            "must copy db/digest.key. `postroom doctor` on each host says which key differs.",
        )
