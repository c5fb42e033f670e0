"""`exact`: the response is the reference, white space, case and a full stop at the end aside."""

from filters.extract import conclusion
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Settings, Task, Verdict


def checker(settings: Settings) -> Check:
    """The check."""
    return _check


def _check(response: str, task: Task) -> Verdict:
    if task.reference is None or not task.reference.strip():
        return Verdict(UNSCORABLE, None, "no reference")
    answer = " ".join(conclusion(response).split())
    if _key(answer) == _key(" ".join(conclusion(task.reference).split())):
        return Verdict(RIGHT, answer)
    return Verdict(WRONG, answer, "not the reference")


def _key(text: str) -> str:
    return text.casefold().removesuffix(".")
