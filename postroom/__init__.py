"""Postroom: a real mailbox for every user of a platform, with one HTTP call."""

__version__ = "0.1.0"
