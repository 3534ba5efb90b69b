"""Organizations, what they may have at most, and what they use."""
