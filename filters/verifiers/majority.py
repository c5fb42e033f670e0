"""`majority`: self-consistency, for tasks without a reference (Wang et al. 2022, arXiv 2203.11171).

The answer that most samples of a task end in is taken for right. One sample by itself cannot be judged: its answer is
extracted, and `vote` decides once all are there.
"""

from collections import Counter
from collections.abc import Sequence

from filters.response.extract import final_answer
from filters.verdict import RIGHT, UNSCORABLE, WRONG, Check, Task, Verdict, VerifierSettings

LEAST = 2
"""Votes that the most frequent answer needs."""


def checker(settings: VerifierSettings) -> Check:
    """The answer of one response, to be voted on."""

    def check(response: str, task: Task) -> Verdict:
        answer = final_answer(response)
        return Verdict(UNSCORABLE, answer, "no answer found" if answer is None else "one vote")

    return check


def vote(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Verdicts on all samples of one task, in their order: `right` are those with the most frequent answer.

    All are `unscorable` where no answer has `LEAST` votes, or two have the most.
    """
    keys = [None if verdict.answer is None else _key(verdict.answer) for verdict in verdicts]
    ranked = Counter(key for key in keys if key is not None).most_common(2)
    if not ranked or ranked[0][1] < LEAST or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        reason = f"no majority: {ranked[0][1]} of {len(verdicts)} at most agree" if ranked else "no answer found"
        return [Verdict(UNSCORABLE, verdict.answer, reason) for verdict in verdicts]
    winner, votes = ranked[0]
    outvoted = f"{votes} of {len(verdicts)} say {winner}"
    return [
        Verdict(RIGHT, verdict.answer) if key == winner else Verdict(WRONG, verdict.answer, outvoted)
        for verdict, key in zip(verdicts, keys, strict=True)
    ]


def _key(answer: str) -> str:
    """What equal answers share: white space, case and the commas of thousands aside."""
    text = " ".join(answer.split()).casefold().rstrip(".")
    return text.replace(",", "") if text.replace(",", "").replace(".", "").lstrip("-$").isdigit() else text
