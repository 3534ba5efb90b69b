"""The HTTP edge: parse strictly, hash, run one transaction, answer."""
