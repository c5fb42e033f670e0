r"""`math`: whether the final answer equals the reference's, as mathematics.

The answer of a response (`filters.mathematics.answers`) is what its last `\boxed{}` holds, or the last boxes that
belong together; what follows `####` or "the answer is"; or else the last formula or quantity. It is brought to one
notation (`filters.mathematics.notation`), and compared with the reference's (`filters.mathematics.equality`): words,
dates, units, lists, matrices and numbers as what they are, and what is left by math-verify, a parser of LaTeX into
sympy.
"""

import logging

from filters.mathematics.answers import answer_of, reference_answer
from filters.mathematics.equality import equal_answers
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierSettings


def checker(settings: VerifierSettings) -> Check:
    """The check, with math-verify loaded: that takes longer than most checks."""
    import math_verify

    assert math_verify
    logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns that its own time limits are off
    return _check


def _check(response: str, task: Task) -> Verdict:
    if task.reference is None:
        return Verdict(UNSCORABLE, None, "no reference")
    expected = reference_answer(task.reference)
    if expected is None:
        return Verdict(UNSCORABLE, None, "the reference holds no answer")
    answer = answer_of(response)
    if answer is None:
        return Verdict(WRONG, None, "no answer found")
    equal = equal_answers(expected, answer)
    if equal is None:
        return Verdict(UNSCORABLE, answer, f"the reference's answer {expected!r} does not parse")
    return Verdict(RIGHT, answer) if equal else Verdict(WRONG, answer, f"not {expected}")
