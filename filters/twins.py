"""Of rows on disk, which duplicate which: the earlier row stays.

Candidates are rows of one bucket: those that share a band of their signatures. Each is compared by its whole set, so
that no row falls to an estimate.

Rows are many, so their sets, their keys and the pairs of row and bucket are on disk. A band's keys are sorted to find
the buckets that rows share; the pairs go into ranges of rows; range by range, row by row, the candidates of a row are
the rows of its buckets that stay. In memory are, a row, 8 bytes for the place of its set, 11 while a band is sorted,
and 6 for each bucket that it shares; for each row that falls 24, and up to 85 while these are put in order.
"""

import itertools
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from filters.minhash import Signatures, followers_of, shared
from filters.spill import Spill
from filters.words import Places

RANGE_BITS = 19
"""Rows whose pairs are in memory at once, as a power of two."""

_BUCKET_ROWS = 32
"""Only so many kept rows of a bucket are compared with, so that what a row may cost is bounded. Fuller buckets come of
shingles that many unlike rows have in common (a template); rows really alike share other buckets besides."""


def find_twins(
    signed: Signatures, threshold: float, seeds: int = 0, grow: bool = True
) -> tuple[Places, Places, NDArray[np.float64]]:
    """The rows that duplicate another, in their order, of each the row it is most alike, and how much.

    Args:
        signed: the sets of all rows.
        threshold: least Jaccard index.
        seeds: so many rows at the beginning stay whatever they are, and are compared with.
        grow: also compare with the rows behind them that stay.
    """
    followers, leaders = followers_of(signed.keys(0))
    rows, twins, alike = _nearest(signed, _buckets(signed, followers, None if grow else seeds), threshold, seeds, grow)
    # A row with the very set of another, its leader, fares as that does.
    at = np.minimum(np.searchsorted(rows, leaders), max(0, len(rows) - 1))
    fell = rows[at] == leaders if len(rows) else np.zeros(len(leaders), bool)
    beside = (leaders < seeds) | (grow & ~fell)
    fallen = beside | fell
    rows = np.concatenate([rows, followers[fallen]])
    twins = np.concatenate([twins, np.where(beside, leaders, twins[at] if len(twins) else 0)[fallen]])
    alike = np.concatenate([alike, np.where(beside, 1.0, alike[at] if len(alike) else 0)[fallen]])
    order = np.argsort(rows)
    order = order[rows[order] >= seeds]
    return rows[order], twins[order], alike[order]


class _Buckets:
    """Buckets that rows share: the pairs of row and bucket on disk, and of each bucket the rows that stay.

    A bucket is the place of its rows in `_stay`: how many they are, then their numbers.
    """

    def __init__(self, rows: int) -> None:
        self._pairs = Spill()
        self._ranges: list[list[tuple[int, int]]] = [[] for _ in range((rows >> RANGE_BITS) + 1)]
        self._places = 0
        self._stay = np.zeros(0, np.uint32).data

    def add(self, rows: Places, fresh: NDArray[np.bool_]) -> None:
        """Take rows bucket after bucket, with the beginnings of the buckets."""
        sizes = np.diff(np.flatnonzero(fresh), append=len(rows))
        ends = self._places + np.cumsum(1 + np.minimum(sizes, _BUCKET_ROWS))
        buckets = np.concatenate([np.full(1, self._places), ends])
        self._places = int(buckets[-1])
        # one number a pair, which sorts by row, then by bucket
        pairs = ((rows & ((1 << RANGE_BITS) - 1)) << (63 - RANGE_BITS)) | np.repeat(buckets[:-1], sizes)
        order = np.argsort(rows >> RANGE_BITS, kind="stable")
        edges = np.searchsorted((rows >> RANGE_BITS)[order], np.arange(len(self._ranges) + 1))
        for number, (begin, end) in enumerate(itertools.pairwise(edges.tolist())):
            if end > begin:
                self._ranges[number].append((self._pairs.add(pairs[order[begin:end]]), end - begin))

    def of_rows(self) -> Iterator[tuple[int, list[int]]]:
        """Each row that shares buckets, in order, and these."""
        self._stay = np.zeros(self._places, np.uint32).data
        for number, parts in enumerate(self._ranges):
            pairs = np.concatenate([np.zeros(0, np.int64), *(self._pairs.read(*part, np.int64) for part in parts)])
            pairs.sort()
            rows = pairs >> (63 - RANGE_BITS)
            pairs &= (1 << (63 - RANGE_BITS)) - 1
            edges = np.flatnonzero(np.diff(rows, prepend=-1, append=-1)) if len(rows) else np.zeros(1, np.int64)
            first = number << RANGE_BITS
            for begin, end in itertools.pairwise(edges.tolist()):
                yield first + int(rows[begin]), pairs[begin:end].tolist()

    def staying(self, bucket: int) -> list[int]:
        """The rows of a bucket that stay, so far."""
        return self._stay[bucket + 1 : bucket + 1 + self._stay[bucket]].tolist()

    def stays(self, row: int, bucket: int) -> None:
        """Note that a row of a bucket stays."""
        if self._stay[bucket] < _BUCKET_ROWS:
            self._stay[bucket] += 1
            self._stay[bucket + self._stay[bucket]] = row


def _buckets(signed: Signatures, followers: Places, before: int | None) -> _Buckets:
    """The buckets that rows share, `followers` aside; with `before`, those that a row before that one is in."""
    buckets = _Buckets(len(signed))
    for band in range(1, signed.bands + 1):
        keys = signed.keys(band)
        keys[followers] = 0
        for rows, fresh in shared(keys):
            if before is not None:
                wanted = np.repeat(rows[fresh] < before, np.diff(np.flatnonzero(fresh), append=len(rows)))
                rows, fresh = rows[wanted], fresh[wanted]
            buckets.add(rows, fresh)
    return buckets


def _nearest(
    signed: Signatures, buckets: _Buckets, threshold: float, seeds: int, grow: bool
) -> tuple[Places, Places, NDArray[np.float64]]:
    """As `find_twins`, of rows with a set of their own."""
    rows, twins, alike = array("q"), array("q"), array("d")
    for row, mine in buckets.of_rows():
        if row >= seeds:
            candidates = sorted({other for bucket in mine for other in buckets.staying(bucket)})
            twin, similarity = _most_alike(signed, row, candidates, threshold) if candidates else (-1, 0.0)
            if similarity >= threshold:
                rows.append(row)
                twins.append(twin)
                alike.append(similarity)
                continue
        if row < seeds or grow:
            for bucket in mine:
                buckets.stays(row, bucket)
    return np.asarray(rows), np.asarray(twins), np.asarray(alike)


def _most_alike(signed: Signatures, row: int, candidates: Sequence[int], threshold: float) -> tuple[int, float]:
    """The candidate with the highest Jaccard index, the earlier of equals; (-1, 0) where none may reach the threshold.

    Sizes alone bound the index from above, which spares a long text its comparison with short ones.
    """
    others = np.array(candidates, np.int64)
    mine = signed.sets.read(np.array([row]))
    sizes = signed.sets.lengths(others)
    possible = np.flatnonzero(np.minimum(sizes, len(mine)) / np.maximum(sizes, len(mine)) >= threshold)
    if not len(possible):
        return -1, 0.0
    others, some = others[possible], sizes[possible]
    theirs = signed.sets.read(others)
    found = mine[np.minimum(np.searchsorted(mine, theirs), len(mine) - 1)] == theirs
    common = np.add.reduceat(found.astype(np.int64), np.cumsum(some) - some)
    similarity = common / (some + len(mine) - common)
    best = int(similarity.argmax())
    return int(others[best]), float(similarity[best])
