"""Selections of rows to keep: the best, the longest, a sample, a diverse set.

Every function gives a reason to each row that is not chosen, null to those that are. Equal rows rank by their place
in the frame, and what is drawn depends on the seed and the frame alone.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.semantic_duplicates import semantic_duplicates

Places = NDArray[np.int64]
Shares = Literal["proportional", "equal"]


def best(frame: pl.DataFrame, scores: pl.Series, count: int, lowest: bool = False) -> pl.Series:
    """The rows of the highest scores, or the lowest. A row whose score is null or NaN is never chosen.

    Returns:
        Reasons, `not chosen: quality 3 ranks 1204` and `no quality`.
    """
    order = _ranked(scores, lowest)
    said = [f"no {scores.name}"] * len(frame)
    values = scores.cast(pl.Float64).to_list()
    for rank, row in enumerate(order.tolist(), 1):
        said[row] = f"not chosen: {scores.name} {values[row]:.4g} ranks {rank}"
    return _all_but(order[:count], said)


def shortest_right(frame: pl.DataFrame) -> pl.Series:
    """The shortest right answer to each prompt (Munkhbat et al. 2025, arXiv 2502.20122), in characters.

    Args:
        frame: rows with `prompt` (or what tells prompts apart), `length` of the answer, `id` and `verdict` (right,
            wrong or unscorable).

    Returns:
        Reasons, `not right: wrong` and `longer: than the right answer of ID`.
    """
    ids = frame["id"].to_list()
    found = frame.select(pl.col("verdict").fill_null("not judged"), "prompt", "length")
    shortest: dict[Any, tuple[int, int]] = {}
    for row, (verdict, prompt, length) in enumerate(found.iter_rows()):
        if verdict == "right" and (prompt not in shortest or length < shortest[prompt][0]):
            shortest[prompt] = (length, row)
    reasons: list[str | None] = []
    for row, (verdict, prompt, _) in enumerate(found.iter_rows()):
        if verdict != "right":
            reasons.append(f"not right: {verdict}")
        else:
            first = shortest[prompt][1]
            reasons.append(None if row == first else f"longer: than the right answer of {ids[first]}")
    return pl.Series("reason", reasons, pl.String)


def sample(frame: pl.DataFrame, count: int, seed: int) -> pl.Series:
    """Rows at random, without replacement."""
    chosen = np.random.default_rng(seed).permutation(len(frame))[:count]
    return _all_but(chosen, ["not chosen: at random"] * len(frame))


def stratified(frame: pl.DataFrame, column: str, count: int, shares: Shares, seed: int) -> pl.Series:
    """Rows at random from each group of rows with one value of a column; null is a group of its own.

    Args:
        frame: the rows.
        column: its values tell the groups.
        count: rows in all; what rounding leaves over goes to the largest remainders.
        shares: `proportional` keeps the groups' shares; `equal` takes as many of each, or all of a group that is
            smaller, whose share the others take up.
        seed: of the draw.
    """
    groups = frame[column].cast(pl.String).fill_null("(none)")
    names = groups.unique(maintain_order=True)
    rows = [np.flatnonzero((groups == name).to_numpy()) for name in names]
    quotas = _quotas(np.array([len(group) for group in rows], np.int64), count, shares)
    draw = np.random.default_rng(seed)
    chosen = [draw.permutation(group)[:quota] for group, quota in zip(rows, quotas, strict=True)]
    return _all_but(np.concatenate([np.zeros(0, np.int64), *chosen]), ["not chosen: at random"] * len(frame))


def budget(tokens: Sequence[int | None], total: int, scores: pl.Series | None, seed: int) -> pl.Series:
    """Rows of `total` tokens at most: the best first, or at random; one too long for what is left is passed over.

    Args:
        tokens: of each row; None, where they cannot be counted, is never chosen.
        total: most tokens of the rows chosen.
        scores: the highest come first, rows whose score is null or NaN never; None takes rows at random.
        seed: of the draw.

    Returns:
        Reasons, `over the budget: 812 tokens`, `no tokens` and `no quality`.
    """
    said = ["no tokens" if count is None else f"over the budget: {count} tokens" for count in tokens]
    if scores is None:
        order = np.random.default_rng(seed).permutation(len(tokens))
    else:
        order = _ranked(scores, lowest=False)
        scored = set(order.tolist())
        said = [reason if row in scored else f"no {scores.name}" for row, reason in enumerate(said)]
    chosen: list[int] = []
    left = total
    for row in order.tolist():
        count = tokens[row]
        if count is not None and count <= left:
            chosen.append(row)
            left -= count
    return _all_but(np.array(chosen, np.int64), said)


def check_distance(distance: float) -> None:
    """Check a cosine distance.

    Raises:
        ValueError: outside of [0, 1).
    """
    if not 0 <= distance < 1:
        raise ValueError(f"a distance of cosines is at least 0 and under 1, not {distance}")


def diverse(frame: pl.DataFrame, scores: pl.Series, embeddings: NDArray[Any], count: int, distance: float) -> pl.Series:
    """The best rows that are unlike each other (DEITA, Liu et al. 2024, arXiv 2312.15685).

    From the best row down, a row is kept if its cosine distance to the nearest row kept is more than `distance`, until
    there are `count`. The paper's score is complexity times quality, its distance 0.1.

    Args:
        frame: rows with an `id`.
        scores: of each row; one whose score is null or NaN is never chosen.
        embeddings: [rows, width].
        count: rows to keep.
        distance: 0 to 1, 1 not included.

    Returns:
        Reasons, `alike: to ID, cosine 0.97`, `not chosen: complexity × quality 12 ranks 8031` and `no complexity ×
        quality`.

    Raises:
        ValueError: for a distance outside of [0, 1), or embeddings that are not one for each row.
    """
    if embeddings.ndim != 2 or len(embeddings) != len(frame):
        raise ValueError(f"embeddings of shape {embeddings.shape} for {len(frame)} rows")
    check_distance(distance)
    order = _ranked(scores, lowest=False)
    looked = min(len(order), 2 * count)
    while True:  # mostly the first rows suffice; where they are much alike, twice as many are looked at
        some = order[:looked]
        twins = semantic_duplicates(frame[some], embeddings[some], 1 - distance)
        kept = some[np.flatnonzero(twins.is_null().to_numpy())]
        if len(kept) >= count or looked == len(order):
            break
        looked = min(len(order), 2 * looked)
    reasons = best(frame, scores, 0).to_list()
    chosen = set(frame["id"].gather(kept[:count]).to_list())
    for row, twin in zip(some.tolist(), twins.to_list(), strict=True):
        if twin is not None:
            of = twin.removeprefix("semantic duplicate: of ")
            if of.rsplit(", ", 1)[0] in chosen:
                reasons[row] = f"alike: to {of}"
    return _all_but(kept[:count], reasons)


def representatives(frame: pl.DataFrame, clusters: NDArray[Any], distances: NDArray[Any]) -> pl.Series:
    """Of each cluster of rows the one nearest its middle.

    Args:
        frame: rows with an `id`.
        clusters: the number of each row's cluster.
        distances: of each row from the middle of its cluster, of any measure.

    Returns:
        Reasons, `represented: by ID`.
    """
    order = np.lexsort((np.arange(len(frame)), distances, clusters))
    _, first, cluster = np.unique(clusters[order], return_index=True, return_inverse=True)
    ids = frame["id"].gather(order[first]).to_list()
    reasons = [""] * len(frame)
    for row, number in zip(order.tolist(), cluster.tolist(), strict=True):
        reasons[row] = f"represented: by {ids[number]}"
    return _all_but(order[first], reasons)


def _ranked(scores: pl.Series, lowest: bool) -> Places:
    """Places from the best score to the worst, equal ones in their order; without those that are null or NaN.

    Raises:
        ValueError: scores are no single values.
    """
    if scores.dtype.is_nested():
        raise ValueError(f"{scores.name} holds values of type {scores.dtype}, not numbers")
    values = scores.cast(pl.Float64).to_numpy().astype(np.float64)
    scored = np.flatnonzero(~np.isnan(values))
    return scored[np.argsort(values[scored] if lowest else -values[scored], kind="stable")]


def _quotas(sizes: Places, count: int, shares: Shares) -> Places:
    """How many rows of each group make up `count`, or all there are."""
    count = min(count, int(sizes.sum()))
    if shares == "equal":
        level = np.zeros(len(sizes), np.int64)
        while (missing := count - int(level.sum())) > 0:
            open_groups = np.flatnonzero(level < sizes)
            each = max(1, missing // len(open_groups))
            take = open_groups[:missing] if each == 1 else open_groups
            level[take] = np.minimum(level[take] + each, sizes[take])
        return level
    exact = sizes * count / max(1, int(sizes.sum()))
    quotas = np.floor(exact + 1e-9).astype(np.int64)
    rest = np.argsort(quotas - exact, kind="stable")[: count - int(quotas.sum())]
    quotas[rest] += 1
    return quotas


def _all_but(chosen: Places, reasons: Sequence[str | None]) -> pl.Series:
    stays = np.zeros(len(reasons), bool)
    stays[chosen] = True
    kept = [None if own else reason for own, reason in zip(stays.tolist(), reasons, strict=True)]
    return pl.Series("reason", kept, pl.String)
