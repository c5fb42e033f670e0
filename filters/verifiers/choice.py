"""`choice`: multiple choice. The option a response settles on is the right one.

The reference is a letter, or the text of an option; options are in the column `choices` or `options` (a list of texts,
or {"text": […], "label": […]}), or stand as lettered lines in the prompt. The choice is looked for from the clearest
form to the least: boxed, "the answer is (B)", a letter by itself at the start or the end, the text of exactly one
option.
"""

import re

from filters.response.extract import conclusion, last_boxed, plain
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierSettings

_LETTERS = "ABCDEFGHIJ"
_LINE = re.compile(r"^\W{0,4}([A-J])[).:\]]\s*(\S[^\n]*)$", re.MULTILINE)
_STATED = re.compile(
    r"\b(?:answer|choice|option|choose|pick|select)\b[^\n.]{0,30}?[\s:(*\[]([A-J])(?![\w'])(?=[\s).:,;*\]]|$)",
    re.IGNORECASE,
)
_ALONE = re.compile(r"^\W*([A-J])\W*$|^[\W_]*\(?([A-J])[).:](?:\s|\*|$)", re.MULTILINE)


def checker(settings: VerifierSettings) -> Check:
    """The check."""
    return _check


def _check(response: str, task: Task) -> Verdict:
    options = options_of(task)
    right = _reference(task, options)
    if right is None:
        return Verdict(UNSCORABLE, None, "the reference names no option" if task.reference else "no reference")
    chosen = _chosen(conclusion(response), options)
    if chosen is None:
        return Verdict(WRONG, None, "no single choice found")
    return Verdict(RIGHT, chosen) if chosen == right else Verdict(WRONG, chosen, f"not {right}")


def options_of(task: Task) -> dict[str, str]:
    """The options by their letter; empty where only letters are known."""
    given = task.columns.get("choices") or task.columns.get("options")
    if isinstance(given, dict) and isinstance(given.get("text"), list):
        labels = given.get("label") or _LETTERS
        return {str(label).upper(): str(text) for label, text in zip(labels, given["text"], strict=False)}
    if isinstance(given, list):
        return dict(zip(_LETTERS, map(str, given), strict=False))
    return dict(_LINE.findall(task.prompt))


def _reference(task: Task, options: dict[str, str]) -> str | None:
    """The letter of the right option: named by letter, by its text, or stated as a response would."""
    if task.reference is None:
        return None
    reference = conclusion(task.reference)
    text = plain(reference)
    if len(text) == 1 and text.upper() in (options or _LETTERS):
        return text.upper()
    same = [label for label, option in options.items() if _key(option) == _key(text)]
    return same[0] if len(same) == 1 else _chosen(reference, options)


def _chosen(text: str, options: dict[str, str]) -> str | None:
    """The label that a response settles on; None where it settles on none, or on several."""
    labels = set(options or _LETTERS)
    if (boxed := last_boxed(text)) is not None:
        inner = plain(re.sub(r"\\text(?:bf)?\{([^{}]*)\}", r"\1", boxed)).strip("() ")
        return inner.upper() if inner.upper() in labels else _by_text(inner, options)
    stated = [
        match[1].upper() for match in _STATED.finditer(text) if match[1].isupper() or match[0].rstrip().endswith(")")
    ]
    if stated:
        return stated[-1] if stated[-1] in labels else None
    alone = {(match[1] or match[2]) for match in _ALONE.finditer(text)} & labels
    if len(alone) == 1:
        return alone.pop()
    return _by_text(text, options) if not alone else None


def _by_text(text: str, options: dict[str, str]) -> str | None:
    """The one option whose text is the response, or is named in it while no other is."""
    key = _key(text)
    same = [label for label, option in options.items() if _key(option) == key]
    named = same or [label for label, option in options.items() if _key(option) and f" {_key(option)} " in f" {key} "]
    return named[0] if len(named) == 1 else None


def _key(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))
