"""Evaluation: suites, what models answer, and what was kept and lost between them."""
