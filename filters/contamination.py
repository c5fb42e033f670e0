"""Rows that hold items of benchmarks, by word n-grams shared with them.

After GPT-3 (arXiv 2005.14165, appendix C): a row that has 13 words in a row of a benchmark item holds it. Of texts
of 8 to 12 words, on either side, 8 words in a row are enough; an item of fewer words is found where a prompt or an
answer is the item and nothing else. Case, punctuation, white space and Unicode form do not matter.

An item's answer is a leak as well as its question, whether it stands beside it or alone. Answers of fewer than 13
words (“42”, `return a + b`) are too common and are not looked for.

An n-gram found in more than 10 items is boilerplate of a benchmark (“write a python function to …”) and is ignored;
an item of nothing but boilerplate is not found.
"""

import re
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
"""Columns of the question in benchmark files: GSM8K, MATH, HumanEval and MBPP (or its sanitised form), and others."""

ANSWER_COLUMNS = ("solution", "canonical_solution", "code", "answer", "output", "response", "completion")
"""Where they keep the whole answer; MATH has it in `solution`, and no more than its end in `answer`."""

_CALCULATED = re.compile("<<[^<>]*>>")
_SHOWN_WORDS = 24
_SHOWN_LENGTH = 160

Item = tuple[str, int, str]
"""The benchmark's name, the item's number and its text."""


def question_column(columns: Iterable[str]) -> str:
    """The column of a benchmark file that holds the question.

    Raises:
        ValueError: where there is none of QUESTION_COLUMNS.
    """
    present = set(columns)
    for name in QUESTION_COLUMNS:
        if name in present:
            return name
    raise ValueError(f"no column with the question: one of {', '.join(QUESTION_COLUMNS)}")


def answer_column(columns: Iterable[str]) -> str | None:
    """The column of a benchmark file that holds the answers, if there is one."""
    present = set(columns)
    return next((name for name in ANSWER_COLUMNS if name in present), None)


def as_written(answer: str) -> list[str]:
    """An answer as a row may hold it: GSM8K's with its calculator's marks, `<<48/2=24>>`, and without."""
    plain = _CALCULATED.sub("", answer)
    return [answer] if plain == answer else [answer, plain]


def check_widths(long: int, short: int) -> None:
    """Refuse n-gram widths that find nothing, or more in long texts than in short ones.

    Raises:
        ValueError: for `short` under 1 or above `long`.
    """
    if not 1 <= short <= long:
        raise ValueError(
            f"{long} words in a row for long texts, {short} for short ones: not fewer for long, 1 at least"
        )


def contaminated(
    frame: pl.DataFrame, items: Sequence[Item], answers: Sequence[Item] = (), long: int = LONG, short: int = SHORT
) -> pl.Series:
    """Rows whose prompt or answer shares an n-gram with a benchmark item.

    Args:
        frame: rows with a `prompt` and an `answer`.
        items: what the benchmarks ask.
        answers: what they hold as answers, under the names and numbers of their items; those of fewer than `long`
            words are not looked for.
        long: words in a row that texts share where one holds the other.
        short: words in a row that are enough where one of the texts has fewer than `long`.

    Returns:
        Reasons with the words found, `contaminated: gsm8k item 17: “natalia sold clips to …”`, or `contaminated:
        answer of gsm8k item 17: “…”`.

    Raises:
        ValueError: for `short` under 1 or above `long`.
    """
    return Benchmarks(items, answers, long, short).find(frame)


class Benchmarks:
    """Items of benchmarks, ready to be looked for; the arguments are those of `contaminated`."""

    def __init__(
        self, items: Sequence[Item], answers: Sequence[Item] = (), long: int = LONG, short: int = SHORT
    ) -> None:
        check_widths(long, short)
        self._asked = len(items)
        self._texts = [*items, *answers]
        self._index = _build(self._texts, len(items), long, short)

    def find(self, frame: pl.DataFrame) -> pl.Series:
        """The reasons of some rows, as `contaminated` gives them."""
        reasons: list[str | None] = [None] * len(frame)
        for column in ("prompt", "answer"):
            for piece in split(frame[column]):
                owners, widths = _match(piece, self._index)
                for row, at in _first_found(owners, piece.starts):
                    if reasons[piece.first + row] is None:
                        benchmark, number, _ = self._texts[owners[at]]
                        part = "" if owners[at] < self._asked else "answer of "
                        shown = _shown(piece, owners, at, int(widths[at]), int(piece.starts[row + 1]))
                        reasons[piece.first + row] = f"contaminated: {part}{benchmark} item {number}: “{shown}”"
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
        widths: how many words in a row are looked for in long texts, and in short ones.
        long: the first of `widths`, of items that have as many words.
        short: the second, of items too short for `long`.
        any_short: the second, of all questions: for rows too short for `long`.
        whole: by their number of words, the items too short for `short`.
    """

    widths: tuple[int, int]
    long: _Grams
    short: _Grams
    any_short: _Grams
    whole: dict[int, _Grams]


def _build(texts: Sequence[Item], questions: int, long: int, short: int) -> _Index:
    """What to look for of texts, of which the first so many are questions and the others answers."""
    wide: list[tuple[Hashes, Places]] = []
    narrow: list[tuple[Hashes, Places]] = []
    narrow_of_wide: list[tuple[Hashes, Places]] = []
    whole: dict[int, list[tuple[Hashes, Places]]] = {width: [] for width in range(1, short)}
    for piece in split(pl.Series([text for _, _, text in texts], dtype=pl.String)):
        asked = np.arange(piece.first, piece.first + len(piece.lengths)) < questions
        wide.append(_grams(piece, long, piece.lengths >= long))
        narrow.append(_grams(piece, short, asked & (piece.lengths < long)))
        narrow_of_wide.append(_grams(piece, short, asked & (piece.lengths >= long)))
        for width, parts in whole.items():
            parts.append(_grams(piece, width, asked & (piece.lengths == width)))
    numbers: dict[tuple[str, int], int] = {}
    item_of = np.array([numbers.setdefault((name, number), len(numbers)) for name, number, _ in texts], np.int64)
    return _Index(
        (long, short),
        _without_boilerplate(wide, item_of),
        _without_boilerplate(narrow, item_of),
        _without_boilerplate(narrow + narrow_of_wide, item_of),
        {width: _without_boilerplate(parts, item_of) for width, parts in whole.items()},
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


def _without_boilerplate(parts: list[tuple[Hashes, Places]], item_of: Places) -> _Grams:
    """N-grams of at most BOILERPLATE_ITEMS items; `item_of` says which item a text is of."""
    hashes = np.concatenate([np.zeros(0, np.uint64), *(part[0] for part in parts)])
    owners = np.concatenate([np.zeros(0, np.int64), *(part[1] for part in parts)])
    pairs = pl.DataFrame({"hash": hashes, "owner": owners, "item": item_of[owners]})
    grams = pairs.group_by("hash").agg(pl.col("item").n_unique().alias("items"), pl.col("owner").min()).sort("hash")
    grams = grams.filter(pl.col("items") <= BOILERPLATE_ITEMS)
    return _Grams(grams["hash"].to_numpy(), grams["owner"].to_numpy())


def _match(piece: Words, index: _Index) -> tuple[Places, Places]:
    """For each word the item of which an n-gram begins there (-1 for none), and the width of that n-gram."""
    owners = np.full(len(piece.hashes), -1, np.int64)
    widths = np.zeros(len(piece.hashes), np.int64)
    long, short = index.widths
    searches = [(grams, width, piece.lengths == width) for width, grams in index.whole.items()]
    searches.append((index.any_short, short, (piece.lengths >= short) & (piece.lengths < long)))
    searches.append((index.short, short, piece.lengths >= long))
    searches.append((index.long, long, piece.lengths >= long))
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
