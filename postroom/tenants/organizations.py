"""Organizations: the tenants. The operator names them; nobody else can make or see one but its
own keys."""

from postroom.db import Tx
from postroom.errors import Refused, not_found

# The operator's own, which has the mail host's domain. Nobody else can name it: the operator alone
# makes organizations.
OPERATOR = "operator"

INSERT = """
INSERT INTO organizations (name, created_at) VALUES (:name, :now)
ON CONFLICT (name) DO NOTHING RETURNING id"""
# An update that changes nothing: it keeps nobody from making what belongs to the organization.
LOCK = "UPDATE organizations SET name = name WHERE id = :id"
NAME = "SELECT name FROM organizations WHERE id = :id"
FIND = "SELECT id FROM organizations WHERE name = :name"
NAMES = "SELECT name FROM organizations ORDER BY name LIMIT 20"


def ensure(tx: Tx, name: str) -> int:
    """The id of the organization of this name, made when it is new."""
    row = tx.one(INSERT, name=name, now=tx.now) or tx.one(FIND, name=name)
    if row is None:
        raise LookupError("an organization that exists and cannot be found")
    return int(row[0])


def exists(tx: Tx, name: str) -> bool:
    """Whether there is an organization of this name."""
    return tx.one(FIND, name=name) is not None


def lock(tx: Tx, organization_id: int) -> None:
    """From here to the end of the transaction nobody else holds the organization."""
    tx.run(LOCK, id=organization_id)


def get(tx: Tx, name: str) -> int:
    """The id of an organization that exists. Raises not_found, which tells the operator which
    there are."""
    row = tx.one(FIND, name=name)
    if row is None:
        names = ", ".join(str(row[0]) for row in tx.all(NAMES))
        none = "There are no organizations: is this the right data directory (POSTROOM_DATA)? "
        there = f"There are: {names}. " if names else none
        detail = f"There is no organization {name}. {there}`postroom keys create --organization NAME` makes one."
        raise Refused("not_found", detail)
    return int(row[0])


def name_of(tx: Tx, organization_id: int) -> str:
    """What the operator has called it."""
    row = tx.one(NAME, id=organization_id)
    if row is None:
        raise LookupError("a key without an organization")
    return str(row[0])


def is_operators(tx: Tx, organization_id: int) -> bool:
    """Whether this is the operator's own organization."""
    row = tx.one(NAME, id=organization_id)
    return row is not None and row[0] == OPERATOR


def check(tx: Tx, organization_id: int, sent: int | str) -> None:
    """Raises not_found unless what a caller has sent, an id or a name, is his own organization."""
    row = tx.one(NAME, id=organization_id)
    if row is None or str(sent) not in (str(organization_id), row[0]):
        raise not_found()
