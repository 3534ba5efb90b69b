"""Postfix: its templates, its queue, its look-ups."""
