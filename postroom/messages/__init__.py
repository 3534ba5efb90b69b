"""Messages: what is in one, and reading the messages of an account over IMAP."""
