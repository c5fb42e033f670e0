"""Rows that hold items of benchmarks, by word n-grams shared with them.

After GPT-3 (arXiv 2005.14165, appendix C): a row that has 13 words in a row of a benchmark item holds it. Of texts
of 8 to 12 words, on either side, 8 words in a row are enough; an item of fewer words is found where a prompt or an
answer is the item and nothing else. Case, punctuation, white space and Unicode form do not matter.

An n-gram found in more than 10 items is boilerplate of a benchmark (“write a python function to …”) and says nothing;
an item of nothing but boilerplate is not found.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.words import Hashes, Places, Words, ngram_hashes, ngram_places, split

LONG = 13
SHORT = 8
BOILERPLATE_ITEMS = 10

QUESTION_COLUMNS = ("question", "problem", "prompt", "instruction", "text")
"""Where benchmark files keep what is asked: GSM8K, MATH, HumanEval and MBPP (or its sanitised form), and others."""

_SHOWN_WORDS = 24
_SHOWN_LENGTH = 160

Item = tuple[str, int, str]
"""The benchmark's name, the item's number and its text."""


def question_column(columns: Iterable[str]) -> str:
    """The column of a benchmark file that holds what is asked.

    Raises:
        ValueError: where there is none of QUESTION_COLUMNS.
    """
    present = set(columns)
    for name in QUESTION_COLUMNS:
        if name in present:
            return name
    raise ValueError(f"no column with the question: one of {', '.join(QUESTION_COLUMNS)}")


def contaminated(frame: pl.DataFrame, items: Sequence[Item]) -> pl.Series:
    """Rows whose prompt or answer shares an n-gram with a benchmark item.

    Args:
        frame: rows with a `prompt` and an `answer`.
        items: the benchmarks' texts.

    Returns:
        Reasons with the words found, `contaminated: gsm8k item 17: “natalia sold clips to …”`.
    """
    index = _build([text for _, _, text in items])
    reasons: list[str | None] = [None] * len(frame)
    for column in ("prompt", "answer"):
        for piece in split(frame[column]):
            owners, widths = _match(piece, index)
            for row, at in _first_found(owners, piece.starts):
                if reasons[piece.first + row] is None:
                    benchmark, number, _ = items[owners[at]]
                    shown = _shown(piece, owners, at, int(widths[at]), int(piece.starts[row + 1]))
                    reasons[piece.first + row] = f"contaminated: {benchmark} item {number}: “{shown}”"
    return pl.Series("reason", reasons, pl.String)


@dataclass(frozen=True, slots=True)
class _Grams:
    """N-grams of one width and the first item each is from, sorted by hash."""

    hashes: Hashes
    owners: Places

    def find(self, hashes: Hashes) -> Places:
        """The items these n-grams are from, -1 for none."""
        if not len(self.hashes):
            return np.full(len(hashes), -1, np.int64)
        at = np.minimum(np.searchsorted(self.hashes, hashes), len(self.hashes) - 1)
        return np.where(self.hashes[at] == hashes, self.owners[at], -1)


@dataclass(frozen=True, slots=True)
class _Index:
    """What to look for.

    Attributes:
        long: LONG words in a row, of items that have as many.
        short: SHORT words in a row, of items too short for `long`.
        any_short: SHORT words in a row of all items: for rows too short for `long`.
        whole: by their number of words, the items too short for `short`.
    """

    long: _Grams
    short: _Grams
    any_short: _Grams
    whole: dict[int, _Grams]


def _build(texts: list[str]) -> _Index:
    wide: list[tuple[Hashes, Places]] = []
    narrow: list[tuple[Hashes, Places]] = []
    narrow_of_wide: list[tuple[Hashes, Places]] = []
    whole: dict[int, list[tuple[Hashes, Places]]] = {width: [] for width in range(1, SHORT)}
    for piece in split(pl.Series(texts, dtype=pl.String)):
        wide.append(_grams(piece, LONG, piece.lengths >= LONG))
        narrow.append(_grams(piece, SHORT, piece.lengths < LONG))
        narrow_of_wide.append(_grams(piece, SHORT, piece.lengths >= LONG))
        for width, parts in whole.items():
            parts.append(_grams(piece, width, piece.lengths == width))
    return _Index(
        _without_boilerplate(wide),
        _without_boilerplate(narrow),
        _without_boilerplate(narrow + narrow_of_wide),
        {width: _without_boilerplate(parts) for width, parts in whole.items()},
    )


def _grams(piece: Words, width: int, rows: NDArray[np.bool_]) -> tuple[Hashes, Places]:
    """The hashes of the n-grams of these rows, and the rows."""
    places, row_of = _places(piece, width, rows)
    return ngram_hashes(piece.hashes, places, width), row_of + piece.first


def _places(piece: Words, width: int, rows: NDArray[np.bool_]) -> tuple[Places, Places]:
    """Where the n-grams of these rows begin, and the row of each."""
    places = ngram_places(piece.starts, width)
    row_of = np.repeat(np.arange(len(rows)), piece.lengths)[places]
    chosen = rows[row_of]
    return places[chosen], row_of[chosen]


def _without_boilerplate(parts: list[tuple[Hashes, Places]]) -> _Grams:
    hashes = np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in parts)])
    owners = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in parts)])
    pairs = pl.DataFrame({"hash": hashes, "owner": owners}).unique()
    grams = pairs.group_by("hash").agg(pl.len().alias("items"), pl.col("owner").min()).sort("hash")
    grams = grams.filter(pl.col("items") <= BOILERPLATE_ITEMS)
    return _Grams(grams["hash"].to_numpy(), grams["owner"].to_numpy())


def _match(piece: Words, index: _Index) -> tuple[Places, Places]:
    """For each word the item of which an n-gram begins there (-1 for none), and the width of that n-gram."""
    owners = np.full(len(piece.hashes), -1, np.int64)
    widths = np.zeros(len(piece.hashes), np.int64)
    searches = [(index.whole[width], width, piece.lengths == width) for width in range(1, SHORT)]
    searches.append((index.any_short, SHORT, (piece.lengths >= SHORT) & (piece.lengths < LONG)))
    searches.append((index.short, SHORT, piece.lengths >= LONG))
    searches.append((index.long, LONG, piece.lengths >= LONG))
    for grams, width, rows in searches:
        if not len(grams.hashes) or not rows.any():
            continue
        places, _ = _places(piece, width, rows)
        found = grams.find(ngram_hashes(piece.hashes, places, width))
        hits = found >= 0
        owners[places[hits]] = found[hits]
        widths[places[hits]] = width
    return owners, widths


def _first_found(owners: Places, starts: Places) -> list[tuple[int, int]]:
    """Each row with something found in it, and the word where the first of it begins."""
    hits = np.flatnonzero(owners >= 0)
    rows, first = np.unique(np.searchsorted(starts, hits, side="right") - 1, return_index=True)
    return list(zip(rows.tolist(), hits[first].tolist(), strict=True))


def _shown(piece: Words, owners: Places, at: int, width: int, row_end: int) -> str:
    """The words found: the first n-gram and those of the same item that begin right behind it."""
    end = at + width
    while end < row_end and end - at < _SHOWN_WORDS and owners[end - width + 1] == owners[at]:
        end += 1
    text = " ".join(piece.words[at:end].to_list())
    more = end - at >= _SHOWN_WORDS or len(text) > _SHOWN_LENGTH
    return text[:_SHOWN_LENGTH] + (" …" if more else "")
