"""The filters that `synth filter` knows by name, each marked as `synth.curation.registry` says."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal

import polars as pl

from filters import contamination as benchmarks
from filters import duplicates as twins
from filters import heuristics, personal
from filters import language as languages
from filters.semantic_duplicates import semantic_duplicates
from synth.curation.context import FilterContext, Text
from synth.curation.frames import blocks_of
from synth.curation.judging import Compared, Filter, held
from synth.curation.registry import removes
from synth.data.files.names import short_name, source_name
from synth.errors import UsageError

DataPath = str | os.PathLike[str]
"""Where a data set is: a directory, a file, a folder or pattern of files, or a Hub id."""


@removes
def Length(
    context: FilterContext,
    min: int = 1,
    max: int | None = None,
    unit: Literal["characters", "words", "tokens"] = "characters",
    of: Text = "answer",
    model: str | None = None,
) -> Filter:
    """Too short, or too long with its thoughts; tokens need a model, as in length:max=2048,unit=tokens,model=M."""
    if max is not None and max < min:
        raise UsageError(f"no text has at least {min} and at most {max} {unit}")
    if unit == "tokens":
        if model is None:
            raise UsageError("name the model whose tokens are counted: unit=tokens,model=M")
        count = context.token_counter(model)
        return _with_thoughts(of, heuristics.tokens(of, count, min, max), heuristics.tokens(of, count, 0, max))
    if model is not None:
        raise UsageError(f"model= goes with unit=tokens; {unit} are counted without one")
    measure = heuristics.characters if unit == "characters" else heuristics.words
    return _with_thoughts(of, measure(of, min, max), measure(of, 0, max))


@removes
def RepeatedWords(_: FilterContext, max: float = 0.3, n: int = 5) -> Filter:
    """Repetitive answers or thoughts: share of word n-grams that occurred before."""
    return _or_thoughts(heuristics.repeated_words(n, max), "answer")


@removes
def RepeatedLines(_: FilterContext, max: float = 0.3, shortest: int = heuristics.SHORT_LINE) -> Filter:
    """The same by lines; lines of fewer characters than the shortest do not count."""
    return _or_thoughts(heuristics.repeated_lines(max, shortest), "answer")


@removes
def Symbols(_: FilterContext, max: float = 0.4, shortest: int = heuristics.SHORT) -> Filter:
    """Answers of symbols: share of characters other than letters, digits or spaces; shorter answers pass."""
    return heuristics.symbols(max, shortest)


@removes
def Digits(_: FilterContext, max: float = 0.5, shortest: int = heuristics.SHORT) -> Filter:
    """Answers of digits: share of the characters; shorter answers pass."""
    return heuristics.digits(max, shortest)


@removes
def Unfinished(_: FilterContext, words: int = heuristics.FEW_WORDS) -> Filter:
    """Answers that stop within a sentence or code; those of fewer words need no full stop."""
    return heuristics.unfinished(words)


@removes
def Refusal(_: FilterContext) -> Filter:
    """Answers that decline what was asked."""
    return heuristics.refusal()


@removes
def TemplateDebris(_: FilterContext) -> Filter:
    """Control tokens and role names of chat templates left in a turn, or in its thoughts."""
    return _or_thoughts(heuristics.template_debris(), "prompt")


@removes
def Roles(_: FilterContext) -> Filter:
    """Turns out of order, or empty; an answer that calls tools is not."""
    find = heuristics.roles()
    return lambda frame: find(frame.with_columns(pl.concat_str("answer", "calls", ignore_nulls=True).alias("answer")))


@removes
def Language(_: FilterContext, *codes: str) -> Filter:
    """Rows in none of these languages: language:en,zh."""
    if not codes:
        raise UsageError("name the languages that stay, as in language:en,zh")
    return languages.language(codes)


@removes
def PersonalData(_: FilterContext) -> Filter:
    """E-mail and IP addresses, phone, card and account numbers; in thoughts and calls, too."""
    return _everywhere(personal.personal_data())


@removes
def Secrets(_: FilterContext) -> Filter:
    """API keys, tokens, private keys; in thoughts and calls, too."""
    return _everywhere(personal.secrets())


@removes
def Duplicates(context: FilterContext, of: Text = "text", against: DataPath | None = None) -> Compared:
    """Rows with the same words as an earlier row, or as one of another set, against=SET."""
    others = _named(context, of, against)
    return Compared(lambda: twins.ExactDuplicates(of, others and others()))


@removes
def NearDuplicates(
    context: FilterContext,
    threshold: float = 0.7,
    of: Text = "text",
    n: int = twins.SHINGLE_WORDS,
    against: DataPath | None = None,
) -> Compared:
    """Rows similar to an earlier row, or to one of another set: Jaccard index of their word n-grams."""
    twins.check_threshold(threshold)
    twins.check_shingle(n)
    others = _named(context, of, against)
    return Compared(lambda: twins.NearDuplicates(of, threshold, others and others(), n))


@removes
def SemanticDuplicates(
    context: FilterContext, model: str, threshold: float = 0.95, of: Text = "text", against: DataPath | None = None
) -> Compared:
    """Rows with the meaning of an earlier row, or of one of another set: cosine of embeddings; see below for MODEL."""
    twins.check_threshold(threshold)
    embed = context.embedding(model, of)
    others = _named(context, of, against)

    def find(whole: pl.DataFrame) -> pl.Series:
        theirs = others and pl.concat(others())
        compared = None if theirs is None else (theirs, context.vectors(model, theirs[of]))
        return semantic_duplicates(whole, whole["vector"].to_numpy(), threshold, compared)

    return held(lambda frame: frame.select("id", embed(frame)), find)


@removes
def Against(
    context: FilterContext, *sets: DataPath, threshold: float = 0.7, of: Text = "prompt", n: int = twins.SHINGLE_WORDS
) -> Compared:
    """Rows that ask nearly the same as a row of other data sets: against:target.jsonl."""
    if not sets:
        raise UsageError("name the data sets to stay clear of, as in against:target.jsonl")
    twins.check_threshold(threshold)
    twins.check_shingle(n)
    others = _named(context, of, *sets)
    return Compared(lambda: twins.NearDuplicates(of, threshold, others and others(), n))


@removes
def Contamination(
    context: FilterContext, *files: DataPath, words: int = benchmarks.LONG, short: int = benchmarks.SHORT
) -> Filter:
    """Rows that hold a benchmark's questions or answers, by word n-grams: contamination:gsm8k/test.jsonl."""
    if not files:
        raise UsageError("name files of benchmarks, as in contamination:gsm8k/test.jsonl,HumanEval.jsonl")
    benchmarks.check_widths(words, short)
    asked: list[benchmarks.Item] = []
    answers: list[benchmarks.Item] = []
    for file in files:
        name = _benchmark(os.fspath(file))
        for number, (question, answer) in enumerate(context.open_benchmark(os.fspath(file))):
            if question is not None:
                asked.append((name, number, question))
            answers += [(name, number, text) for text in benchmarks.as_written(answer or "")]
    return benchmarks.Benchmarks(asked, answers, words, short).find


@removes
def Column(
    context: FilterContext,
    name: str,
    min: float | None = None,
    max: float | None = None,
    equals: str | bool | float | None = None,
) -> Filter:
    """Rows whose column is out of bounds, another value, or empty: column:quality,min=4."""
    context.column(name)
    if min is None and max is None and equals is None:
        raise UsageError(f"say what of {name} stays: min=, max= or equals=")
    value = pl.col(name)
    number = value.cast(pl.Float64)
    reasons = [pl.when(value.is_null()).then(pl.lit(f"no {name}"))]
    if min is not None:
        low = (number < min) | number.is_nan()
        reasons.append(pl.when(low).then(pl.format(f"low {_braceless(name)}: {{}}", value)))
    if max is not None:
        high = (number > max) | number.is_nan()
        reasons.append(pl.when(high).then(pl.format(f"high {_braceless(name)}: {{}}", value)))

    def find(frame: pl.DataFrame) -> pl.Series:
        found = list(reasons)
        if equals is not None:
            other = ~_equals(value, frame.schema[name], str(equals))
            found.insert(1, pl.when(other).then(pl.format(f"other {_braceless(name)}: {{}}", value)))
        return frame.select(pl.coalesce(found).alias("reason")).to_series()

    return find


def _equals(value: pl.Expr, kind: pl.DataType, word: str) -> pl.Expr:
    """Whether a value of a column's type is what a word stands for: `3` is 3.0 among floats, and `True` is true."""
    if kind == pl.Boolean:
        return value.cast(pl.String) == word.lower()
    if kind.is_float():
        with suppress(ValueError):
            return value == float(word)
    return value.cast(pl.String) == word


def _everywhere(find: Filter) -> Filter:
    """A filter of `text` that looks at the system's turns, at thoughts and at calls, too."""
    parts = ("system", "text", "thoughts", "calls")
    whole = pl.concat_str(*parts, separator="\n\n", ignore_nulls=True).alias("text")
    return lambda frame: find(frame.with_columns(whole))


def _or_thoughts(find: Filter, column: str) -> Filter:
    """A filter that looks at thoughts as it looks at a column."""

    def both(frame: pl.DataFrame) -> pl.Series:
        reasons = find(frame)
        if frame["thoughts"].null_count() == len(frame):
            return reasons
        others = [pl.lit(None, pl.String).alias(name) for name in ("prompt", "answer") if name != column]
        found = find(frame.with_columns(pl.col("thoughts").alias(column), *others))
        return reasons.zip_with(reasons.is_not_null(), found + " (in its thoughts)")

    return both


def _with_thoughts(of: Text, find: Filter, too_long: Filter) -> Filter:
    """A filter of a text's length, where what is too long is the text together with its thoughts."""

    def both(frame: pl.DataFrame) -> pl.Series:
        if of not in ("answer", "text") or frame["thoughts"].null_count() == len(frame):
            return find(frame)
        whole = pl.concat_str("thoughts", of, separator="\n\n", ignore_nulls=True).alias(of)
        reasons = find(frame)
        found = too_long(
            frame.with_columns(pl.when(pl.col("thoughts").is_not_null()).then(whole).otherwise(pl.col(of)))
        )
        return reasons.zip_with(reasons.is_not_null(), found + " with its thoughts")

    return both


def _named(context: FilterContext, of: Text, *sources: DataPath | None) -> Callable[[], Iterator[pl.DataFrame]] | None:
    """Sets to stay clear of, if any is named: a text of each row, and which row it is, some at a time."""
    sets = [
        (pl.format(f"{_braceless(short_name(source))} row {{}}", "row").alias("id"), context.open(os.fspath(source)))
        for source in sources
        if source is not None
    ]
    frames = lambda: (block.frame().select(name, of) for name, rows in sets for block in blocks_of(rows))  # noqa: E731
    return frames if sets else None


def _benchmark(file: str) -> str:
    """What a benchmark is called: the file of a split goes by its folder's name, too."""
    name = source_name(file)
    return name.own if name.tells or not name.folder else f"{name.folder}/{name.own}"


def _braceless(name: str) -> str:
    return name.replace("{", "(").replace("}", ")")
