"""Which key the digests of all app passwords were made with. A host with another key would make app
passwords that do not work on the hosts that run Dovecot, so it does not start."""

from postroom.db import Tx
from postroom.errors import Refused

CLAIM = "INSERT INTO digest_keys (id, fingerprint) VALUES (1, :fingerprint) ON CONFLICT (id) DO NOTHING"
GET = "SELECT fingerprint FROM digest_keys WHERE id = 1"
REPLACE = "UPDATE digest_keys SET fingerprint = :fingerprint WHERE id = 1"
ANY = "SELECT 1 FROM app_passwords LIMIT 1"


def check(tx: Tx, fingerprint: str, *, is_whole: bool) -> None:
    """Compares this host's key with that of the app passwords. Where there are none, a host that
    runs every part (`is_whole`) may bring a new key. Raises Refused."""
    tx.run(CLAIM, fingerprint=fingerprint)
    known = tx.one(GET)
    if known == (fingerprint,):
        return
    if not is_whole or tx.one(ANY):
        raise Refused(
            "digest_key_differs",
            "db/digest.key is not the key of the app passwords in this database: copy the file from the data directory "
            "of the host that runs Dovecot, or from a backup.",
        )
    tx.run(REPLACE, fingerprint=fingerprint)
