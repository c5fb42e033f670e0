"""Who else may refuse a run before it begins, such as a repository it is to be pushed to that holds another."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from synth.data.run.record import RunRecord

Check = Callable[[RunRecord], None]
"""Refuses a run by its record, which has no rows yet, with UsageError."""

_checks: list[tuple[str, Check]] = []


@contextmanager
def checked_by(check: Check, output: str | os.PathLike[str]) -> Iterator[None]:
    """Have runs with this output checked, until the block ends."""
    entry = os.fspath(output), check
    _checks.append(entry)
    try:
        yield
    finally:
        _checks.remove(entry)


def check_beginning(record: RunRecord, output: str | None) -> None:
    """Check a run that is about to begin.

    Raises:
        UsageError: somebody refuses it.
    """
    for of, check in _checks:
        if of == output:
            check(record)
