"""Runs many sequences through a model in batches of similar length, as large as memory allows."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from synth.errors import RunError

Result = TypeVar("Result")


class LengthBatches:
    """Batches of sequences of similar length, which are halved when memory runs out.

    Attributes:
        budget: tokens of one batch, padding included, at most (a longer sequence goes alone). Lower once memory has run
            out: it does not run out again and again.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget

    def run(
        self,
        lengths: Sequence[int],
        forward: Callable[[list[int]], Sequence[Result]],
        too_long: Callable[[int], Result] | None = None,
    ) -> list[Result]:
        """The results of all sequences, in the order given.

        Args:
            lengths: tokens of each sequence, at least one.
            forward: computes the results of some sequences, given by their indices, the longest last.
            too_long: makes the result of a sequence, from its length, that does not fit in memory even alone.

        Raises:
            RunError: a sequence does not fit in memory even alone, and there is no `too_long`.
        """
        from synth.engines.device import out_of_memory

        results: dict[int, Result] = {}
        left = sorted(range(len(lengths)), key=lambda index: lengths[index])
        while left:  # the longest first: if memory runs out, it does so at once
            longest = lengths[left[-1]]
            count = max(1, min(len(left), self.budget // longest))
            batch = left[-count:]
            try:
                made = forward(batch)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if count > 1:
                    self.budget = count * longest // 2
                    continue
                if too_long is None:
                    fault = f"out of memory on one sequence of {longest} tokens: lower `max_length`"
                    raise RunError(fault) from error
                made = [too_long(longest)]
            results.update(zip(batch, made, strict=True))
            del left[-count:]
        return [results[index] for index in range(len(lengths))]
