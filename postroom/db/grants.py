"""Who may read the mail_* views on PostgreSQL. Without the driver, which a start on SQLite does not
load.

A view that is made again has lost its grants, so whoever migrates gives them anew.
"""

from postroom.db.tx import Tx

HOLDERS = """
SELECT DISTINCT grantee FROM information_schema.role_table_grants
WHERE table_schema = current_schema() AND table_name = :view AND privilege_type = 'SELECT'
  AND grantee <> current_user AND grantee <> 'PUBLIC'"""


class NoMailRole(Exception):
    """The daemons have no role that they can use; the text is one line for the operator, with
    the SQL that helps."""


def holders(tx: Tx, views: list[str]) -> list[str]:
    """The roles that may read one of these views, beside its owner."""
    return sorted({str(grantee) for view in views for (grantee,) in tx.all(HOLDERS, view=view)})


def grant(tx: Tx, views: list[str], role: str) -> None:
    """Lets a role read these views."""
    name = role.replace('"', '""')
    tx.run(f'GRANT SELECT ON {", ".join(views)} TO "{name}"')
