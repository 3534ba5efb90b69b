"""What lies in a mailbox and who is logged in to it, and how sessions are ended."""
