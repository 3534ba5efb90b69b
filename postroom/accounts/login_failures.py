"""Wrong passwords: counted by account and by network, whatever the protocol (decision 0264).

Dovecot's log tells of each attempt whether a password was compared. An attempt without a comparison
at an account that is open was no wrong password: the database did not answer, or the account is
suspended. Attempts of a banned network are not counted, so a ban ends while its client still tries.
"""

import re
from collections.abc import Mapping

import msgspec

from postroom.accounts import login_attacks, login_bans, login_networks
from postroom.auth import networks
from postroom.db import Tx

MINUTE_MS = 60_000
# Minutes in which the failures of a network and of an account are added up.
NETWORK_MINUTES = 10
ACCOUNT_MINUTES = 60
# The account of all addresses that do not exist.
NOBODY = 0
# Largest number of rows that one transaction forgets.
STEP = 500
# PostgreSQL stores no NUL, and neither engine half of a surrogate pair: no address has one.
STORABLE = re.compile("[^\0\ud800-\udfff]*")
# Dots that UTS 46 reads as a full stop.
DOTS = str.maketrans("。．｡", "...")

FIND = "SELECT id FROM mail_logins WHERE local_part = :local_part AND domain = :domain"
SPELLED = "SELECT name FROM mail_spellings WHERE spelling = :spelling"
COUNT = """
INSERT INTO login_failures (network, account_id, minute, failures) VALUES (:network, :account_id, :minute, :failures)
ON CONFLICT (network, minute, account_id) DO UPDATE SET failures = login_failures.failures + excluded.failures"""
# A sum of at most :limit rows, so that an attack from many networks costs no more than others.
OF_NETWORK = """
SELECT SUM(failures) FROM (
  SELECT failures FROM login_failures WHERE network = :network AND minute > :minute LIMIT :limit) AS found"""
OF_ACCOUNT = """
SELECT SUM(failures), COUNT(DISTINCT network) FROM (
  SELECT network, failures FROM login_failures WHERE account_id = :account_id AND minute > :minute LIMIT :limit
) AS found"""
FORGIVE_NETWORK = "DELETE FROM login_failures WHERE network = :network"
ERASE = "DELETE FROM login_failures WHERE account_id = :account_id"
OLD = """
SELECT network, account_id, minute FROM login_failures WHERE minute <= :before ORDER BY minute LIMIT :limit"""
FORGET = "DELETE FROM login_failures WHERE network = :network AND account_id = :account_id AND minute = :minute"


class Bounds(msgspec.Struct, frozen=True):
    """From how many failures on an account is under attack (in an hour) and a network is banned (in
    10 minutes); 0: never. The networks of `proxies` have many people and are never banned."""

    account: int = 100
    network: int = 20
    proxies: tuple[str, ...] = ()


class Attempt(msgspec.Struct, frozen=True):
    """Where a password was tried: the address that the client sent and the client's own address.
    `account_id` is None if Dovecot compared no password."""

    account_id: int | None
    name: str
    client: str


def count(tx: Tx, attempts: Mapping[Attempt, int], bounds: Bounds) -> None:
    """Counts failed attempts, each with its number, and bans networks and closes accounts that have
    reached a bound."""
    strangers: dict[tuple[str, int], int] = {}
    for attempt, number in attempts.items():
        network = login_networks.network_of(attempt.client)
        if network is None:
            continue
        if attempt.account_id and login_networks.is_known(tx, (attempt.account_id, network)):
            login_networks.fail(tx, (attempt.account_id, network), number, bounds.account or number + 1)
        elif (account_id := _account(tx, attempt, network)) is not None:
            strangers[network, account_id] = strangers.get((network, account_id), 0) + number
    for (network, account_id), number in sorted(strangers.items()):
        minute = tx.now // MINUTE_MS
        tx.run(COUNT, network=network, account_id=account_id, minute=minute, failures=number)
    for network in sorted({network for network, _ in strangers}):
        _judge_network(tx, network, bounds)
    for account_id in sorted({account_id for _, account_id in strangers} - {NOBODY}):
        number = sum(count for (_, account), count in strangers.items() if account == account_id)
        _judge_account(tx, account_id, number, bounds)


def _account(tx: Tx, attempt: Attempt, network: str) -> int | None:
    """Returns the account whose password was tried, NOBODY, or None if this was no try."""
    if attempt.account_id is not None:
        return attempt.account_id
    if login_bans.is_banned(tx, network):
        return None
    account_id = find(tx, attempt.name)
    if account_id is None:
        return NOBODY
    return account_id if login_attacks.is_attacked(tx, account_id) else None


def find(tx: Tx, name: str) -> int | None:
    """Returns the account that logs in with a name, in any spelling that Dovecot accepts, or
    None."""
    if not STORABLE.fullmatch(name):
        return None
    local_part, _, domain = name.lower().partition("@")
    domain = domain.translate(DOTS)
    spelled = tx.one(SPELLED, spelling=domain)
    found = tx.one(FIND, local_part=local_part, domain=spelled[0] if spelled else domain)
    return int(found[0]) if found else None


def _judge_network(tx: Tx, network: str, bounds: Bounds) -> None:
    # The last ban has punished what was counted before.
    since = max(tx.now // MINUTE_MS - NETWORK_MINUTES, login_bans.last(tx, network) // MINUTE_MS)
    (failures,) = tx.one(OF_NETWORK, network=network, minute=since, limit=bounds.network) or (0,)
    is_proxy = networks.holds(bounds.proxies, network.partition("/")[0])
    if bounds.network and int(failures or 0) >= bounds.network and not is_proxy:
        login_bans.ban(tx, network)


def _judge_account(tx: Tx, account_id: int, number: int, bounds: Bounds) -> None:
    failures, sources = _in_an_hour(tx, account_id, bounds)
    if bounds.account and failures >= bounds.account:
        login_attacks.go_on(tx, account_id, number, failures, sources)


def _in_an_hour(tx: Tx, account_id: int, bounds: Bounds) -> tuple[int, int]:
    """Returns the number of failures at an account in the last hour from networks that it does not
    know, and the number of these networks. Beyond the bound, both may be too low."""
    since = tx.now // MINUTE_MS - ACCOUNT_MINUTES
    row = tx.one(OF_ACCOUNT, account_id=account_id, minute=since, limit=bounds.account)
    return (int(row[0] or 0), int(row[1])) if row else (0, 0)


def end_attacks(tx: Tx, account_ids: list[int], bounds: Bounds) -> None:
    """Ends the attacks on those of the accounts that had fewer failures in the last hour than the
    bound."""
    for account_id in account_ids:
        failures, _ = _in_an_hour(tx, account_id, bounds)
        if bounds.account and failures >= bounds.account:
            login_attacks.keep(tx, account_id)
        else:
            login_attacks.end(tx, account_id)


def lift_network(tx: Tx, network: str) -> bool:
    """Ends the ban of a network and forgets its failures. Returns whether it was banned."""
    tx.run(FORGIVE_NETWORK, network=network)
    return login_bans.lift(tx, network)


def lift_account(tx: Tx, account_id: int) -> bool:
    """Ends the attack on an account, forgets the failures at it, and trusts its networks again.
    Returns whether it was under attack."""
    tx.run(ERASE, account_id=account_id)
    login_networks.trust(tx, account_id)
    return login_attacks.end(tx, account_id)


def erase(tx: Tx, account_id: int) -> None:
    """Erases everything about the logins of an account whose purge has begun."""
    tx.run(ERASE, account_id=account_id)
    login_networks.erase(tx, account_id)
    login_attacks.erase(tx, account_id)


def forget(tx: Tx) -> int:
    """Removes failures that no longer count, at most STEP rows. Returns their number."""
    old = tx.all(OLD, before=tx.now // MINUTE_MS - ACCOUNT_MINUTES, limit=STEP)
    for network, account_id, minute in old:
        tx.run(FORGET, network=network, account_id=account_id, minute=minute)
    return len(old)
