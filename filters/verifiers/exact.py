"""`exact`: the response is the reference, white space, case and a full stop at the end aside.

Where the row has several right answers, as SQuAD's `answers` ({"text": […], …}), it may be any of them.
"""

from collections.abc import Mapping

from filters.response.extract import conclusion
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierSettings


def checker(settings: VerifierSettings) -> Check:
    """The check."""
    return _check


def _check(response: str, task: Task) -> Verdict:
    if task.reference is None or not task.reference.strip():
        return Verdict(UNSCORABLE, None, "no reference")
    answer = " ".join(conclusion(response).split())
    if _key(answer) in {_key(" ".join(conclusion(text).split())) for text in (task.reference, *_others(task))}:
        return Verdict(RIGHT, answer)
    return Verdict(WRONG, answer, "not the reference")


def _others(task: Task) -> list[str]:
    answers = task.columns.get("answers")
    texts = answers.get("text") if isinstance(answers, Mapping) else None
    return [text for text in texts if isinstance(text, str) and text.strip()] if isinstance(texts, list) else []


def _key(text: str) -> str:
    return text.casefold().removesuffix(".")
