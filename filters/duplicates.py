"""Finds rows that duplicate another row: exactly or nearly. The earlier row stays.

Near duplicates are found as in Broder (1997): a text is the set of its word n-grams (shingles), and two texts are
alike by the Jaccard index of their sets. Candidates come from MinHash signatures cut in bands (Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, chapter 3); each candidate is then compared by its whole set, so that no row
falls to an estimate. Shingles are three words wide, not the five usual for web pages: one word changed in a prompt of
20 words leaves a Jaccard index of 0.71 with three and 0.52 with five.

Signatures are made with numpy, which takes less than the libraries do. For 52,000 rows of 60 words this module takes
1.7 processor seconds, the comparison of whole sets among them; rensa 0.5 takes 2.0 and datasketch 2.0 takes 11.2
without it (`tests/benchmarks/bench_duplicates.py`, medians of 3). The signatures alone, of shingles that are hashed
already, take 0.27 s here and 1.00 s with rensa, which takes and gives Python lists.
"""

import itertools
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.words import Hashes, Places, Words, mix, ngram_hashes, ngram_places, normalise, row_sums, split

SHINGLE_WORDS = 3
PERMUTATIONS = 128
FOUND_AT_THRESHOLD = 0.98
"""The least chance with which a pair exactly at the threshold becomes a candidate."""

_BUCKET_ROWS = 32
"""Only so many kept rows of a bucket are compared with, so that what a row may cost is bounded. Fuller buckets come of
shingles that many unlike rows have in common (a template); rows really alike share other buckets besides."""

_SHINGLE_BITS = 48  # the upper 16 bits of a sort key hold the row of the piece
_SIGNATURE_BLOCK = 1 << 16  # shingles; small enough for the cache

_ID_LENGTH = 80


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


def exact_duplicates(frame: pl.DataFrame, column: str = "text", against: pl.DataFrame | None = None) -> pl.Series:
    """Rows whose words are those of an earlier row: case, white space, punctuation and Unicode form aside.

    Rows are told apart by 64-bit hashes; among a million rows the chance of one false pair is 3 in 10^8. A text
    without words (emoji, rules) is compared by its characters. An empty text is never a duplicate.

    Args:
        frame: rows with an `id`.
        column: what to compare.
        against: rows with an `id` and the column that `frame` must not contain; `frame` is then not compared with
            itself.

    Returns:
        Reasons, `exact duplicate: of ID`.
    """
    others = frame.clear() if against is None else against
    texts = pl.concat([others[column].cast(pl.String), frame[column].cast(pl.String)]).fill_null("")
    keys = np.concatenate([np.zeros(0, np.uint64), *map(_text_keys, split(texts, operators=True))])
    wordless = np.flatnonzero(keys == 0)
    characters = normalise(texts.gather(wordless)).str.replace_all(r"[\s\p{Cc}\p{Cf}]+", "")
    keys[wordless] = np.where((characters == "").to_numpy(), np.uint64(0), characters.hash(seed=1).to_numpy())
    leaders = _leaders(keys)
    names = names_of(others) + names_of(frame)
    reasons: list[str | None] = [None] * len(frame)
    before = np.arange(len(keys)) if against is None else len(others)
    for row in np.flatnonzero((leaders < before) & (keys != 0)).tolist():
        if row >= len(others):
            reasons[row - len(others)] = f"exact duplicate: of {names[leaders[row]]}"
    return pl.Series("reason", reasons, pl.String)


def near_duplicates(
    frame: pl.DataFrame,
    column: str = "text",
    threshold: float = 0.7,
    against: pl.DataFrame | None = None,
    n: int = SHINGLE_WORDS,
) -> pl.Series:
    """Rows alike to an earlier row that stays, or with `against`, to any row of another frame.

    A row is compared with rows that stay and not with those that fell, so in a chain of texts, each a little
    different from the last, some remain. It falls to the row most alike to it. The set of a text of fewer words than a
    shingle is the whole text.

    Args:
        frame: rows with an `id`.
        column: what to compare.
        threshold: least Jaccard index of two texts' shingles at which they are duplicates, in (0, 1].
        against: rows with an `id` and the column that `frame` must not contain; `frame` is then not compared with
            itself.
        n: words in a shingle.

    Returns:
        Reasons, `near duplicate: of ID, similarity 0.83`.

    Raises:
        ValueError: for a threshold outside of (0, 1], or an `n` under 1.
    """
    check_threshold(threshold)
    check_shingle(n)
    others = frame.clear() if against is None else against
    texts = pl.concat([others[column].cast(pl.String), frame[column].cast(pl.String)])
    twins, alike = _twins(_shingle(texts, n, *bands(threshold)), threshold, len(others), grow=against is None)
    names = names_of(others) + names_of(frame)
    reasons: list[str | None] = [None] * len(frame)
    for row in np.flatnonzero(twins[len(others) :] >= 0).tolist():
        at = row + len(others)
        reasons[row] = f"near duplicate: of {names[twins[at]]}, similarity {alike[at]:.2f}"
    return pl.Series("reason", reasons, pl.String)


def bands(threshold: float) -> tuple[int, int]:
    """How many bands of how many permutations make candidates of pairs at the threshold and of few below it.

    A pair of similarity s shares one of b bands of r with a chance of 1 - (1 - s^r)^b; the widest bands that give
    pairs at the threshold a chance of FOUND_AT_THRESHOLD are taken.
    """
    for width in range(PERMUTATIONS, 1, -1):
        count = PERMUTATIONS // width
        if 1 - (1 - threshold**width) ** count >= FOUND_AT_THRESHOLD:
            return count, width
    return PERMUTATIONS, 1


@dataclass(frozen=True, slots=True)
class _Shingles:
    """The shingle sets of rows.

    Attributes:
        hashes: row after row, sorted and without repetition in each.
        starts: [rows + 1], where each row's set begins.
        keys: [rows], a hash of the whole set; 0 for an empty one.
        bands: [bands, rows], a hash of the minima of each band; 0 for an empty set.
    """

    hashes: Hashes
    starts: Places
    keys: Hashes
    bands: Hashes

    def of(self, row: int) -> Hashes:
        return self.hashes[self.starts[row] : self.starts[row + 1]]


def _shingle(texts: pl.Series, n: int, count: int, width: int) -> _Shingles:
    """The sets of n words in a row, and signatures of `count` bands of `width` permutations."""
    # multiplication by an odd number permutes the 64-bit numbers; the order of its high bits is as good as random
    factors = np.random.default_rng(0).integers(0, 1 << 63, count * width, np.uint64) * np.uint64(2) + np.uint64(1)
    sets, sizes, signatures = [np.zeros(0, np.uint64)], [np.zeros(1, np.int64)], [np.zeros((count, 0), np.uint64)]
    for piece in split(texts, operators=True):
        hashes, lengths = _shingle_sets(piece, n)
        sets.append(hashes)
        sizes.append(lengths)
        signatures.append(_band_keys(hashes, lengths, factors.reshape(count, width)))
    hashes = np.concatenate(sets)
    starts = np.cumsum(np.concatenate(sizes))
    return _Shingles(hashes, starts, row_sums(mix(hashes), starts), np.concatenate(signatures, axis=1))


def _shingle_sets(piece: Words, n: int) -> tuple[Hashes, Places]:
    """The sorted sets of a piece's rows, and their sizes."""
    parts = []
    for width in [*np.unique(piece.lengths[(piece.lengths > 0) & (piece.lengths < n)]).tolist(), n]:
        places = ngram_places(piece.starts, width) if width == n else piece.starts[:-1][piece.lengths == width]
        rows = np.searchsorted(piece.starts, places, side="right") - 1
        shingles = ngram_hashes(piece.hashes, places, width) >> np.uint64(64 - _SHINGLE_BITS)
        parts.append(shingles | (rows.astype(np.uint64) << np.uint64(_SHINGLE_BITS)))
    keys = np.sort(np.concatenate(parts))
    keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]  # numpy.unique (2.3) takes some 50 times as long
    rows = (keys >> np.uint64(_SHINGLE_BITS)).astype(np.int64)
    return keys << np.uint64(64 - _SHINGLE_BITS), np.bincount(rows, minlength=len(piece.starts) - 1)


def _band_keys(hashes: Hashes, lengths: Places, factors: Hashes) -> Hashes:
    """[bands, rows], a hash of the MinHash values of each band."""
    keys = np.zeros((len(factors), len(lengths)), np.uint64)
    filled = np.flatnonzero(lengths)
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths[filled])])
    first = 0
    while first < len(filled):
        last = max(first + 1, int(np.searchsorted(starts, starts[first] + _SIGNATURE_BLOCK, side="right")) - 1)
        block = hashes[starts[first] : starts[last]]
        within = starts[first:last] - starts[first]
        product = np.empty_like(block)
        for band, members in enumerate(factors):
            total = np.zeros(last - first, np.uint64)
            for factor in members:
                np.multiply(block, factor, out=product)
                total = mix(total + np.minimum.reduceat(product, within))
            keys[band, filled[first:last]] = total
        first = last
    return keys


def _twins(shingles: _Shingles, threshold: float, seeds: int, grow: bool) -> tuple[Places, NDArray[np.float64]]:
    """For each row the row it duplicates, or -1, and how alike they are.

    Args:
        shingles: the sets of all rows.
        threshold: least Jaccard index.
        seeds: so many rows at the beginning stay whatever they are, and are compared with.
        grow: also compare with the rows behind them that stay.
    """
    rows = len(shingles.keys)
    twins = np.full(rows, -1, np.int64)
    alike = np.zeros(rows)
    leaders = _leaders(shingles.keys)
    leading = np.flatnonzero((leaders == np.arange(rows)) & (shingles.keys != 0))
    members, buckets = _shared_buckets(shingles.bands, leading)
    kept: defaultdict[int, list[int]] = defaultdict(list)
    edges = np.flatnonzero(np.diff(members, prepend=-1, append=-1)).tolist() if len(members) else [0]
    for begin, end in itertools.pairwise(edges):
        row = int(members[begin])
        mine = buckets[begin:end].tolist()
        if row >= seeds:
            candidates = sorted({other for bucket in mine for other in kept[bucket]})
            twin, similarity = _most_alike(shingles, row, candidates, threshold)
            if similarity >= threshold:
                twins[row], alike[row] = twin, similarity
                continue
        if row < seeds or grow:
            for bucket in mine:
                if len(kept[bucket]) < _BUCKET_ROWS:
                    kept[bucket].append(row)
    followers = np.flatnonzero((leaders < np.arange(rows)) & (shingles.keys != 0))
    led = leaders[followers]
    stays = (led < seeds) | (grow & (twins[led] < 0))
    twins[followers] = np.where(stays, led, twins[led])
    alike[followers] = np.where(stays, 1.0, alike[led])
    return twins, alike


def _shared_buckets(keys: Hashes, rows: Places) -> tuple[Places, Places]:
    """Pairs of a row and a bucket it shares with another row, in the order of the rows."""
    members, buckets = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    number = 0
    for band in keys[:, rows]:
        order = np.argsort(band, kind="stable")
        fresh = np.diff(band[order], prepend=~band[order[:1]]) != 0
        alone = fresh & np.append(fresh[1:], True)
        members.append(rows[order[~alone]])
        buckets.append(np.cumsum(fresh)[~alone] + number)
        number += len(rows)
    row_of, bucket_of = np.concatenate(members), np.concatenate(buckets)
    order = np.argsort(row_of, kind="stable")
    return row_of[order], bucket_of[order]


def _most_alike(shingles: _Shingles, row: int, candidates: list[int], threshold: float) -> tuple[int, float]:
    """The candidate with the highest Jaccard index, the earlier of equals; (-1, 0) where none may reach the threshold.

    Sizes alone bound the index from above, which spares a long text its comparison with short ones.
    """
    mine = shingles.of(row)
    sizes = shingles.starts[np.array(candidates, np.int64) + 1] - shingles.starts[candidates]
    possible = np.flatnonzero(np.minimum(sizes, len(mine)) / np.maximum(sizes, len(mine)) >= threshold)
    if not len(possible):
        return -1, 0.0
    theirs = np.concatenate([shingles.of(candidates[number]) for number in possible])
    found = mine[np.minimum(np.searchsorted(mine, theirs), len(mine) - 1)] == theirs
    edges = np.cumsum(sizes[possible]) - sizes[possible]
    common = np.add.reduceat(found.astype(np.int64), edges)
    similarity = common / (sizes[possible] + len(mine) - common)
    best = int(similarity.argmax())
    return candidates[possible[best]], float(similarity[best])


def _text_keys(piece: Words) -> Hashes:
    """A hash of each row's words in their order, 0 for a row without."""
    places = np.arange(len(piece.hashes)) - np.repeat(piece.starts[:-1], piece.lengths)
    return row_sums(mix(piece.hashes ^ mix(places.astype(np.uint64))), piece.starts)


def _leaders(keys: Hashes) -> Places:
    """For each row the first row with its key."""
    _, first, number = np.unique(keys, return_index=True, return_inverse=True)
    return first[number]


def names_of(frame: pl.DataFrame) -> list[str]:
    """The name of each row in a reason: its id, cut where it is very long, or its number."""
    numbered = pl.Series([f"row {number}" for number in range(len(frame))], dtype=pl.String)
    return frame["id"].cast(pl.String).str.slice(0, _ID_LENGTH).zip_with(frame["id"].is_not_null(), numbered).to_list()
