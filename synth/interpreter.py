"""Python beside this process: other interpreters that import what this one does."""

import os
import sys


def python(code: str) -> list[str]:
    """The command of an interpreter that runs some code.

    It imports from where this one does. The working directory, which `python -c` puts first, is last if this one looks
    there at all: so a file of the user's that has the name of a module of ours, or of Python's, does not stand for it.
    """
    ours = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # an editable installation has it in no place
    places = [ours, *map(os.path.abspath, sys.path)]
    found = f"import sys; sys.path += [place for place in {places!r} if place not in sys.path]"
    return [sys.executable, "-P", "-c", f"{found}; {code}"]
