"""Whether a response has a form: a pattern found in all of it, its thoughts included.

The verifier `regex` looks at what a response says after its thoughts.
"""

import re

from filters.verdict import RIGHT, WRONG, Verdict

PATH = f"{__name__}:has_form"
"""Where workers find the check."""


def has_form(response: str, reference: str) -> Verdict:
    """The check, of the verifier that `PATH` names; the pattern is in the place of the reference."""
    match = re.search(reference, response)
    return Verdict(RIGHT, match[0]) if match else Verdict(WRONG, None, "it has not the form")
