"""Which tokens are taken out of the loss: Selective Token Masking and its controls (arXiv 2501.14315).

The paper masks the tokens that the model finds hardest: perplexity above 2.5. Its controls, masks at random and of the
easiest tokens, say something only if they mask as many tokens as the mask they stand beside; so here they do, row by
row or over the whole data set, with the same tokens protected.

Confident conflicts (arXiv 2601.02151) are the tokens of which the model is sure that they are another: those that are
both among the share of the scored tokens where it is surest, by its entropy, and among as large a share that it holds
least likely. The paper masks them at 15%, before it weights them (`synth.scoring.token_weights`).

Everything works on many rows at once, laid end to end: `rows[t]` is the row that token t belongs to, in ascending
order, `logprobs[t]` its log-probability in nats (NaN where it is not scored), `free[t]` whether it may be masked.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from synth.errors import UsageError
from synth.seeds import seed_of
from synth.values import Over

Which = Literal["hardest", "easiest", "random"]


@dataclass(frozen=True, slots=True)
class Mask:
    """What is masked: the hard tokens of `above` or `hardest`, and the confident `conflicts`.

    Attributes:
        above: mask the tokens whose perplexity, exp(-log-probability), is above this.
        hardest: or this share of the scored tokens (rounded to whole tokens, half up).
        conflicts: mask tokens that are both among this share of the scored tokens of the lowest entropy and among this
            share of the lowest probability (rounded likewise; whatever is equal to the last of them is among them).
        which: mask these, or as many of the easiest, or as many at random.
        over: whether shares and controls are counted in each row, or over all rows together.
        seed: of the draw at random.
    """

    above: float | None = None
    hardest: float | None = None
    conflicts: float | None = None
    which: Which = "hardest"
    over: Over = "row"
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse contradictory or incomplete settings.

        Raises:
            UsageError: both amounts are given, a control without one, or a value out of its range.
        """
        if self.over not in get_args(Over):
            raise UsageError(f"`mask_over` {self.over} is unknown; take {' or '.join(get_args(Over))}")
        if self.above is not None and self.hardest is not None:
            raise UsageError("`mask_above` and `mask_hardest` are two ways to say what is masked: give one of them")
        if self.above is not None and not self.above >= 1:
            raise UsageError(f"`mask_above` is a perplexity, 1 or more (2.5 in the paper), not {self.above}")
        for name, share in (("hardest", self.hardest), ("confident_conflicts", self.conflicts)):
            if share is not None and not 0 < share < 1:
                raise UsageError(f"`mask_{name}` is a share between 0 and 1 (0.2 or 20%), not {share}")
        if self.which != "hardest" and not self.masks:
            raise UsageError(
                f"`mask_{self.which}` masks as many tokens as `mask_above`, `mask_hardest` or "
                "`mask_confident_conflicts` would: give one of them"
            )

    @property
    def masks(self) -> bool:
        """Whether any tokens are masked."""
        return self.above is not None or self.hardest is not None or self.conflicts is not None

    @property
    def needs_corpus(self) -> bool:
        """Whether all rows must be read before the first can be masked."""
        counts = self.hardest is not None or self.conflicts is not None or self.which != "hardest"
        return self.masks and self.over == "corpus" and counts


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of some rows, end to end; all arrays are `[tokens]`. `ids` are the rows' names, by `rows`.

    `entropies` (nats) are NaN where a token is not scored; None where they are not known.
    """

    rows: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    free: NDArray[np.bool_]
    ids: list[str]
    entropies: NDArray[np.float32] | None = None


@dataclass(slots=True)
class Cut:
    """Where a share of a whole corpus ends: every key above `key` is in it, and the first `ties` equal to it."""

    key: np.uint32
    ties: int

    def take(self, keys: NDArray[np.uint32], free: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the next tokens are in it, of those that are free; uses up its ties."""
        taken = free & (keys > self.key)
        ties = np.flatnonzero(free & (keys == self.key))[: self.ties]
        taken[ties] = True
        self.ties -= len(ties)
        return taken


@dataclass(frozen=True, slots=True)
class CorpusCuts:
    """Where the parts of a mask over a whole corpus end; None for parts that it has not.

    Attributes:
        hardest: the hardest tokens.
        surest: those of the lowest entropy.
        unlikeliest: those of the lowest probability.
        control: those that a control masks instead.
    """

    hardest: Cut | None = None
    surest: Cut | None = None
    unlikeliest: Cut | None = None
    control: Cut | None = None


Keys = Callable[[Tokens], NDArray[np.uint32]]
"""For each token a number: the higher, the sooner it is taken."""
Some = Callable[[Tokens], NDArray[np.bool_]]
"""Which tokens; shape `[tokens]`."""


def mask_rows(mask: Mask, tokens: Tokens) -> NDArray[np.bool_]:
    """Which tokens are masked, each row decided for itself; shape `[tokens]`."""
    masked = _above(mask, tokens)
    if mask.hardest is not None:
        masked |= _first(_shares(mask.hardest, tokens), _hardness(tokens), tokens.free, tokens)
    if mask.conflicts is not None:
        amounts = _shares(mask.conflicts, tokens)
        lows = [_at_most(amounts, keys(tokens), tokens) for keys in (_sureness, _hardness)]
        masked |= lows[0] & lows[1] & tokens.free
    if mask.which == "hardest":
        return masked
    amounts = np.bincount(tokens.rows[masked], minlength=len(tokens.ids))
    return _first(amounts, _control(mask)(tokens), tokens.free, tokens)


def find_cuts(mask: Mask, corpus: Callable[[], Iterable[Tokens]]) -> CorpusCuts:
    """Where the mask over all rows together ends.

    `corpus` gives the blocks from the start, as often as it is called; each cut reads it twice, in constant memory.
    """
    hardest = surest = unlikeliest = None
    if mask.hardest is not None:
        hardest = _find(mask.hardest, _scored, _hardness, _free, corpus)
    if mask.conflicts is not None:
        surest, unlikeliest = (_find(mask.conflicts, _scored, keys, _scored, corpus) for keys in (_sureness, _hardness))
    cuts = CorpusCuts(hardest, surest, unlikeliest)
    if mask.which == "hardest":
        return cuts
    counted = replace(cuts, hardest=replace(hardest) if hardest else None)  # counting uses up ties
    control = _find(1.0, lambda tokens: mask_corpus(mask, counted, tokens), _control(mask), _free, corpus)
    return replace(cuts, control=control)


def mask_corpus(mask: Mask, cuts: CorpusCuts, tokens: Tokens) -> NDArray[np.bool_]:
    """Which of the next tokens of a corpus are masked; shape `[tokens]`. Uses up the cuts' ties: rows in order."""
    if cuts.control is not None:
        return cuts.control.take(_control(mask)(tokens), tokens.free)
    masked = _above(mask, tokens)
    if cuts.hardest is not None:
        masked |= cuts.hardest.take(_hardness(tokens), tokens.free)
    if cuts.surest is not None and cuts.unlikeliest is not None and cuts.surest.ties:  # there are none of no tokens
        conflicts = (_sureness(tokens) >= cuts.surest.key) & (_hardness(tokens) >= cuts.unlikeliest.key)
        masked |= conflicts & tokens.free
    return masked


def _above(mask: Mask, tokens: Tokens) -> NDArray[np.bool_]:
    if mask.above is None:
        return np.zeros(len(tokens.rows), np.bool_)
    return tokens.free & (tokens.logprobs < -math.log(mask.above))


def _first(
    amounts: NDArray[np.int64], keys: NDArray[np.uint32], among: NDArray[np.bool_], tokens: Tokens
) -> NDArray[np.bool_]:
    """The first so many tokens of each row, by their keys, among some, as far as there are so many."""
    chosen = np.flatnonzero(among)
    rows = tokens.rows[chosen]
    order = np.lexsort((~keys[chosen], rows))  # by row, then the highest key first
    starts = np.searchsorted(rows, np.arange(len(tokens.ids)))
    rank = np.arange(len(order)) - starts[rows[order]]
    first = np.zeros(len(tokens.rows), np.bool_)
    first[chosen[order[rank < amounts[rows[order]]]]] = True
    return first


def _at_most(amounts: NDArray[np.int64], keys: NDArray[np.uint32], tokens: Tokens) -> NDArray[np.bool_]:
    """The scored tokens that `_first` takes of each row, and those equal to the last of them."""
    first = _first(amounts, keys, _scored(tokens), tokens)
    last = np.full(len(tokens.ids), np.iinfo(np.uint32).max, np.uint32)
    np.minimum.at(last, tokens.rows[first], keys[first])
    return _scored(tokens) & (amounts > 0)[tokens.rows] & (keys >= last[tokens.rows])


def _shares(share: float, tokens: Tokens) -> NDArray[np.int64]:
    """How many tokens a share of the scored ones is, row by row."""
    scored = np.bincount(tokens.rows[_scored(tokens)], minlength=len(tokens.ids))
    return np.array([_share(share, size) for size in scored.tolist()], np.int64)


def _share(share: float, count: int) -> int:
    return math.floor(share * count + 0.5)


def _find(share: float, of: Some, keys: Keys, among: Some, corpus: Callable[[], Iterable[Tokens]]) -> Cut:
    """Where the first tokens of a corpus end, by their keys: as many as a share of some, taken among others.

    Keys are counted by their upper 16 bits, then, in the bucket where the cut falls, by their lower 16.
    """
    upper, lower = np.zeros(1 << 16, np.int64), np.zeros(1 << 16, np.int64)
    count = 0
    for tokens in corpus():
        count += int(of(tokens).sum())
        upper += np.bincount(keys(tokens)[among(tokens)] >> 16, minlength=1 << 16)
    bucket, left = _bucket(upper, min(_share(share, count), int(upper.sum())))
    for tokens in corpus():
        found = keys(tokens)[among(tokens)]
        lower += np.bincount(found[found >> 16 == bucket] & 0xFFFF, minlength=1 << 16)
    rest, ties = _bucket(lower, left)
    return Cut(np.uint32(bucket << 16 | rest), ties)


def _scored(tokens: Tokens) -> NDArray[np.bool_]:
    return np.isfinite(tokens.logprobs)


def _free(tokens: Tokens) -> NDArray[np.bool_]:
    return tokens.free


def _hardness(tokens: Tokens) -> NDArray[np.uint32]:
    # -log p is at least 0, and floats that are not negative sort as their bits do.
    return np.abs(tokens.logprobs).astype(np.float32).view(np.uint32)


def _sureness(tokens: Tokens) -> NDArray[np.uint32]:
    assert tokens.entropies is not None, "rows are scored with entropies where conflicts are masked"
    return ~np.abs(tokens.entropies).astype(np.float32).view(np.uint32)


def _control(mask: Mask) -> Keys:
    """The keys of a control: of the easiest tokens, or at random."""
    if mask.which == "easiest":
        return lambda tokens: ~_hardness(tokens)

    def drawn(tokens: Tokens) -> NDArray[np.uint32]:
        sizes = np.bincount(tokens.rows, minlength=len(tokens.ids))
        draws = [
            np.random.default_rng(seed_of(mask.seed, name)).integers(0, 1 << 32, size, np.uint32)
            for name, size in zip(tokens.ids, sizes.tolist(), strict=True)
        ]
        return np.concatenate(draws) if draws else np.zeros(0, np.uint32)

    return drawn


def _bucket(counts: NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """The highest bucket in which `wanted` items, counted from the top, end; and how many of its items are wanted."""
    above = np.cumsum(counts[::-1])
    index = int(np.searchsorted(above, wanted))
    if wanted <= 0 or index == len(counts):
        return len(counts) - 1, 0
    return len(counts) - 1 - index, wanted - int(above[index] - counts[::-1][index])
