"""From which networks each account has logged in. A network is an IPv4 address, or the /64 of an
IPv6 address, because a customer's line has at least a /64 (RFC 6177).

A known network stays open while the account is under attack and while others in it try passwords
(decision 0265). A network that tries too many wrong passwords at the account itself is distrusted
for an hour.
"""

import ipaddress
import struct
from collections.abc import Mapping

from postroom.db import Tx

# An account knows a network for so long after the last login; the view mail_known_networks has the
# same number.
KNOWN_MS = 30 * 24 * 3600 * 1000
# Minimum interval between two writes of the last login from a network.
LOGIN_MS = 24 * 3600 * 1000
HOUR_MS = 3600 * 1000
# Largest number of rows that one transaction forgets.
STEP = 500

Pair = tuple[int, str]  # an account and a network

IS_KNOWN = """
SELECT 1 FROM login_networks
WHERE account_id = :account_id AND network = :network AND last_at > :before AND distrusted_until <= :now"""
IS_FRESH = "SELECT 1 FROM login_networks WHERE account_id = :account_id AND network = :network AND last_at > :before"
REMEMBER = """
INSERT INTO login_networks (account_id, network, last_at)
SELECT id, :network, :at FROM accounts WHERE id = :account_id AND status = 'active' AND deleted_at IS NULL
ON CONFLICT (account_id, network) DO UPDATE SET last_at = excluded.last_at
WHERE login_networks.last_at < excluded.last_at"""
FAIL = """
UPDATE login_networks SET
  failures = CASE WHEN failing_since > :hour_ago THEN failures ELSE 0 END + :failures,
  failing_since = CASE WHEN failing_since > :hour_ago THEN failing_since ELSE :now END
WHERE account_id = :account_id AND network = :network RETURNING failures"""
DISTRUST = """
UPDATE login_networks SET failures = 0, failing_since = 0, distrusted_until = :until
WHERE account_id = :account_id AND network = :network"""
TRUST = "UPDATE login_networks SET failures = 0, distrusted_until = 0 WHERE account_id = :account_id"
ERASE = "DELETE FROM login_networks WHERE account_id = :account_id"
OLD = "SELECT account_id, network FROM login_networks WHERE last_at <= :before ORDER BY last_at LIMIT :limit"
FORGET = "DELETE FROM login_networks WHERE account_id = :account_id AND network = :network AND last_at <= :before"


def network_of(address: str) -> str | None:
    """Returns the network of a client's address, as in `2001:db8:0:1::/64`, or None if the text is
    not an address. Dovecot's queries compute the same text: queries.j2 and auth.lua.j2 (decision
    0266)."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    groups = [f"{group:x}" for group in struct.unpack_from("!4H", parsed.packed)]
    if str(parsed).startswith("::"):
        groups[0] = ""
    return ":".join(groups) + "::/64"


def is_known(tx: Tx, pair: Pair) -> bool:
    """Whether the account has logged in from the network, which is not distrusted now."""
    return tx.one(IS_KNOWN, account_id=pair[0], network=pair[1], before=tx.now - KNOWN_MS, now=tx.now) is not None


def news(tx: Tx, logins: Mapping[Pair, int]) -> dict[Pair, int]:
    """Returns those of the given logins (to milliseconds since 1970) that are worth a write."""
    return {
        pair: at
        for pair, at in logins.items()
        if not tx.one(IS_FRESH, account_id=pair[0], network=pair[1], before=at - LOGIN_MS)
    }


def remember(tx: Tx, logins: Mapping[Pair, int]) -> None:
    """Stores the networks of logins. The right password for a suspended account does not count. A
    time in the future, from a wrong clock, is stored as now."""
    for (account_id, network), at in sorted(logins.items()):
        tx.run(REMEMBER, account_id=account_id, network=network, at=min(at, tx.now))


def fail(tx: Tx, pair: Pair, failures: int, most: int) -> None:
    """Counts wrong passwords from a network that the account knows. From `most` failures in an hour
    on, the network is distrusted."""
    row = tx.one(FAIL, account_id=pair[0], network=pair[1], failures=failures, hour_ago=tx.now - HOUR_MS, now=tx.now)
    if row and row[0] >= most:
        tx.run(DISTRUST, account_id=pair[0], network=pair[1], until=tx.now + HOUR_MS)


def trust(tx: Tx, account_id: int) -> None:
    """Trusts every known network of an account again."""
    tx.run(TRUST, account_id=account_id)


def erase(tx: Tx, account_id: int) -> None:
    """Erases the networks of an account whose purge has begun."""
    tx.run(ERASE, account_id=account_id)


def forget(tx: Tx) -> int:
    """Removes networks from which nobody has logged in for KNOWN_MS, at most STEP of them. Returns
    their number."""
    before = tx.now - KNOWN_MS
    old = tx.all(OLD, before=before, limit=STEP)
    for account_id, network in old:
        tx.run(FORGET, account_id=account_id, network=network, before=before)
    return len(old)
