"""Which key the digests of all app passwords are made with. A host with another key would make app
passwords that do not work on the hosts that run Dovecot, so it makes none (decision 0251)."""

from postroom.db import Tx
from postroom.errors import Refused

CLAIM = "INSERT INTO digest_keys (id, fingerprint) VALUES (1, :fingerprint) ON CONFLICT (id) DO NOTHING"
GET = "SELECT fingerprint FROM digest_keys WHERE id = 1"
REPLACE = """
UPDATE digest_keys SET fingerprint = :fingerprint WHERE id = 1 AND NOT EXISTS (SELECT 1 FROM app_passwords)"""


def claim(tx: Tx, fingerprint: str) -> None:
    """Makes the key of a host that runs every part the key of all hosts, while there is no app
    password."""
    tx.run(CLAIM, fingerprint=fingerprint)
    tx.run(REPLACE, fingerprint=fingerprint)


def check(tx: Tx, fingerprint: str) -> None:
    """Raises `not_available` on a host whose key is not that of the app passwords."""
    tx.run(CLAIM, fingerprint=fingerprint)
    if tx.one(GET) != (fingerprint,):
        raise Refused(
            "not_available",
            "This host has another key of app passwords than the host that runs Dovecot: the operator must copy "
            "db/digest.key.",
        )
