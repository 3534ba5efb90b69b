"""Starts, watches and ends child processes. This package knows nothing about mail."""
