"""Curation: filters and selections over the rows of a data set, and what they need of models."""
