"""Webhooks: URLs that the events of an organization are sent to, signed."""
