"""Figures of data sets, counted by hand."""

import math
from pathlib import Path

import pytest

from synth.errors import UsageError
from synth.reports.figures import (
    BIN_NATS,
    figures,
    method_label,
)
from tests.synth.reports.pages import built, scanned, talk, tokens, write


def test_figures_by_hand(tmp_path: Path) -> None:
    ln2 = math.log(2)
    rows = [
        {"messages": talk("a", "b")} | tokens([1, 2, 3], [None, -ln2, -3 * ln2], masked=(2,)),
        {"messages": talk("a", "cd")} | tokens([1, 2], [None, -4 * ln2]),
        {"messages": talk("a", "b"), "method": "self-output"} | tokens([1, 2], [None, 0.0]),
        {"messages": talk("a", "b"), "method": "self-output"} | tokens([1], [None]),
        {"messages": None, "input_ids": None, "labels": None, "logprobs": None},
    ]
    scan = scanned(write(tmp_path / "d", rows, scored=True))
    assert scan.methods == ["human", "self-output"]
    human = figures(scan, 0)
    assert (human.rows, human.tokens, human.scored) == (3, 5, 3)
    assert human.perplexity == pytest.approx(2 ** (8 / 3))  # exp(8 ln 2 / 3)
    assert human.row_mean == pytest.approx(10) and human.row_deviation == pytest.approx(6)  # of 4 and 16
    assert human.hard == pytest.approx(2 / 3) and human.masked == pytest.approx(1 / 3)  # 2 is easy; 8 and 16 are hard
    assert human.mean_chars == pytest.approx(5 / 3)
    own = figures(scan, 1)
    assert (own.perplexity, own.row_mean, own.row_deviation, own.hard, own.masked) == (1, 1, 0, 0, 0)
    everything = figures(scan)
    assert everything.rows == 5 and everything.scored == 4
    assert everything.perplexity == pytest.approx(4)


def test_histogram_has_an_edge_at_the_hard_limit(tmp_path: Path) -> None:
    values = [1.0, 2.49, 2.51, 1e30]
    row = {"messages": talk("a", "b")} | tokens([1] * 4, [-math.log(value) for value in values])
    [counts] = scanned(write(tmp_path / "d", [row], scored=True)).histogram
    assert counts.nonzero()[0].tolist() == [0, 3, 4, 39] and counts.sum() == 4
    assert math.exp(4 * BIN_NATS) == pytest.approx(2.5)


def test_log_probabilities_that_are_no_numbers_count_as_not_scored(tmp_path: Path) -> None:
    values = [float("-inf"), float("nan"), -3e38, -1.0, None]
    row = {"messages": talk("a", "b")} | tokens([5] * 5, values, scorer="/no/such model r all")
    page, notes = built(tmp_path, write(tmp_path / "d", [row], scored=True))
    assert any("2 log-probabilities are not finite" in note for note in notes)
    assert "perplexity" in page.words
    page.block("index-data")


def test_token_columns_of_different_lengths_are_refused(tmp_path: Path) -> None:
    row = {"messages": talk("a", "b"), "input_ids": [1, 2], "labels": [1, 2], "logprobs": [-1.0]}
    with pytest.raises(UsageError, match="row 0 has 2 input_ids, 2 labels, 1 logprobs"):
        scanned(write(tmp_path / "d", [row], scored=True))


def test_method_labels() -> None:
    assert method_label(None, None) == method_label("input", None) == "human"
    assert method_label("input", "M") == "input" and method_label("gold", None) == "gold"
