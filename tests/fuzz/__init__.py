"""Fuzz targets: hypothesis generates input from strangers for the parsers. `conftest.py` decides
how much."""
