"""Texts as words and word n-grams, for the filters that compare rows.

A text is put in Unicode form NFKC and lower case; its words are runs of letters, marks and digits. In scripts written
without spaces (Han, kana, Thai, Lao, Khmer, Burmese) every character is a word. What lies between words is dropped, so
that texts that differ in punctuation and white space have the same words.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

_PIECE_BYTES = 1 << 24
_PIECE_ROWS = 1 << 15
_UNSPACED = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORD = _UNSPACED + r"|[[\p{L}\p{M}\p{N}]--" + _UNSPACED + r"]+"
_OPERATOR = r"[\p{Sm}*/%^-]"
_OPERAND = r"^(\p{N}|[\p{Latin}\p{Greek}]$)"
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of some rows in a row.

    Attributes:
        first: the number of the first of these rows in the series.
        words: the words, row after row.
        hashes: a 64-bit hash of each word.
        starts: [rows + 1], where each row's words begin, and at last where they all end.
    """

    first: int
    words: pl.Series
    hashes: Hashes
    starts: Places

    @property
    def lengths(self) -> Places:
        """Words of each row."""
        return np.diff(self.starts)


def split(texts: pl.Series, operators: bool = False) -> Iterator[Words]:
    """The words of a series, a bounded number of bytes at a time (a row is never divided).

    Args:
        texts: strings; null is read as empty.
        operators: count the signs before a number or a single letter as words, so that “3 + 4” and “3 - 4” differ.
    """
    texts = texts.cast(pl.String).fill_null("")
    ends = texts.str.len_bytes().cast(pl.Int64).cum_sum().to_numpy()
    first = 0
    while first < len(texts):
        before = int(ends[first - 1]) if first else 0
        last = int(np.searchsorted(ends, before + _PIECE_BYTES, side="right"))
        last = min(max(last, first + 1), first + _PIECE_ROWS)
        yield _split_piece(first, texts[first:last], operators)
        first = last


def normalise(texts: pl.Series) -> pl.Series:
    """Unicode form NFKC in lower case."""
    return texts.str.normalize("NFKC").str.to_lowercase()


def mix(hashes: Hashes) -> Hashes:
    """Spreads every bit of a hash over all of them (the finaliser of splitmix64, Steele et al., 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))


def ngram_places(starts: Places, width: int) -> Places:
    """Where n-grams of `width` words begin: every word that has width - 1 more behind it in its row."""
    places = np.arange(starts[-1])
    ends = np.repeat(starts[1:], np.diff(starts))
    return places[places + width <= ends]


def ngram_hashes(hashes: Hashes, places: Places, width: int) -> Hashes:
    """The hashes of the n-grams of `width` words that begin at these places."""
    total = hashes[places]
    for offset in range(1, width):
        total *= _STEP
        total += hashes[places + offset]
    return mix(total)


def row_sums(values: NDArray[Any], starts: Places) -> NDArray[Any]:
    """The sum over each row, 0 for a row without words."""
    sums = np.zeros(len(starts) - 1, values.dtype)
    filled = np.flatnonzero(np.diff(starts))
    if len(filled):
        sums[filled] = np.add.reduceat(values, starts[filled])
    return sums


def _split_piece(first: int, texts: pl.Series, operators: bool) -> Words:
    lists = normalise(texts).str.extract_all(f"{_WORD}|{_OPERATOR}" if operators else _WORD)
    starts = _starts(lists.list.len().cast(pl.Int64).to_numpy())
    words = lists.explode().drop_nulls()  # an empty list explodes to null
    if operators:
        kept = _without_loose_operators(words, starts)
        words = words.filter(pl.Series(kept))
        starts = _starts(row_sums(kept.astype(np.int64), starts))
    return Words(first, words, words.hash(seed=0).to_numpy(), starts)


def _without_loose_operators(words: pl.Series, starts: Places) -> NDArray[np.bool_]:
    """Which words to keep: a hyphen, bullet or asterisk of emphasis has no operand behind it."""
    kept = ~words.str.contains(f"^{_OPERATOR}$").to_numpy()
    signs, others = np.flatnonzero(~kept), np.flatnonzero(kept)
    row_ends = starts[np.searchsorted(starts, signs, side="right")]
    following = np.append(others, len(words))[np.searchsorted(others, signs)]
    inside = following < row_ends
    kept[signs[inside]] = words.gather(following[inside]).str.contains(_OPERAND).to_numpy()
    return kept


def _starts(lengths: Places) -> Places:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
