"""Evaluation: suites of tasks, models' answers to them, and what was kept and lost between models."""
