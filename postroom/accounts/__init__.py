"""Accounts: their rows, commands, lists, addresses and passwords."""
