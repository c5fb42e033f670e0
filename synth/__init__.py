"""Data in the model's own words: make it, score it, mix it, train on it, and see what was kept."""

__version__ = "0.1.0"
