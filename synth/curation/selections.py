"""The ways to choose rows that `synth filter --keep` knows by name, each marked as `synth.curation.registry` says."""

import math
from collections.abc import Callable

import polars as pl

from filters import selection
from synth.chat.format import ChatFormat
from synth.curation.clusters import k_means
from synth.curation.context import FilterContext, Text
from synth.curation.judging import Compared, held
from synth.curation.registry import keeps
from synth.data.row import RENDERING, as_messages
from synth.errors import RequestError, UsageError
from synth.scoring.encoding import RowEncoder

HowMany = int | str
"""How many rows: a number, or a share of those that are left, as in "10%"."""


@keeps
def Top(context: FilterContext, column: str, rows: HowMany) -> Compared:
    """The rows with the highest values of a column: top:quality,1000 or top:quality,10%."""
    count = _counter(rows)
    context.column(column)
    return _best(column, count)


@keeps
def Bottom(context: FilterContext, column: str, rows: HowMany) -> Compared:
    """The rows with the lowest values of a column: bottom:perplexity,1000."""
    count = _counter(rows)
    context.column(column)
    return _best(column, count, lowest=True)


@keeps
def Longest(_: FilterContext, rows: HowMany, of: Text = "answer") -> Compared:
    """The longest answers, in characters (arXiv 2402.04833): longest:1000."""
    count = _counter(rows)
    name = f"length of the {of}"
    return _best(name, count, pl.col(of).fill_null("").str.len_chars().alias(name))


@keeps
def ShortestRight(context: FilterContext) -> Compared:
    """The shortest right answer to each prompt (arXiv 2502.20122); synth verify says which are right."""
    context.column("verdict")
    columns = (
        "id",
        "verdict",
        pl.col("prompt").fill_null("").hash(seed=2),
        pl.col("answer").fill_null("").str.len_chars().alias("length"),
    )
    return held(lambda frame: frame.select(columns), selection.shortest_right)


@keeps
def Random(context: FilterContext, rows: HowMany) -> Compared:
    """Rows at random: random:1000."""
    count = _counter(rows)
    return held(
        lambda frame: frame.select("row"), lambda whole: selection.sample(whole, count(len(whole)), context.seed)
    )


@keeps
def Stratified(
    context: FilterContext, column: str, rows: HowMany, shares: selection.Shares = "proportional"
) -> Compared:
    """Rows at random from each value of a column: stratified:topic,1000,shares=equal."""
    count = _counter(rows)
    context.column(column)
    return held(
        lambda frame: frame.select(column),
        lambda whole: selection.stratified(whole, column, count(len(whole)), shares, context.seed),
    )


@keeps
def Tokens(context: FilterContext, total: int, by: str | None = None, model: str | None = None) -> Compared:
    """Rows of at most so many tokens in all, at random or the best by a column: tokens:1000000,model=M."""
    if by is not None:
        context.column(by)
    if model is None and "input_ids" not in context.columns:
        raise UsageError("name the model whose tokens are counted, model=M; or give rows that synth score-tokens made")
    chat = None if model is None else context.chat(model)

    def keep(frame: pl.DataFrame) -> pl.DataFrame:
        counts = frame["input_ids"].list.len().cast(pl.Int64) if chat is None else _counted(frame, chat)
        scores = [] if by is None else [frame[by].alias("score")]
        return pl.DataFrame([counts.alias("tokens"), *scores])

    def find(whole: pl.DataFrame) -> pl.Series:
        scores = None if by is None else whole["score"].alias(by)
        return selection.budget(whole["tokens"].to_list(), total, scores, context.seed)

    return held(keep, find)


@keeps
def Diverse(
    context: FilterContext, rows: HowMany, model: str, by: str | None = None, distance: float = 0.1, of: Text = "text"
) -> Compared:
    """The best rows that are unlike each other (DEITA, arXiv 2312.15685), by complexity × quality or a column."""
    count = _counter(rows)
    selection.check_distance(distance)
    for name in ("complexity", "quality") if by is None else (by,):
        context.column(name)
    score = pl.col("complexity") * pl.col("quality") if by is None else pl.col(by)
    name = "complexity × quality" if by is None else by
    embed = context.embedding(model, of)
    return held(
        lambda frame: frame.select("id", score.alias("score"), embed(frame)),
        lambda whole: selection.diverse(
            whole, whole["score"].alias(name), whole["vector"].to_numpy(), count(len(whole)), distance
        ),
    )


@keeps
def Representatives(context: FilterContext, rows: HowMany, model: str, of: Text = "text") -> Compared:
    """As many clusters of similar rows (k-means), and of each the row nearest its centre."""
    count = _counter(rows)
    embed = context.embedding(model, of)

    def find(whole: pl.DataFrame) -> pl.Series:
        clusters = k_means(whole["vector"].to_numpy(), count(len(whole)), context.seed)
        return selection.representatives(whole, clusters.labels, clusters.distances)

    return held(lambda frame: frame.select("id", embed(frame)), find)


def _best(name: str, count: Callable[[int], int], scores: pl.Expr | None = None, lowest: bool = False) -> Compared:
    """The rows of the highest scores: of a column of that name, or of `scores`, which bear it."""
    return held(
        lambda frame: frame.select(pl.col(name) if scores is None else scores),
        lambda whole: selection.best(whole, whole[name], count(len(whole)), lowest),
    )


def _counter(wanted: HowMany) -> Callable[[int], int]:
    """A function from the number of rows to the number that is wanted.

    Raises:
        UsageError: it is no number and no share.
    """
    text = str(wanted)
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            if 0 <= share <= 1:
                return lambda rows: math.ceil(share * rows - 1e-9)  # a share of few rows is one, too
        elif (number := float(text)).is_integer() and number >= 0:
            return lambda _: int(number)
    except (ValueError, OverflowError):
        pass
    raise UsageError(f"{text} is no number of rows; write 1000 or 10%")


def _counted(frame: pl.DataFrame, chat: ChatFormat) -> pl.Series:
    """Tokens of each conversation, None where it cannot be written by the model's chat template."""
    counts: list[int | None] = []
    encoder = RowEncoder(chat)
    columns = ["messages", *(name for name in RENDERING.names if name in frame.columns)]
    for record in frame.select(columns).iter_rows(named=True):
        try:
            counts.append(encoder.length(record | {"messages": as_messages(record["messages"])}))
        except RequestError:
            counts.append(None)
    return pl.Series(counts, dtype=pl.Int64)
