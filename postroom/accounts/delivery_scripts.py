"""The Sieve script of an account (RFC 5228) that carries out its rules. `compose` is the only place
that writes Sieve; the view mail_scripts says for whom the script runs."""

import itertools
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from postroom.accounts import delivery_rules
from postroom.accounts.delivery_rules import Forwarding, Vacation
from postroom.accounts.model import Account
from postroom.db import Row, Tx

PUT = """
INSERT INTO delivery_scripts (account_id, username, script) VALUES (:id, :username, :script)
ON CONFLICT (account_id) DO UPDATE SET script = excluded.script"""
REMOVE = "DELETE FROM delivery_scripts WHERE account_id = :id"
# The kinds of aliases that are the account's own. A group is like a list: its mail is also for
# others, so one of its accounts does not answer it (decision 0226).
OWN_KINDS = ("alias", "former")
OWN_ALIASES = """
SELECT address, may_send FROM aliases
WHERE organization_id = :organization AND kind IN ('alias', 'former') AND rested_at IS NULL
  AND id IN (SELECT alias_id FROM alias_members WHERE account_id = :id)
ORDER BY id"""
# Dovecot notes in the account's folder what was forwarded and answered, so that a delivery that is
# tried again does neither twice. This makes the folder of an account that has had no mail yet.
OPEN_INBOX = 'if mailboxexists "INBOX" {}'
# Most octets of addresses in a script, which has them three times. Dovecot runs scripts of up to
# 128 KiB, and defers the mail of an account with one of 650 KiB.
MOST_ADDRESSES = 12 * 1024


def addresses_of(tx: Tx, account: Account) -> tuple[str, ...]:
    """Returns the account's own addresses, without tags: first the present one, then its aliases
    and former addresses."""
    return (account.address, *(address for address, _ in _own_aliases(tx, account)))


def answered(tx: Tx, account: Account) -> tuple[str, ...]:
    """Returns the own addresses that get a reply, oldest first after the present one, as many as a
    script may have. A reply is from the address that the mail was sent to, so the account must be
    allowed to send as that address."""
    every = [account.address, *(address for address, may_send in _own_aliases(tx, account) if may_send)]
    sizes = itertools.accumulate(map(len, every))
    return tuple(address for address, size in zip(every, sizes, strict=True) if size <= MOST_ADDRESSES)


def _own_aliases(tx: Tx, account: Account) -> list[Row]:
    return tx.all(OWN_ALIASES, organization=account.organization_id, id=account.id)


def refresh(tx: Tx, account: Account) -> None:
    """Writes the script anew from the rules and the addresses of the account, which must be locked.
    A change of either calls this in its transaction."""
    rules = delivery_rules.forwarding(tx, account.id), delivery_rules.vacation(tx, account.id)
    if any(rule.enabled for rule in rules):
        script = compose(answered(tx, account), *rules)
        tx.run(PUT, id=account.id, username=f"{account.id}@acct.internal", script=script)
    else:
        tx.run(REMOVE, id=account.id)


def erase(tx: Tx, account_id: int) -> None:
    """Deletes the rules and the script, because a purge erases personal data."""
    tx.run(REMOVE, id=account_id)
    delivery_rules.erase(tx, account_id)


def compose(addresses: Sequence[str], forwarding: Forwarding, vacation: Vacation) -> str:
    """Returns the script, or an empty string if no rule is in force at any time.

    A bounce is neither forwarded nor answered: the bounce of a forward would be forwarded to the
    same dead address. A message that comes back is not forwarded again, so that two accounts that
    forward to each other keep the mail.
    """
    actions = [*_replies(addresses, vacation), *_forwards(addresses, forwarding)]
    if not actions:
        return ""
    return "\n".join(
        [
            'require ["copy", "date", "envelope", "mailbox", "relational", "subaddress", "vacation"];',
            OPEN_INBOX,
            'if not envelope :is "from" "" {',
            *actions,
            "}",
            "",
        ]
    )


def _replies(addresses: Sequence[str], rule: Vacation) -> Iterator[str]:
    if not rule.enabled:
        return
    tests = [_is_to(addresses), *_bound("ge", rule.from_at), *_bound("lt", rule.until_at)]
    subject = "" if rule.subject is None else f":subject {_quoted(rule.subject)} "
    command = f"vacation :days {rule.days} {subject}:addresses {_list(addresses)} {_quoted(rule.text)};"
    yield f"if allof ({', '.join(tests)}) {{ {command} }}"


def _forwards(addresses: Sequence[str], rule: Forwarding) -> Iterator[str]:
    if not rule.enabled:
        return
    copy = ":copy " if rule.keep_copy else ""
    yield f'if not header :is "X-Sieve-Redirected-From" {_list(addresses)} {{'
    yield from (f"redirect {copy}{_quoted(target)};" for target in rule.to)
    yield "}"


def _is_to(addresses: Sequence[str]) -> str:
    """A test whether the message was sent to one of the addresses, or to a tag of one (RFC 5233).
    Without it, Dovecot would also answer mail to a group or a catch-all, with that as From."""
    names: dict[str, list[str]] = {}
    for address in addresses:
        local_part, _, domain = address.rpartition("@")
        names.setdefault(domain, []).append(local_part)
    tests = [
        f'allof (envelope :domain "to" {_quoted(domain)}, envelope :user "to" {_list(local_parts)})'
        for domain, local_parts in names.items()
    ]
    return f"anyof ({', '.join(tests)})"


def _bound(relation: str, milliseconds: int | None) -> Iterator[str]:
    """A comparison with the present time (RFC 5260 5). The text of a time sorts by time."""
    if milliseconds is not None:
        moment = datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        yield f'currentdate :zone "+0000" :value "{relation}" "iso8601" "{moment}"'


def _list(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, values))}]"


def _quoted(text: str) -> str:
    """A string of Sieve (RFC 5228 2.4.2). Without `require "variables"`, `${` means itself."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
