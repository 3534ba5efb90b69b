"""The schema of the database, and what the mail daemons ask it."""
