"""MinHash signatures of texts: shingle sets, and the keys by which those that may be alike find each other.

As in Broder (1997) a text is the set of its word n-grams (shingles). Signatures are cut in bands (Leskovec, Rajaraman
and Ullman, Mining of Massive Datasets, chapter 3): texts that share a band are worth a comparison.

Signatures are made with numpy, which takes less than the libraries do. For 52,000 rows of 60 words near duplicates take
1.7 processor seconds, the comparison of whole sets among them; rensa 0.5 takes 2.0 and datasketch 2.0 takes 11.2
without it (`tests/benchmarks/bench_duplicates.py`, medians of 3). The signatures alone, of shingles that are hashed
already, take 0.27 s here and 1.00 s with rensa, which takes and gives Python lists.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.spill import Ragged, Spill
from filters.words import Hashes, Places, Words, mix, ngram_hashes, ngram_places, row_sums, split

PERMUTATIONS = 128
FOUND_AT_THRESHOLD = 0.98
"""The least chance with which a pair exactly at the threshold becomes a candidate."""

SORTED_ROWS = 1 << 22
"""Keys that are sorted at a time, about; so many fewer bytes are in memory at once."""

_SHINGLE_BITS = 48  # the upper 16 bits of a sort key hold the row of the piece
_SIGNATURE_BLOCK = 1 << 16  # shingles; small enough for the cache


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


class Signatures:
    """The shingle sets of rows and keys made of them, on disk.

    Attributes:
        sets: of each row its set: sorted hashes without repetition.
        bands: how many keys a row has beside that of its whole set.
    """

    def __init__(self, n: int, threshold: float) -> None:
        self.bands, width = bands(threshold)
        self.sets = Ragged(np.uint64)
        self._n = n
        # multiplication by an odd number permutes the 64-bit numbers; the order of its high bits is as good as random
        factors = np.random.default_rng(0).integers(0, 1 << 63, self.bands * width, np.uint64)
        self._factors = (factors * np.uint64(2) + np.uint64(1)).reshape(self.bands, width)
        self._keys = Spill()
        self._pieces: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self.sets)

    def add(self, texts: pl.Series) -> None:
        """Sign the texts of the next rows."""
        for piece in split(texts, operators=True):
            hashes, lengths = shingle_sets(piece, self._n)
            self.sets.add(hashes, lengths)
            whole = row_sums(mix(hashes), np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)]))
            keys = np.concatenate([whole[None], band_keys(hashes, lengths, self._factors)])
            self._pieces.append((len(lengths), self._keys.add(keys)))

    def keys(self, number: int) -> Hashes:
        """One key of each row, 0 where its text is empty: number 0 is of its whole set, the others are of bands."""
        keys = np.empty(len(self), np.uint64)
        row = 0
        for rows, at in self._pieces:
            keys[row : row + rows] = self._keys.read(at + number * rows * keys.itemsize, rows, np.uint64)
            row += rows
        return keys


def shared(keys: Hashes) -> Iterator[tuple[Places, NDArray[np.bool_]]]:
    """Rows that share their key with another, key after key and in each by their number, and where each key begins.

    Some of the keys at a time, so that what sorting takes is bounded. A key of 0 is none.
    """
    bits = (len(keys) // SORTED_ROWS).bit_length()
    step = 1 << (64 - bits)
    for low in range(0, 1 << 64, step):
        rows = np.flatnonzero((keys >= np.uint64(max(low, 1))) & (keys <= np.uint64(low + step - 1)))
        some = keys[rows]
        order = np.argsort(some, kind="stable")
        some = some[order]
        fresh = np.diff(some, prepend=~some[:1]) != 0
        alone = fresh & np.append(fresh[1:], True)
        yield rows[order[~alone]], fresh[~alone]


def followers_of(keys: Hashes) -> tuple[Places, Places]:
    """Rows whose key an earlier row has, in their order, and of each the first row with its key."""
    followers, leaders = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for rows, fresh in shared(keys):
        leaders.append(np.repeat(rows[fresh], np.diff(np.flatnonzero(fresh), append=len(rows)) - 1))
        followers.append(rows[~fresh])
    found = np.concatenate(followers)
    order = np.argsort(found)
    return found[order], np.concatenate(leaders)[order]


def shingle_sets(piece: Words, n: int) -> tuple[Hashes, Places]:
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


def band_keys(hashes: Hashes, lengths: Places, factors: Hashes) -> Hashes:
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
