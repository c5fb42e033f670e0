"""Demonstrations: other rows of the data, shown with their human answers before a task."""

import random
from collections.abc import Callable, Iterable

from filters.response.calls import as_message
from synth.data.row import Message, Row
from synth.errors import UsageError
from synth.seeds import seed_of

POOL = 1_000
"""Demonstrations are chosen among this many of the first rows: they are held in memory."""


def demonstrations(rows: Iterable[Row], shots: int, seed: int) -> Callable[[Row], list[Message]]:
    """A function that chooses, for each row, the turns of `shots` other rows (none for 0).

    Args:
        rows: the data; the first `POOL` of those that have one user turn and a reference are used.
        shots: demonstrations for each row.
        seed: the run's seed.

    Raises:
        UsageError: there are not enough rows to choose from.
    """
    if not shots:
        return lambda _: []
    pool: dict[str, list[Message]] = {}
    for row in rows:
        turns = [turn for turn in row.messages if turn["role"] != "system"]
        if len(turns) == 1 and row.reference:
            pool[turns[0]["content"]] = [*turns, as_message(row.reference)]
        if len(pool) == POOL:
            break
    if len(pool) <= shots:
        raise UsageError(f"`few_shot` {shots} needs more than {shots} rows with a question and a reference")
    questions = list(pool)

    def choose(row: Row) -> list[Message]:
        own = row.messages[-1]["content"] if row.messages else ""
        drawn = random.Random(seed_of(seed, row.id, "shots")).sample(questions, shots + 1)
        others = [question for question in drawn if question != own][:shots]
        return [turn for question in others for turn in pool[question]]

    return choose
