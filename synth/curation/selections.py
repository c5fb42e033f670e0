"""The ways to choose rows that `synth filter --keep` knows by name; made as `synth.curation.filters` are."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from filters import selection
from synth.chat.format import ChatFormat
from synth.curation.clusters import k_means
from synth.curation.context import FilterContext, Text
from synth.curation.pipeline import Filter
from synth.errors import RequestError, UsageError


@dataclass(frozen=True, slots=True)
class Amount:
    """How many rows: a number, or a share of those that are left, as in 10%."""

    text: str

    def __post_init__(self) -> None:
        """Read it once, to see that it can be.

        Raises:
            UsageError: it is no amount.
        """
        self.of(0)

    def of(self, rows: int) -> int:
        """The number, where there are so many rows."""
        try:
            if self.text.endswith("%"):
                share = float(self.text[:-1]) / 100
                if 0 <= share <= 1:
                    return math.ceil(share * rows - 1e-9)  # a share of few rows is one, too
            elif (number := float(self.text)).is_integer() and number >= 0:
                return int(number)
        except (ValueError, OverflowError):
            pass
        raise UsageError(f"{self.text} is no number of rows; write 1000 or 10%")


def top(shop: FilterContext, column: str, rows: Amount) -> Filter:
    """The rows with the highest values of a column: top:quality,1000 or top:quality,10%."""
    shop.column(column)
    return lambda frame: selection.best(frame, frame[column], rows.of(len(frame)))


def bottom(shop: FilterContext, column: str, rows: Amount) -> Filter:
    """The rows with the lowest values of a column: bottom:perplexity,1000."""
    shop.column(column)
    return lambda frame: selection.best(frame, frame[column], rows.of(len(frame)), lowest=True)


def longest(rows: Amount, of: Text = "answer") -> Filter:
    """The longest answers, in characters (arXiv 2402.04833): longest:1000."""
    return lambda frame: selection.best(
        frame, frame[of].fill_null("").str.len_chars().alias(f"length of the {of}"), rows.of(len(frame))
    )


def shortest_right(shop: FilterContext) -> Filter:
    """The shortest right answer to each prompt (arXiv 2502.20122); synth verify says which are right."""
    shop.column("verdict")
    return selection.shortest_right


def random(shop: FilterContext, rows: Amount) -> Filter:
    """Rows at random: random:1000."""
    return lambda frame: selection.sample(frame, rows.of(len(frame)), shop.seed)


def stratified(shop: FilterContext, column: str, rows: Amount, shares: selection.Shares = "proportional") -> Filter:
    """Rows at random from each value of a column: stratified:topic,1000,shares=equal."""
    shop.column(column)
    return lambda frame: selection.stratified(frame, column, rows.of(len(frame)), shares, shop.seed)


def tokens(shop: FilterContext, total: int, by: str | None = None, model: str | None = None) -> Filter:
    """Rows of at most so many tokens in all, at random or the best by a column: tokens:1000000,model=M."""
    if by is not None:
        shop.column(by)
    if model is None and "input_ids" not in shop.columns:
        raise UsageError("name the model whose tokens they are, model=M; or give rows that synth score-tokens made")
    chat = None if model is None else shop.chat(model)

    def find(frame: pl.DataFrame) -> pl.Series:
        counts = frame["input_ids"].list.len().to_list() if chat is None else _counted(frame, chat)
        return selection.budget(counts, total, None if by is None else frame[by], shop.seed)

    return find


def diverse(
    shop: FilterContext, rows: Amount, model: str, by: str | None = None, distance: float = 0.1, of: Text = "text"
) -> Filter:
    """The best rows that are unlike each other (DEITA, arXiv 2312.15685), by complexity × quality or a column."""
    selection.check_distance(distance)
    for name in ("complexity", "quality") if by is None else (by,):
        shop.column(name)
    score = pl.col("complexity") * pl.col("quality") if by is None else pl.col(by)
    named = score.alias("complexity × quality" if by is None else by)
    embed = shop.embedding(model, of)
    return lambda frame: selection.diverse(
        frame, frame.select(named).to_series(), embed(frame), rows.of(len(frame)), distance
    )


def representatives(shop: FilterContext, rows: Amount, model: str, of: Text = "text") -> Filter:
    """Of as many clusters of like rows (k-means) the row nearest the middle of each."""
    embed = shop.embedding(model, of)

    def find(frame: pl.DataFrame) -> pl.Series:
        clusters = k_means(embed(frame), rows.of(len(frame)), shop.seed)
        return selection.representatives(frame, clusters.labels, clusters.distances)

    return find


def _counted(frame: pl.DataFrame, chat: ChatFormat) -> list[int | None]:
    """Tokens of each conversation, None where it cannot be written by the model's chat template."""
    counts: list[int | None] = []
    for messages in frame["messages"].to_list():
        try:
            counts.append(len(chat.encode(messages or []).input_ids))
        except RequestError:
            counts.append(None)
    return counts


SELECTIONS: dict[str, Callable[..., Filter]] = {
    function.__name__.replace("_", "-"): function
    for function in (
        top,
        bottom,
        longest,
        shortest_right,
        random,
        stratified,
        tokens,
        diverse,
        representatives,
    )
}
