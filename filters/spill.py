"""What filters keep of rows on disk, so that there may be more rows than memory holds.

The files are temporary ones without a name: nothing is left of them, whatever ends the process. They lie in the folder
that TMPDIR names, as those of `sort` do.
"""

import itertools
import mmap
import os
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from filters.words import Places


class SpillError(OSError):
    """The disk failed that temporary files lie on, or is full."""


_MAPPED = 1 << 28
"""Bytes read through a map, after which its pages are given back: they count as memory of the process until then."""


_AROUND = 1 << 16
"""Bytes around what is read that Linux maps as well."""


class Spill:
    """Arrays in a file, appended and read again by their place."""

    def __init__(self) -> None:
        try:
            self._file = tempfile.TemporaryFile(prefix="synth-", buffering=0)  # noqa: SIM115 (lives as long as this)
        except OSError as error:
            raise _failure(error) from error
        self._size = 0

    def add(self, values: NDArray[Any]) -> int:
        """Append an array.

        Returns:
            Where it begins, in bytes.

        Raises:
            SpillError: the disk is full or not writable.
        """
        at = self._size
        left = memoryview(np.ascontiguousarray(values).tobytes())
        try:
            while left:
                written = self._file.write(left)
                self._size += written
                left = left[written:]
        except OSError as error:
            raise _failure(error) from error
        return at

    def read(self, at: int, count: int, dtype: DTypeLike) -> NDArray[Any]:
        """So many values from a place on, in bytes."""
        return np.frombuffer(os.pread(self._file.fileno(), count * np.dtype(dtype).itemsize, at), dtype)

    def mapped(self) -> mmap.mmap:
        """What is in the file, to be read here and there."""
        there = mmap.mmap(self._file.fileno(), self._size, prot=mmap.PROT_READ)
        there.madvise(mmap.MADV_RANDOM)
        return there


class Ragged:
    """Arrays of various lengths, one a row, in a file: first they are added, then read.

    Memory holds where each begins: 8 bytes a row.
    """

    def __init__(self, dtype: DTypeLike) -> None:
        self._dtype = np.dtype(dtype)
        self._file = Spill()
        self._starts = np.zeros(1, np.int64)
        self._rows = 0
        self._map: mmap.mmap | None = None
        self._read = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, values: NDArray[Any], lengths: Places) -> None:
        """Append rows: their values one after another, and the length of each."""
        self._file.add(values)
        end = self._rows + len(lengths)
        if end >= len(self._starts):
            grown = np.empty(end + end // 8 + 1, np.int64)
            grown[: self._rows + 1] = self._starts[: self._rows + 1]
            self._starts = grown
        self._starts[self._rows + 1 : end + 1] = self._starts[self._rows] + np.cumsum(lengths)
        self._rows = end

    def lengths(self, rows: Places) -> Places:
        """The lengths of some rows."""
        lengths: Places = self._starts[rows + 1] - self._starts[rows]
        return lengths

    def read(self, rows: Places) -> NDArray[Any]:
        """The values of some rows, one row after another."""
        lengths = self.lengths(rows)
        ends = np.cumsum(lengths)
        count = int(ends[-1]) if len(ends) else 0
        if not count:
            return np.zeros(0, self._dtype)
        if self._map is None:
            self._map = self._file.mapped()
        values: NDArray[Any] = np.frombuffer(self._map, self._dtype)[
            np.arange(count) + np.repeat(self._starts[rows] - ends + lengths, lengths)
        ]
        self._read += values.nbytes + len(rows) * _AROUND
        if self._read > _MAPPED:
            self._map.madvise(mmap.MADV_DONTNEED)
            self._read = 0
        return values


class Texts:
    """Texts in a file, one a row."""

    def __init__(self) -> None:
        self._bytes = Ragged(np.uint8)

    def __len__(self) -> int:
        return len(self._bytes)

    def add(self, texts: Sequence[str]) -> None:
        """Append texts, in their order."""
        encoded = [text.encode() for text in texts]
        joined = np.frombuffer(b"".join(encoded), np.uint8)
        self._bytes.add(joined, np.fromiter(map(len, encoded), np.int64, len(encoded)))

    def read(self, rows: Places) -> list[str]:
        """Some of the texts."""
        joined, ends = self._bytes.read(rows).tobytes(), np.cumsum(self._bytes.lengths(rows)).tolist()
        return [joined[begin:end].decode() for begin, end in itertools.pairwise([0, *ends])]


def _failure(error: OSError) -> SpillError:
    return SpillError(
        error.errno,
        f"cannot write temporary files to {tempfile.gettempdir()}: {error.strerror or error}; free some space, or name "
        "another folder by the environment variable TMPDIR",
    )
