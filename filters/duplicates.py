"""Finds rows that duplicate another row: exactly or nearly. The earlier row stays.

Near duplicates are texts alike by the Jaccard index of their sets of word n-grams (shingles). These are three words
wide, not the five usual for web pages: one word changed in a prompt of 20 words leaves an index of 0.71 with three and
0.52 with five.

Rows may be taken some at a time, and may be more than memory holds: what is needed of them lies on disk. Memory holds
some 30 bytes a row for exact duplicates; for near ones `filters.twins` says what.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import polars as pl

from filters.minhash import Signatures, followers_of
from filters.spill import Texts
from filters.twins import find_twins
from filters.words import Hashes, Words, mix, normalise, row_sums, split

SHINGLE_WORDS = 3

_ID_LENGTH = 80
_REASONS = 1 << 15
"""Rows whose reasons are made at a time."""


def check_threshold(threshold: float) -> None:
    """Check a similarity threshold (of a Jaccard index or a cosine).

    Raises:
        ValueError: outside of (0, 1].
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"a similarity threshold is above 0 and at most 1, not {threshold}")


def check_shingle(n: int) -> None:
    """Refuse shingles of no words.

    Raises:
        ValueError: for n under 1.
    """
    if n < 1:
        raise ValueError(f"a shingle has at least one word, not {n}")


class _Duplicates(ABC):
    """Rows that duplicate another: `add` them, some at a time, then take the `reasons`, once.

    Args:
        column: what to compare.
        against: rows with an `id` and the column that those added must not duplicate; these are then not compared with
            one another.
    """

    def __init__(self, column: str, against: Iterable[pl.DataFrame] | None) -> None:
        self._column = column
        self._names = Texts()
        self._seeds = 0
        for frame in against or ():
            self.add(frame)
        self._seeds = len(self._names)
        self._grow = against is None

    def add(self, frame: pl.DataFrame) -> None:
        """Take the next rows, with an `id` and the column.

        Raises:
            SpillError: the disk is full.
        """
        self._names.add(names_of(frame, len(self._names) - self._seeds))
        self._take(frame[self._column].cast(pl.String))

    def reasons(self) -> Iterator[pl.Series]:
        """The reasons of all rows in their order, some at a time; null where a row duplicates none."""
        rows, twins, *more = self._found()
        for first in range(self._seeds, len(self._names), _REASONS):
            last = min(first + _REASONS, len(self._names))
            reasons: list[str | None] = [None] * (last - first)
            some = slice(*np.searchsorted(rows, [first, last]))
            names = self._names.read(twins[some])
            about = (part[some].tolist() for part in (rows, *more))
            for name, row, *rest in zip(names, *about, strict=True):
                reasons[row - first] = self._reason(name, *rest)
            yield pl.Series("reason", reasons, pl.String)

    @abstractmethod
    def _take(self, texts: pl.Series) -> None: ...

    @abstractmethod
    def _found(self) -> tuple[np.ndarray[Any, Any], ...]:
        """The rows that fall, in their order, the row that each duplicates, and what else `_reason` takes."""

    @abstractmethod
    def _reason(self, name: str, *about: Any) -> str: ...


class ExactDuplicates(_Duplicates):
    """Rows whose words are those of an earlier row: case, white space, punctuation and Unicode form aside.

    Rows are told apart by 64-bit hashes; among a million rows the chance of one false pair is 3 in 10^8. A text
    without words (emoji, rules) is compared by its characters. An empty text is never a duplicate.

    The reasons are `exact duplicate: of ID`.
    """

    def __init__(self, column: str = "text", against: Iterable[pl.DataFrame] | None = None) -> None:
        self._keys = [np.zeros(0, np.uint64)]
        super().__init__(column, against)

    def _take(self, texts: pl.Series) -> None:
        texts = texts.fill_null("")
        keys = np.concatenate([np.zeros(0, np.uint64), *map(_text_keys, split(texts, operators=True))])
        wordless = np.flatnonzero(keys == 0)
        characters = normalise(texts.gather(wordless)).str.replace_all(r"[\s\p{Cc}\p{Cf}]+", "")
        keys[wordless] = np.where((characters == "").to_numpy(), np.uint64(0), characters.hash(seed=1).to_numpy())
        self._keys.append(keys)

    def _found(self) -> tuple[np.ndarray[Any, Any], ...]:
        rows, twins = followers_of(np.concatenate(self._keys))
        found = (rows >= self._seeds) & (self._grow | (twins < self._seeds))
        return rows[found], twins[found]

    def _reason(self, name: str, *about: Any) -> str:
        return f"exact duplicate: of {name}"


class NearDuplicates(_Duplicates):
    """Rows alike to an earlier row that stays, or with `against`, to any row of another set.

    A row is compared with rows that stay and not with those that fell, so in a chain of texts, each a little
    different from the last, some remain. It falls to the row most alike to it. The set of a text of fewer words than a
    shingle is the whole text.

    The reasons are `near duplicate: of ID, similarity 0.83`.

    Args:
        column: what to compare.
        threshold: least Jaccard index of two texts' shingles at which they are duplicates, in (0, 1].
        against: rows with an `id` and the column that those added must not be alike; these are then not compared with
            one another.
        n: words in a shingle.

    Raises:
        ValueError: for a threshold outside of (0, 1], or an `n` under 1.
    """

    def __init__(
        self,
        column: str = "text",
        threshold: float = 0.7,
        against: Iterable[pl.DataFrame] | None = None,
        n: int = SHINGLE_WORDS,
    ) -> None:
        check_threshold(threshold)
        check_shingle(n)
        self._threshold = threshold
        self._signed = Signatures(n, threshold)
        super().__init__(column, against)

    def _take(self, texts: pl.Series) -> None:
        self._signed.add(texts)

    def _found(self) -> tuple[np.ndarray[Any, Any], ...]:
        return find_twins(self._signed, self._threshold, self._seeds, self._grow)

    def _reason(self, name: str, *about: Any) -> str:
        return f"near duplicate: of {name}, similarity {about[0]:.2f}"


def exact_duplicates(frame: pl.DataFrame, column: str = "text", against: pl.DataFrame | None = None) -> pl.Series:
    """The reasons of `ExactDuplicates` for the rows of one frame."""
    return _reasons(ExactDuplicates(column, None if against is None else [against]), frame)


def near_duplicates(
    frame: pl.DataFrame,
    column: str = "text",
    threshold: float = 0.7,
    against: pl.DataFrame | None = None,
    n: int = SHINGLE_WORDS,
) -> pl.Series:
    """The reasons of `NearDuplicates` for the rows of one frame.

    Raises:
        ValueError: for a threshold outside of (0, 1], or an `n` under 1.
    """
    return _reasons(NearDuplicates(column, threshold, None if against is None else [against], n), frame)


def names_of(frame: pl.DataFrame, first: int = 0) -> list[str]:
    """The name of each row in a reason: its id, cut where it is very long, or its number, counted from `first`."""
    numbered = pl.Series([f"row {number}" for number in range(first, first + len(frame))], dtype=pl.String)
    return frame["id"].cast(pl.String).str.slice(0, _ID_LENGTH).zip_with(frame["id"].is_not_null(), numbered).to_list()


def _reasons(duplicates: _Duplicates, frame: pl.DataFrame) -> pl.Series:
    duplicates.add(frame)
    return pl.concat([pl.Series("reason", [], pl.String), *duplicates.reasons()])


def _text_keys(piece: Words) -> Hashes:
    """A hash of each row's words in their order, 0 for a row without."""
    places = np.arange(len(piece.hashes)) - np.repeat(piece.starts[:-1], piece.lengths)
    return row_sums(mix(piece.hashes ^ mix(places.astype(np.uint64))), piece.starts)
