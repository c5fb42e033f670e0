"""`synth.plan`: what a run of any size will take, from a preview of it or a run that was measured."""

import os
from collections.abc import Iterator, Sequence
from itertools import islice

from synth.api.dataset import Dataset
from synth.errors import UsageError
from synth.generation.estimate import Measured, Plan
from synth.values import Devices, Rows, checked

SIZES = (1_000_000, 100_000_000)
"""Rows that are planned for where nothing else is said."""
READ = 2_000
"""Accepted and rejected rows that are read to know how lengths vary."""


@checked
def plan(
    source: Dataset | str | os.PathLike[str], *, rows: Sequence[Rows] = (), devices: Devices | None = None
) -> Plan:
    """What runs take: attempts, tokens, time on so many GPUs, and money where prices were given.

    It is reckoned from the record of a run, or of a preview of one: the share of accepted attempts, the tokens and the
    seconds of each. Rows are those accepted; where a run takes every row of its input once, those of the input.

    Args:
        source: the directory of a run that rows came out of, finished or not, or the data set that a function returned,
            also of a `synth.Preview`.
        rows: sizes of runs; by default the whole run where it is not done, 1,000,000 and 100,000,000 rows.
        devices: GPUs on which the run was made, or engines elsewhere; by default as recorded: those of vLLM in
            process, else 1.

    Raises:
        UsageError: there is no record, nothing was attempted, no row was accepted, or the record has no seconds, or no
            tokens of a model.
    """
    data = source if isinstance(source, Dataset) else Dataset(source)
    if data.record is None:
        raise UsageError(f"{data} has no record of a run: give the directory that one wrote")
    measured = Measured(data.record, [*_lengths(data)], devices)
    whole = measured.whole
    unfinished = [] if whole is None or data.record.accepted >= whole else [whole]
    return Plan(measured, tuple(map(measured.need, rows or dict.fromkeys([*unfinished, *SIZES]))))


def _lengths(data: Dataset) -> Iterator[int]:
    """Characters of some attempts, which vary as tokens do."""
    for side in filter(None, (data, data.rejected)):
        for row in islice(side, READ):
            turns = row.get("messages") or ()
            yield sum(len(str(part)) for turn in turns for name, part in turn.items() if name != "role" and part)
