"""Fuzz targets: what strangers send, thrown at our parsers by hypothesis. `conftest.py` decides
how much of it."""
