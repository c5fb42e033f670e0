"""Data sets elsewhere: object stores and whatever else fsspec knows an address of."""
