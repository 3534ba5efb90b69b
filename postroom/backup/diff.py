"""What a restore undoes: the accounts, keys and webhooks that changed since the backup was made.

A key that was revoked since then works again after a restore, and a webhook that was deleted or
disabled since then sends again, so they are listed as well as accounts.
"""

from collections.abc import Iterator, Sequence

import msgspec

from postroom.db import Row, Tx
from postroom.webhooks import urls

PAGE = 5000

ACCOUNTS = """
SELECT id, address, status, password, deleted_at FROM accounts WHERE id > :after ORDER BY id LIMIT :limit"""
KEYS = """
SELECT id, prefix, revoked_at FROM api_keys WHERE id > :after ORDER BY id LIMIT :limit"""
WEBHOOKS = """
SELECT id, url FROM webhooks WHERE status = 'active' AND id > :after ORDER BY id LIMIT :limit"""


class Differences(msgspec.Struct):
    """Addresses of accounts, prefixes of keys and hosts of webhooks, by what a restore does to
    them."""

    created: list[str] = []
    deleted: list[str] = []
    passwords: list[str] = []
    statuses: list[str] = []
    keys_created: list[str] = []
    keys_revoked: list[str] = []
    webhooks_made: list[str] = []
    webhooks_ended: list[str] = []

    def lines(self, most: int = 10) -> list[str]:
        """One line of text for each kind of change that occurs, with at most `most` names."""
        said = {
            "created since, will be gone": self.created,
            "deleted since, will be back": self.deleted,
            "with the password of that time": self.passwords,
            "with the status of that time": self.statuses,
        }
        keys = {"made since, will be refused": self.keys_created, "revoked since, will work again": self.keys_revoked}
        ended = "deleted, disabled or changed since, will send to the URL of that time again"
        hooks = {"made or changed since, will be gone": self.webhooks_made, ended: self.webhooks_ended}
        found = [("accounts", *item) for item in said.items()] + [("keys", *item) for item in keys.items()]
        found += [("webhooks", *item) for item in hooks.items()]
        return [
            f"{len(names)} {what if len(names) > 1 else what.removesuffix('s')} {text}: {_some(names, most)}"
            for what, text, names in found
            if names
        ]


def find(then: Tx, now: Tx, *, has_webhooks: Sequence[bool]) -> Differences:
    """Compares the database of a backup with the present database, and returns the differences.
    `has_webhooks`: whether each database is of a version with webhooks."""
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
    sending, sends = (set(_webhooks(tx)) if has else set() for tx, has in zip((then, now), has_webhooks, strict=True))
    found.webhooks_made = [urls.host_of(url) for _, url in sorted(sends - sending)]
    found.webhooks_ended = [urls.host_of(url) for _, url in sorted(sending - sends)]
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


def _webhooks(tx: Tx) -> Iterator[tuple[int, str]]:
    after = 0
    while rows := tx.all(WEBHOOKS, after=after, limit=PAGE):
        yield from ((row[0], row[1]) for row in rows)
        after = rows[-1][0]


def _some(names: list[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
