"""The time of each account's last login, taken from Dovecot's log."""

from collections.abc import Mapping

from postroom.db import Tx

# Minimum interval between two writes of an account's last login, in milliseconds.
LOGIN_MS = 60_000
LOGS_IN = """
WHERE id = :id AND status = 'active' AND deleted_at IS NULL AND (last_login_at IS NULL OR last_login_at <= :before)"""
IS_NEW_LOGIN = f"SELECT 1 FROM accounts {LOGS_IN}"
LOG_IN = f"UPDATE accounts SET last_login_at = :at {LOGS_IN}"


def new_logins(tx: Tx, logins: Mapping[int, int]) -> dict[int, int]:
    """Returns those of the given logins (account id to milliseconds since 1970) that are worth a
    write. The right password for a suspended account does not count as a login."""
    return {id_: at for id_, at in logins.items() if tx.one(IS_NEW_LOGIN, id=id_, before=at - LOGIN_MS)}


def log_in(tx: Tx, logins: Mapping[int, int]) -> None:
    """Stores the login times. A time in the future, from a wrong clock, is stored as now."""
    for id_, at in sorted(logins.items()):
        tx.run(LOG_IN, id=id_, at=min(at, tx.now), before=at - LOGIN_MS)
