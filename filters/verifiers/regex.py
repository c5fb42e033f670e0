"""`regex`: a pattern is found in what the response says after its thoughts.

The pattern is `VerifierSettings.pattern`, or the row's reference. Time is the worker's to limit.
"""

import re

from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierError, VerifierSettings


def checker(settings: VerifierSettings) -> Check:
    """The check.

    Raises:
        VerifierError: the pattern is no regular expression.
    """
    try:
        fixed = None if settings.pattern is None else re.compile(settings.pattern)
    except re.error as error:
        raise VerifierError(f"`pattern` {settings.pattern!r} is no regular expression: {error}") from error

    def check(response: str, task: Task) -> Verdict:
        pattern = fixed
        if pattern is None:
            if not task.reference:
                return Verdict(UNSCORABLE, None, "no pattern: neither `pattern` nor a reference")
            try:
                pattern = re.compile(task.reference)
            except re.error as error:
                return Verdict(UNSCORABLE, None, f"the reference is no regular expression: {error}")
        match = pattern.search(response)
        return Verdict(RIGHT, match[0]) if match else Verdict(WRONG, None, "the pattern is not found")

    return check
