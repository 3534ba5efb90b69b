"""Who a message says it is from: each field that names a sender, and what its display names show
(decision 0137).

From appears once. Sender, Resent-From and Resent-Sender may be there; all of them name addresses
of the account.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from postroom.accounts import senders
from postroom.accounts.senders import Account
from postroom.address import Address
from postroom.db import Tx
from postroom.milter import header_from
from postroom.milter.header_from import Unclear

FIELDS = {b"from": "From", b"sender": "Sender", b"resent-from": "Resent-From", b"resent-sender": "Resent-Sender"}
# Fields of these names in one message.
MOST_FIELDS = 20
EXAMPLE = 'exactly one, as in "Lee, Ann" <ann@example.com>, with a name that has a comma or @ in double quotes'


class NotOwn(Exception):
    """A field names somebody else, or nobody for certain. The text is a sentence for the sender,
    in ASCII."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field} must be your own address: {why}")


@dataclass(frozen=True, slots=True)
class Identity:
    """What the fields of one message say. `author`: the mailbox of From. `claims`: each field's
    name, mailbox, and the addresses that its display name shows."""

    author: Address
    claims: tuple[tuple[str, Address, tuple[tuple[str, str], ...]], ...]

    def check(self, tx: Tx, account: Account) -> None:
        """Raises NotOwn for what the account may not use."""
        for field, address, shown in self.claims:
            if not senders.may_use(tx, account, address):
                raise NotOwn(field, f"it is {address}, which is not yours")
            for local_part, domain in shown:
                if senders.poses_as_another(tx, account, local_part, domain):
                    raise NotOwn(field, f"its name shows {local_part}@{domain}, which is not yours")


def is_identity(name: bytes) -> bool:
    """Whether a header field of this name, in lower case, says who a message is from."""
    return name in FIELDS


def read(headers: Iterable[tuple[bytes, bytes]]) -> Identity:
    """Reads the fields of a message. Raises NotOwn."""
    found = [(name.strip().lower(), value) for name, value in headers]
    found = [(name, value) for name, value in found if name in FIELDS]
    authors = [name for name, _ in found if name == b"from"]
    if len(authors) != 1:
        raise NotOwn("From", "there is more than one From field" if authors else "there is no From field")
    if len(found) > MOST_FIELDS:
        raise NotOwn("Resent-From", "there are too many fields of this kind")
    claims = tuple(_claim(FIELDS[name], value) for name, value in found)
    if sum(len(shown) for _, _, shown in claims) > header_from.MOST_SHOWN:
        raise NotOwn("From", "the names show too many addresses")
    author = next(address for field, address, _ in claims if field == "From")
    return Identity(author, claims)


def _claim(field: str, value: bytes) -> tuple[str, Address, tuple[tuple[str, str], ...]]:
    try:
        mailbox = header_from.parse(value)
        return field, mailbox.address, tuple(header_from.shown_addresses(mailbox.shown))
    except Unclear:
        raise NotOwn(field, EXAMPLE) from None
