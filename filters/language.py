"""The language of a row by py3langid (a naive Bayes classifier of byte n-grams that ships its model).

A sample of each text is enough for it, and bounds what long rows cost. The library judges one text at a time in Python;
here its model judges many at once, with the same result (`tests/benchmarks/bench_filter.py` has both speeds). Source:
Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language Identification Tool" (ACL demonstrations), of which
py3langid is a faster fork.
"""

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray
from py3langid.langid import MODEL_FILE, LanguageIdentifier

CONFIDENCE = 0.7
"""Probability, over all languages of the model, below which the language counts as unknown."""

FEWEST_LETTERS = 20
_SAMPLE = 100
_MOST_CODE = 0.06

_BATCH = 2048
"""Texts judged at once: enough that numpy's calls cost little, few enough that the tables stay in the cache."""

_FENCED = r"(?s)```.*?(?:```|\z)|`[^`\n]+`|https?://\S+"


def language(wanted: Sequence[str]) -> Callable[[pl.DataFrame], pl.Series]:
    """Rows in another language: "language: es".

    Judged are the first and last `_SAMPLE` characters of the column `text` without code and addresses: how the user
    asks and how the answer ends. Not judged are null texts, fewer than `FEWEST_LETTERS` letters, code (by the share of
    its brackets, semicolons, underscores and equals signs) and what the model is not sure of.

    Args:
        wanted: languages that pass, as ISO 639-1 codes ("en").

    Raises:
        ValueError: a code the model does not have.
    """
    known = _identifier().labels
    unknown = sorted(set(wanted) - set(known))
    if unknown:
        raise ValueError(f"no such language: {', '.join(unknown)} (there are {', '.join(sorted(known))})")

    def judge(frame: pl.DataFrame) -> pl.Series:
        samples = _samples(frame["text"].cast(pl.String))
        distinct = samples.drop_nulls().unique()
        distinct = distinct.gather(distinct.str.len_bytes().arg_sort())  # a batch is as wide as its longest text
        told = identify(distinct.to_list())
        reasons = pl.Series(
            [f"language: {code}" if code not in wanted and sure >= CONFIDENCE else None for code, sure in told],
            dtype=pl.String,
        )
        return samples.replace_strict(distinct, reasons, default=None, return_dtype=pl.String).alias("reason")

    return judge


def _samples(texts: pl.Series) -> pl.Series:
    """What is judged of each text, null where nothing is."""
    text, prose, sample = pl.col("text"), pl.col("prose"), pl.col("sample")
    fenced = pl.when(text.str.contains_any(["`", "://"])).then(text).str.replace_all(_FENCED, " ")
    ends = pl.concat_str(prose.str.head(_SAMPLE), prose.str.tail(_SAMPLE), separator="\n")
    code = sample.str.count_matches(r"[{}()\[\];=<>_]") > _MOST_CODE * sample.str.len_chars()
    enough = sample.str.contains(rf"(?:\p{{L}}\P{{L}}*){{{FEWEST_LETTERS}}}")  # stops at the last it needs
    # One step after the other: a frame works an expression out anew wherever it occurs.
    return (
        texts.alias("text")
        .to_frame()
        .select(prose=pl.coalesce(fenced, text))
        .select(sample=pl.when(prose.str.len_chars() <= 2 * _SAMPLE).then(prose).otherwise(ends))
        .select(pl.when(enough, ~code).then(sample))
        .to_series()
    )


def identify(texts: Sequence[str]) -> list[tuple[str, float]]:
    """The language of each text and its probability over all languages: what the library's `classify` says of each.

    Memory is bounded by batches of texts, each as wide as its longest: give them by length.
    """
    return [told for start in range(0, len(texts), _BATCH) for told in _identify(texts[start : start + _BATCH])]


def _identify(texts: Sequence[str]) -> list[tuple[str, float]]:
    """One batch: bytes drive the model's automaton, its states are features, whose weights are summed by language."""
    model = _identifier()
    encoded = [unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode() for text in texts]
    lengths = np.array([len(text) for text in encoded])
    features = _features(encoded, lengths)
    features.sort(axis=1)
    run = np.ones(features.shape, bool)  # where a run of one feature begins
    run[:, 1:] = features[:, 1:] != features[:, :-1]
    at = run.ravel().nonzero()[0]
    counts = np.diff(at, append=features.size)
    found = features.ravel()[at]
    real = found >= 0
    at, found, weights = at[real], found[real], np.log1p(counts[real], dtype=np.float32)
    ends = np.searchsorted(at, np.arange(len(texts) + 1) * features.shape[1]).tolist()
    scores = np.zeros((len(texts), len(model.nb_classes)), np.float32)
    for row, (start, end) in enumerate(pairwise(ends)):
        if end > start:
            np.matmul(weights[start:end], model.nb_ptc[found[start:end]], out=scores[row])
            scores[row] += model.nb_pc
    # The library's temperature: the root of the length keeps probabilities comparable across lengths.
    scores /= np.sqrt(np.maximum(lengths, 1))[:, None]
    np.exp(scores - scores.max(axis=1, keepdims=True), out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    for one, other in _scripts():
        scores[:, one] += scores[:, other]
        scores[:, other] = 0
    best = scores.argmax(axis=1)
    return [(model.nb_classes[index], float(row[index])) for index, row in zip(best, scores, strict=True)]


def _features(encoded: Sequence[bytes], lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    """(texts, longest) the feature that each byte completes, -1 where there is none."""
    follow, row_of, feature_of = _automaton()
    longest = int(lengths.max(initial=1))
    letters = np.frombuffer(b"".join(text.ljust(longest, b"\0") for text in encoded), np.uint8)
    states = letters.reshape(len(encoded), longest).T.astype(np.int32)
    state = np.zeros(len(encoded), np.int32)
    for column in states:  # letters, overwritten by the states they lead to
        column += row_of[state]
        state = follow[column]
        column[:] = state
    features = feature_of[states.T]
    features[np.arange(longest) >= lengths[:, None]] = -1
    return features


@cache
def _scripts() -> list[tuple[int, int]]:
    """Classes of one language in two scripts: the first of its label, and another."""
    labels = _identifier().nb_classes
    return [(labels.index(label), index) for index, label in enumerate(labels) if labels.index(label) != index]


@cache
def _automaton() -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """The model's automaton: the state after row + byte; the row and the feature (-1: none) of each state."""
    model = _identifier()
    return (
        np.asarray(model.tk_nextmove, np.int32),
        np.asarray(model.tk_row, np.int32) << 8,
        np.asarray(model.tk_output, np.int32),
    )


@cache
def _identifier() -> LanguageIdentifier:
    """The model, loaded once; probabilities over all languages."""
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    # The weights come in half precision, which numpy multiplies slowly.
    identifier.nb_ptc = identifier.nb_ptc.astype(np.float32)
    return identifier
