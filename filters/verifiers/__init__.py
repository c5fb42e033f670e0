"""Verifiers, one file each: `checker(settings)` makes the check; `gold(task)`, if defined, is the reference's response."""
