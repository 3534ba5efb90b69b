"""Postfix: its templates, its queues, its look-ups."""
