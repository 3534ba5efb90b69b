"""When an account has last logged in, as Dovecot's log says."""

from collections.abc import Mapping

from postroom.db import Tx

# How old the time of the last login may be while an account logs in again and again.
LOGIN_MS = 60_000
LOGS_IN = """
WHERE id = :id AND status = 'active' AND deleted_at IS NULL AND (last_login_at IS NULL OR last_login_at <= :before)"""
IS_NEW_LOGIN = f"SELECT 1 FROM accounts {LOGS_IN}"
LOG_IN = f"UPDATE accounts SET last_login_at = :at {LOGS_IN}"


def new_logins(tx: Tx, logins: Mapping[int, int]) -> dict[int, int]:
    """Those of these logins (account id to time) that are worth a write. The right password of a
    suspended account is no login."""
    return {id_: at for id_, at in logins.items() if tx.one(IS_NEW_LOGIN, id=id_, before=at - LOGIN_MS)}


def log_in(tx: Tx, logins: Mapping[int, int]) -> None:
    """Writes down when accounts have logged in. A time that is yet to come, by a wrong clock, is
    now."""
    for id_, at in sorted(logins.items()):
        tx.run(LOG_IN, id=id_, at=min(at, tx.now), before=at - LOGIN_MS)
