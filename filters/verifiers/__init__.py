"""Verifiers, one file each: `checker(settings)` makes the check; `gold(task)`, if defined, is a right response."""
