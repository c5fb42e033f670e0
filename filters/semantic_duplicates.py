"""Finds rows that duplicate another row in meaning: by the cosine of their embeddings. The earlier row stays."""

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.duplicates import check_threshold, names_of
from filters.words import Places

_ROUNDING = 1e-6
"""32-bit products of equal embeddings fall short of 1 by a few units in the last place."""
_COSINE_ROWS = 1024
_COSINE_KEPT = 8192


def semantic_duplicates(
    frame: pl.DataFrame,
    embeddings: NDArray[Any],
    threshold: float = 0.95,
    against: tuple[pl.DataFrame, NDArray[Any]] | None = None,
) -> pl.Series:
    """Rows whose embedding is close to that of an earlier row that stays (SemDeDup, arXiv 2303.09540, unclustered).

    Takes time in the number of rows times the number that stay. Rows whose embedding is zero or not finite pass.

    Args:
        frame: rows with an `id`.
        embeddings: [rows, width], of any length.
        threshold: least cosine at which two rows are duplicates, in (0, 1].
        against: rows with an `id` and their embeddings that `frame` must not come close to; `frame` is then not
            compared with itself.

    Returns:
        Reasons, `semantic duplicate: of ID, cosine 0.97`.

    Raises:
        ValueError: for a threshold outside of (0, 1], or embeddings that are not one for each row.
    """
    check_threshold(threshold)
    _check_embeddings(frame, embeddings)
    if against is not None:
        _check_embeddings(*against)
        return _semantic_twins(frame, embeddings, threshold, *against)
    names = names_of(frame)
    reasons: list[str | None] = [None] * len(frame)
    kept = np.empty(embeddings.shape, np.float32)
    kept_rows: list[int] = []
    for first in range(0, len(frame), _COSINE_ROWS):
        units, rows = _units(embeddings[first : first + _COSINE_ROWS])
        best, twin = _closest(units, kept[: len(kept_rows)])
        within = units @ units.T
        stay: list[int] = []  # of this block
        twins = [kept_rows[number] if kept_rows else -1 for number in twin.tolist()]
        for number in range(len(rows)):
            if stay and (near := within[number, stay]).max() > best[number]:
                best[number] = near.max()
                twins[number] = first + int(rows[stay[int(near.argmax())]])
            if best[number] >= threshold - _ROUNDING:
                reasons[first + int(rows[number])] = (
                    f"semantic duplicate: of {names[twins[number]]}, cosine {best[number]:.2f}"
                )
            else:
                stay.append(number)
        kept[len(kept_rows) : len(kept_rows) + len(stay)] = units[stay]
        kept_rows += [first + int(rows[number]) for number in stay]
    return pl.Series("reason", reasons, pl.String)


def _semantic_twins(
    frame: pl.DataFrame, embeddings: NDArray[Any], threshold: float, others: pl.DataFrame, vectors: NDArray[Any]
) -> pl.Series:
    """The rows of `frame` that are close to one of `others`."""
    names = names_of(others)
    units, places = _units(vectors)
    reasons: list[str | None] = [None] * len(frame)
    for first in range(0, len(frame) if len(places) else 0, _COSINE_ROWS):
        block, rows = _units(embeddings[first : first + _COSINE_ROWS])
        for row, cosine, twin in zip(rows.tolist(), *_closest(block, units), strict=True):
            if cosine >= threshold - _ROUNDING:
                reasons[first + row] = f"semantic duplicate: of {names[places[twin]]}, cosine {cosine:.2f}"
    return pl.Series("reason", reasons, pl.String)


def _check_embeddings(frame: pl.DataFrame, embeddings: NDArray[Any]) -> None:
    if embeddings.ndim != 2 or len(embeddings) != len(frame):
        raise ValueError(f"embeddings of shape {embeddings.shape} for {len(frame)} rows")


def _units(embeddings: NDArray[Any]) -> tuple[NDArray[np.float32], Places]:
    """The embeddings that have a direction, at length 1, and their numbers."""
    wide = embeddings.astype(np.float64)
    norms = np.linalg.norm(wide, axis=1)
    rows = np.flatnonzero(np.isfinite(norms) & (norms > 0))
    return (wide[rows] / norms[rows, None]).astype(np.float32), rows


def _closest(units: NDArray[np.float32], kept: NDArray[np.float32]) -> tuple[NDArray[np.float32], Places]:
    """The highest cosine of each unit vector with one of `kept`, and which that is."""
    best = np.full(len(units), -np.inf, np.float32)
    twin = np.zeros(len(units), np.int64)
    for first in range(0, len(kept), _COSINE_KEPT):
        cosines = units @ kept[first : first + _COSINE_KEPT].T
        at = cosines.argmax(axis=1)
        value = np.take_along_axis(cosines, at[:, None], axis=1)[:, 0]
        twin = np.where(value > best, at + first, twin)
        best = np.maximum(best, value)
    return best, twin
