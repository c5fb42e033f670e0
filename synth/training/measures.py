"""Numbers that steps leave on the device, read one step late.

A device is told what to do ahead of time, and to read a number on it is to wait until all of that is done: it then
idles while the next step is prepared. So what a step measured is copied to the host behind the step's own work, and
read after the next step has been given out.
"""

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

import torch

Note = TypeVar("Note")


class Measures(Generic[Note]):
    """Numbers of steps, on their way to the host."""

    def __init__(self) -> None:
        self._coming: deque[tuple[Note, torch.Tensor, torch.cuda.Event | None]] = deque()

    def put(self, note: Note, values: torch.Tensor) -> None:
        """Begin to read the values of a step, of which the host notes what it knows itself."""
        arrived = None
        if values.device.type == "cuda":
            values = values.to("cpu", non_blocking=True)  # to pinned memory
            arrived = torch.cuda.Event()
            arrived.record()
        self._coming.append((note, values, arrived))

    def take(self, *, all_of_them: bool) -> Iterator[tuple[Note, list[float]]]:
        """What steps measured, in order: of all steps, or of all but the last, which may still be at work."""
        while len(self._coming) > (0 if all_of_them else 1):
            note, values, arrived = self._coming.popleft()
            if arrived is not None:
                arrived.synchronize()
            yield note, values.tolist()
