"""Organizations, their limits, and their usage."""
