"""The contents of mailboxes, their open sessions, and how sessions are ended."""
