"""`number`: the number that a response ends in equals the reference's. The cheap cousin of `math`.

Compared are exact values: `1,234.50`, `1234.5`, `3/4` and `0.75` and `7.5e-1`, `$5`, `5 cm` and `5%` (a percent sign is
a unit here: 5% equals 5). A decimal that was rounded (`0.33` for 1/3) is not equal, to whatever digit; what `math` has
of that is said in `filters.mathematics.equality`.
"""

from filters.mathematics.notation import characters
from filters.response.extract import conclusion, final_answer, first_number, last_number, number_of
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierSettings


def checker(settings: VerifierSettings) -> Check:
    """The check."""
    return _check


def _check(response: str, task: Task) -> Verdict:
    expected = None if task.reference is None else _number(task.reference)
    value = None if expected is None else number_of(expected)
    if value is None:
        return Verdict(UNSCORABLE, None, "no reference" if task.reference is None else "the reference holds no number")
    answer = _number(response)
    if answer is None:
        return Verdict(WRONG, None, "no number found")
    return Verdict(RIGHT, answer) if number_of(answer) == value else Verdict(WRONG, answer, f"not {expected}")


def _number(text: str) -> str | None:
    """The number in what is given as the answer ("the answer is 98 - 30 = 68 rolls": 68), or else the last one."""
    answer = final_answer(text)
    return (first_number(answer.rpartition("=")[2]) if answer else None) or last_number(characters(conclusion(text)))
