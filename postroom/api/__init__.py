"""The HTTP edge: it parses strictly, hashes, runs one transaction and answers."""
