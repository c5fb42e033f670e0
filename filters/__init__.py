"""Curation on the CPU: verifiers, heuristics, duplicates, selection. Never imports a model library."""
