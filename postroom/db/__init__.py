"""The database: the same SQL for SQLite and PostgreSQL, one transaction per request, and one writer
that commits many transactions at once.

No code outside this package uses a driver, and no code asks which engine is in use: an engine hands
out a reader and a writer. `read` runs outside a transaction, so each statement sees its own
snapshot. A decision that other writes could change belongs in a statement inside `write`.
"""

from postroom.db.database import Database, load_driver, open_database
from postroom.db.migrations import NewerSchema, check_known, migrate
from postroom.db.tx import Row, Tx
from postroom.errors import NoMailRole

__all__ = [
    "Database",
    "NewerSchema",
    "NoMailRole",
    "Row",
    "Tx",
    "check_known",
    "load_driver",
    "migrate",
    "open_database",
]
