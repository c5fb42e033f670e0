"""Words and n-grams: what counts as a word, and that pieces of a series give what the whole gives."""

import numpy as np
import polars as pl
import pytest

from filters import words
from filters.words import ngram_hashes, ngram_places, row_sums, split


def words_of(text: str | None, operators: bool = False) -> list[str]:
    (piece,) = split(pl.Series([text], dtype=pl.String), operators)
    return piece.words.to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, []),
        ("", []),
        ("Hello,\n WORLD!", ["hello", "world"]),
        ("well-known snake_case", ["well", "known", "snake", "case"]),
        ("ﬁne １２", ["fine", "12"]),
        ("nai\u0308ve café", ["naïve", "café"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("abc你好ですx", ["abc", "你", "好", "で", "す", "x"]),
        ("\x00�👍", []),
    ],
)
def test_words(text: str | None, expected: list[str]) -> None:
    assert words_of(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3 + 4", ["3", "+", "4"]),
        ("3-4=−1", ["3", "-", "4", "=", "−", "1"]),
        ("x^2 * y", ["x", "^", "2", "*", "y"]),
        ("**bold** - item, well-known", ["bold", "item", "well", "known"]),
        ("2 +", ["2"]),
        ("20% of it", ["20", "of", "it"]),
    ],
)
def test_a_sign_is_a_word_where_an_operand_follows(text: str, expected: list[str]) -> None:
    assert words_of(text, operators=True) == expected


def test_a_sign_at_the_end_of_a_row_does_not_reach_into_the_next() -> None:
    (piece,) = split(pl.Series(["a +", "", "1 b", None]), operators=True)
    assert piece.words.to_list() == ["a", "1", "b"]
    assert piece.starts.tolist() == [0, 1, 1, 3, 3]


def test_pieces_give_what_the_whole_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = pl.Series([None, "one two three", "", "x" * 100, "four five", "3 - 4", None])
    (whole,) = split(texts, operators=True)
    monkeypatch.setattr(words, "_PIECE_BYTES", 10)
    monkeypatch.setattr(words, "_PIECE_ROWS", 2)
    pieces = list(split(texts, operators=True))
    assert len(pieces) > 3
    assert np.concatenate([piece.lengths for piece in pieces]).tolist() == whole.lengths.tolist()
    assert np.concatenate([piece.hashes for piece in pieces]).tolist() == whole.hashes.tolist()
    assert [piece.first for piece in pieces] == np.cumsum([0, *(len(piece.lengths) for piece in pieces)])[:-1].tolist()


def test_ngrams_stay_within_their_row() -> None:
    (piece,) = split(pl.Series(["a b c", "", "b c", "a b c d"]))
    places = ngram_places(piece.starts, 3)
    assert places.tolist() == [0, 5, 6]
    first, same, other = ngram_hashes(piece.hashes, places, 3).tolist()
    assert first == same != other
    assert row_sums(np.ones(9, np.int64), piece.starts).tolist() == [3, 0, 2, 4]
