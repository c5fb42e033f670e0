"""Previews masks on a data set: the table of thresholds and the histogram of its tokens."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from synth.scoring.masks import Mask, Tokens, mask_rows

PERPLEXITIES = (1.5, 2.0, 2.5, 5.0, 10.0, 25.0, 100.0, 1000.0)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.5)
CONFLICTS = (0.1, 0.15, 0.25, 0.5)
EDGES = (1.0, 1.1, 1.5, 2.5, 5.0, 10.0, 25.0, 100.0, 1000.0, math.inf)
"""Perplexities between which the tokens are counted."""


@dataclass(slots=True)
class Effect:
    """What one mask does: tokens masked, those left with the sum of their -log-probabilities (nats), empty rows."""

    mask: Mask
    masked: int = 0
    left: int = 0
    nats_left: float = 0.0
    emptied: int = 0

    @property
    def share(self) -> float:
        """The share of the scored tokens that is masked."""
        return self.masked / max(1, self.masked + self.left)

    @property
    def perplexity(self) -> float:
        """Of the tokens that remain; NaN where there are none."""
        return math.exp(self.nats_left / self.left) if self.left else math.nan


@dataclass(slots=True)
class Preview:
    """Effects of many masks, and how many scored tokens lie between each two `EDGES` of perplexity."""

    rows: int
    effects: list[Effect]
    histogram: list[int]

    @property
    def tokens(self) -> int:
        """Scored tokens."""
        return sum(self.histogram)

    def __str__(self) -> str:
        """The threshold table and the histogram."""
        lines = [f"{self.rows:,} rows, {self.tokens:,} scored tokens", ""]
        lines.append(f"{'mask':<24}{'masked':>12}{'share':>9}{'perplexity left':>18}{'rows emptied':>14}")
        for effect in self.effects:
            left = "–" if math.isnan(effect.perplexity) else f"{effect.perplexity:,.2f}"
            lines.append(
                f"{_name(effect.mask):<24}{effect.masked:>12,}{effect.share:>9.1%}{left:>18}{effect.emptied:>14,}"
            )
        lines += ["", f"{'perplexity of a token':<24}{'tokens':>12}{'share':>9}"]
        most = max(self.histogram, default=0)
        for low, high, count in zip(EDGES, EDGES[1:], self.histogram, strict=False):
            name = f"{low:g} – {high:g}" if math.isfinite(high) else f"above {low:g}"
            bar = "█" * round(40 * count / max(1, most))
            lines.append(f"{name:<24}{count:>12,}{count / max(1, self.tokens):>9.1%}  {bar}".rstrip())
        return "\n".join(lines)


def _name(mask: Mask) -> str:
    parts = [] if mask.above is None else [f"above {mask.above:g}"]
    parts += [
        f"{name} {share:.0%}" for name, share in (("hardest", mask.hardest), ("conflicts", mask.conflicts)) if share
    ]
    amount = " + ".join(parts)
    return amount if mask.which == "hardest" else f"{amount}, {mask.which}"


def preview(blocks: Iterable[Tokens], masks: Sequence[Mask]) -> Preview:
    """Compute what each of some masks (row by row) does to all rows; reads them once."""
    seen = Preview(0, [Effect(mask) for mask in masks], [0] * (len(EDGES) - 1))
    inner = np.log(EDGES[1:-1])
    for tokens in blocks:
        scored = np.isfinite(tokens.logprobs)
        each = np.bincount(tokens.rows[scored], minlength=len(tokens.ids))
        seen.rows += int((each > 0).sum())
        between = np.searchsorted(inner, -tokens.logprobs[scored], side="left")  # an edge belongs to the bin below it
        for index, count in enumerate(np.bincount(between, minlength=len(seen.histogram)).tolist()):
            seen.histogram[index] += count
        for effect in seen.effects:
            masked = mask_rows(effect.mask, tokens)
            left = scored & ~masked
            effect.masked += int(masked.sum())
            effect.left += int(left.sum())
            effect.nats_left -= float(tokens.logprobs[left].sum(dtype=np.float64))
            effect.emptied += int(((each > 0) & (np.bincount(tokens.rows[left], minlength=len(each)) == 0)).sum())
    return seen
