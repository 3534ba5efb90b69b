"""Backups: made, encrypted, verified and restored."""
