"""What a restore takes back: the accounts and keys that are not as they were when the backup was
made.

A key that was revoked since works again afterwards, so keys are named as well as accounts.
"""

from collections.abc import Iterator

import msgspec

from postroom.db import Row, Tx

PAGE = 5000

ACCOUNTS = """
SELECT id, address, status, password, deleted_at FROM accounts WHERE id > :after ORDER BY id LIMIT :limit"""
KEYS = """
SELECT id, prefix, revoked_at FROM api_keys WHERE id > :after ORDER BY id LIMIT :limit"""


class Differences(msgspec.Struct):
    """Addresses of accounts, and prefixes of keys, by what becomes of them."""

    created: list[str] = []
    deleted: list[str] = []
    passwords: list[str] = []
    statuses: list[str] = []
    keys_created: list[str] = []
    keys_revoked: list[str] = []

    def lines(self, most: int = 10) -> list[str]:
        """A line for each kind that there is, for a person."""
        said = {
            "created since, will be gone": self.created,
            "deleted since, will be back": self.deleted,
            "with the password of that time": self.passwords,
            "with the status of that time": self.statuses,
        }
        keys = {"made since, will be refused": self.keys_created, "revoked since, will work again": self.keys_revoked}
        found = [("accounts", *item) for item in said.items()] + [("keys", *item) for item in keys.items()]
        return [f"{len(names)} {what} {text}: {_some(names, most)}" for what, text, names in found if names]


def find(then: Tx, now: Tx) -> Differences:
    """Compares the database of a backup with the present one."""
    found = Differences()
    old, new = ({row[0]: row[1:] for row in _accounts(tx) if row[4] is None} for tx in (then, now))
    found.created = [row[0] for id_, row in new.items() if id_ not in old]
    found.deleted = [row[0] for id_, row in old.items() if id_ not in new]
    both = [(row, new[id_]) for id_, row in old.items() if id_ in new]
    found.passwords = [row[0] for row, present in both if row[2] != present[2]]
    found.statuses = [row[0] for row, present in both if row[1] != present[1]]
    live, known = ({row[0]: row[1] for row in _keys(tx) if row[2] is None} for tx in (then, now))
    found.keys_created = [prefix for id_, prefix in known.items() if id_ not in live]
    found.keys_revoked = [prefix for id_, prefix in live.items() if id_ not in known]
    return found


def _accounts(tx: Tx) -> Iterator[Row]:
    after = 0
    while rows := tx.all(ACCOUNTS, after=after, limit=PAGE):
        yield from rows
        after = rows[-1][0]


def _keys(tx: Tx) -> Iterator[Row]:
    after = 0
    while rows := tx.all(KEYS, after=after, limit=PAGE):
        yield from rows
        after = rows[-1][0]


def _some(names: list[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
