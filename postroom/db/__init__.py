"""The database: one SQL text for SQLite and PostgreSQL, one transaction a request, one
group-committing writer.

Nothing outside this package knows a driver, and nothing asks which engine it has: an engine hands
out a reader and a writer. `read` runs outside a transaction and sees each statement's own snapshot;
what must be decided is decided by a statement inside `write`.
"""

from postroom.db.database import Database, open_database
from postroom.db.migrations import NewerSchema, check_known, migrate
from postroom.db.tx import Row, Tx
from postroom.errors import NoMailRole

__all__ = ["Database", "NewerSchema", "NoMailRole", "Row", "Tx", "check_known", "migrate", "open_database"]
