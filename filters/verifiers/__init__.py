"""Verifiers, one file each: `checker(settings)` makes the check. `registry` lists them, with what each can do."""
