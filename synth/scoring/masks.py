"""Which tokens are taken out of the loss: Selective Token Masking and its controls (arXiv 2501.14315).

The paper masks the tokens that the model finds hardest: perplexity above 2.5. Its controls, masks at random and of the
easiest tokens, say something only if they mask as many tokens as the mask they stand beside; so here they do, row by
row or over the whole data set, with the same tokens protected.

Everything works on many rows at once, laid end to end: `rows[t]` is the row that token t belongs to, in ascending
order, `logprobs[t]` its log-probability in nats (NaN where it is not scored), `free[t]` whether it may be masked.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from synth.errors import UsageError
from synth.seeds import seed_of
from synth.values import Over

Which = Literal["hardest", "easiest", "random"]


@dataclass(frozen=True, slots=True)
class Mask:
    """What is masked.

    Attributes:
        above: mask the tokens whose perplexity, exp(-log-probability), is above this.
        hardest: or this share of the scored tokens (rounded to whole tokens, half up).
        which: mask the hardest tokens, or as many of the easiest, or as many at random.
        over: whether shares and controls are counted in each row, or over all rows together.
        seed: of the draw at random.
    """

    above: float | None = None
    hardest: float | None = None
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
        if self.hardest is not None and not 0 < self.hardest < 1:
            raise UsageError(f"`mask_hardest` is a share between 0 and 1 (0.2 or 20%), not {self.hardest}")
        if self.which != "hardest" and not self.masks:
            raise UsageError(
                f"`mask_{self.which}` masks as many tokens as `mask_above` or `mask_hardest` would: give one of them"
            )

    @property
    def masks(self) -> bool:
        """Whether any tokens are masked."""
        return self.above is not None or self.hardest is not None

    @property
    def needs_corpus(self) -> bool:
        """Whether all rows must be read before the first can be masked."""
        threshold_alone = self.above is not None and self.which == "hardest"
        return self.masks and self.over == "corpus" and not threshold_alone


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of some rows, end to end; all arrays are `[tokens]`. `ids` are the rows' names, by `rows`."""

    rows: NDArray[np.int64]
    logprobs: NDArray[np.float32]
    free: NDArray[np.bool_]
    ids: list[str]


@dataclass(slots=True)
class Cut:
    """Where the mask over a whole corpus ends: every key above `key` is masked, and the first `ties` equal to it."""

    key: np.uint32
    ties: int


def mask_rows(mask: Mask, tokens: Tokens) -> NDArray[np.bool_]:
    """Which tokens are masked, each row decided for itself; shape `[tokens]`."""
    if not mask.masks:
        return np.zeros(len(tokens.rows), np.bool_)
    if mask.above is not None and mask.which == "hardest":
        return _above(mask.above, tokens)
    count = len(tokens.ids)
    amount = np.minimum(_amounts(mask, tokens), np.bincount(tokens.rows[tokens.free], minlength=count))
    chosen = np.flatnonzero(tokens.free)
    rows = tokens.rows[chosen]
    order = np.lexsort((~_keys(mask, tokens)[chosen], rows))  # by row, then the first to be masked first
    starts = np.searchsorted(rows, np.arange(count))
    rank = np.arange(len(order)) - starts[rows[order]]
    masked = np.zeros(len(tokens.rows), np.bool_)
    masked[chosen[order[rank < amount[rows[order]]]]] = True
    return masked


def find_cut(mask: Mask, corpus: Callable[[], Iterable[Tokens]]) -> Cut:
    """Where the mask over all rows together ends.

    `corpus` gives the blocks from the start, as often as it is called. It is read twice, in constant memory: keys are
    counted by their upper 16 bits, then, in the bucket where the cut falls, by their lower 16.
    """
    wanted = scored = free = 0
    upper = np.zeros(1 << 16, np.int64)
    for tokens in corpus():
        wanted += int(_amounts(mask, tokens).sum())
        scored += int(np.isfinite(tokens.logprobs).sum())
        free += int(tokens.free.sum())
        upper += np.bincount(_keys(mask, tokens)[tokens.free] >> 16, minlength=1 << 16)
    if mask.hardest is not None:
        wanted = _share(mask.hardest, scored)
    bucket, left = _bucket(upper, min(wanted, free))
    lower = np.zeros(1 << 16, np.int64)
    for tokens in corpus():
        keys = _keys(mask, tokens)[tokens.free]
        lower += np.bincount(keys[keys >> 16 == bucket] & 0xFFFF, minlength=1 << 16)
    rest, ties = _bucket(lower, left)
    return Cut(np.uint32(bucket << 16 | rest), ties)


def mask_corpus(mask: Mask, cut: Cut, tokens: Tokens) -> NDArray[np.bool_]:
    """Which of the next tokens of a corpus are masked; shape `[tokens]`. Uses up the cut's ties: rows in order."""
    keys = _keys(mask, tokens)
    masked = tokens.free & (keys > cut.key)
    ties = np.flatnonzero(tokens.free & (keys == cut.key))[: cut.ties]
    masked[ties] = True
    cut.ties -= len(ties)
    return masked


def _amounts(mask: Mask, tokens: Tokens) -> NDArray[np.int64]:
    """How many tokens of each row the mask covers, were none but its own protected."""
    count = len(tokens.ids)
    if mask.above is not None:
        return np.bincount(tokens.rows[_above(mask.above, tokens)], minlength=count)
    scored = np.bincount(tokens.rows[np.isfinite(tokens.logprobs)], minlength=count)
    return np.array([_share(mask.hardest or 0, size) for size in scored.tolist()], np.int64)


def _above(perplexity: float, tokens: Tokens) -> NDArray[np.bool_]:
    return tokens.free & (tokens.logprobs < -math.log(perplexity))


def _share(share: float, count: int) -> int:
    return math.floor(share * count + 0.5)


def _keys(mask: Mask, tokens: Tokens) -> NDArray[np.uint32]:
    """For each token a number: the higher, the sooner it is masked."""
    if mask.which == "random":
        sizes = np.bincount(tokens.rows, minlength=len(tokens.ids))
        draws = [
            np.random.default_rng(seed_of(mask.seed, name)).integers(0, 1 << 32, size, np.uint32)
            for name, size in zip(tokens.ids, sizes.tolist(), strict=True)
        ]
        return np.concatenate(draws) if draws else np.zeros(0, np.uint32)
    # -log p is at least 0, and floats that are not negative sort as their bits do.
    bits = np.abs(tokens.logprobs).astype(np.float32).view(np.uint32)
    return bits if mask.which == "hardest" else ~bits


def _bucket(counts: NDArray[np.int64], wanted: int) -> tuple[int, int]:
    """The highest bucket in which `wanted` items, counted from the top, end; and how many of its items are wanted."""
    above = np.cumsum(counts[::-1])
    index = int(np.searchsorted(above, wanted))
    if wanted <= 0 or index == len(counts):
        return len(counts) - 1, 0
    return len(counts) - 1 - index, wanted - int(above[index] - counts[::-1][index])
