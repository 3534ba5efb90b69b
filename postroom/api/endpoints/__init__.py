"""The endpoints of the API, one file a noun, and how each noun looks in an answer."""
