"""The one rule for whether an account may use a sender: for submission, Sieve, and mail sent over
HTTP.

An address in a header or envelope is first parsed strictly (`parse`) and then compared only in the
canonical spelling of address.py. The view mail_senders says what an account may use: its addresses,
each with any `+tag`.
"""

import re
from dataclasses import dataclass

from postroom.address import Address, BadAddress, parse_host, parse_local_part
from postroom.db import Tx

USERS = "SELECT id, login FROM mail_senders WHERE local_part = :local_part AND domain = :domain"
CLOSED = "SELECT 1 FROM mail_refusals WHERE local_part = :local_part AND domain = :domain"
HOSTED = "SELECT 1 FROM mail_domains WHERE name = :domain"

_ATEXT = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]"
# RFC 5322 3.4.1 without quoting, comments, white space and address literals.
_ADDRESS = re.compile(rf"({_ATEXT}+(?:\.{_ATEXT}+)*)@([A-Za-z0-9.-]+)")
_LOGIN = re.compile(r"([0-9]{1,18})@[0-9]{1,18}(?:\.c[0-9]{1,18})?\.acct\.internal")


@dataclass(frozen=True, slots=True)
class Account:
    """An account that wants to send, and its login name; None where no login is needed, as for a
    Sieve script."""

    id: int
    login: str | None = None

    @classmethod
    def of_login(cls, login: str) -> "Account | None":
        """Returns the account of a login name as the mail daemons know it; None if the name is
        malformed."""
        match = _LOGIN.fullmatch(login)
        return cls(int(match[1]), login) if match else None


def parse(text: str) -> Address:
    """Returns the address that a sender names, without its tag. Raises BadAddress if the text is
    not certain to name one address."""
    match = _ADDRESS.fullmatch(text)
    if not match:
        raise BadAddress("invalid_address", "An address has the form local_part@domain, without quotes and comments.")
    return Address(parse_local_part(match[1].partition("+")[0]), parse_host(match[2]))


def may_use(tx: Tx, account: Account, address: Address) -> bool:
    """The rule: whether the account may use the address as a sender now."""
    return _is_user(tx, account, address.local_part, address.domain)


def poses_as_another(tx: Tx, account: Account, local_part: str, domain: str) -> bool:
    """Whether an address in a display name is hosted by this instance but does not belong to the
    account."""
    return not _is_user(tx, account, local_part, domain) and is_hosted(tx, domain)


def is_closed(tx: Tx, address: Address) -> bool:
    """Whether the address exists here but takes no mail."""
    return tx.one(CLOSED, local_part=address.local_part, domain=address.domain) is not None


def is_hosted(tx: Tx, domain: str) -> bool:
    """Whether this instance takes mail for the domain (canonical)."""
    return tx.one(HOSTED, domain=domain) is not None


def _is_user(tx: Tx, account: Account, local_part: str, domain: str) -> bool:
    rows = tx.all(USERS, local_part=local_part, domain=domain)
    return any(row[0] == account.id and (account.login is None or account.login in row[1].split(",")) for row in rows)
