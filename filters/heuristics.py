"""Cheap signs of a bad row: too short or long, repetitive, unfinished, refused, broken by a chat template.

Every heuristic is a polars expression that gives the reason a row fails, or null where it passes. Called with a frame
it is a filter of its own; `apply` evaluates many in one go, which lets polars share what they have in common and use
all its threads. What is costly is asked only of the rows that a cheap necessary condition leaves (the others are made
null first, which costs polars nothing).

Null texts are empty. A word is what white space separates; in scripts that write without spaces (Chinese, Japanese,
Thai, Lao, Khmer, Burmese) every character is one. Text that is empty or too short to judge passes everything except
the lengths and `roles`.

The shares of repetition, symbols and digits follow the quality rules of Gopher (Rae et al. 2021, arXiv 2112.11446,
appendix A1), with looser thresholds: answers are shorter than web pages and hold code, tables and mathematics. Length,
repetition and refusals are also what Magpie's filters look at (Xu et al. 2024, arXiv 2406.08464).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from filters.verifiers.refusal import OPENING, refuses

SHORT = 40
"""Characters below which shares of symbols and digits are not judged: "42" is a fine answer."""

SHORT_LINE = 8
"""Bytes below which a line may be repeated: "}", "---"."""

FEW_WORDS = 8
"""Answers of fewer words need no full stop: names, titles, classes."""

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_WORD = rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+"

_CONTROL_TOKEN = (
    r"<\|[A-Za-z0-9_]{1,40}\|>|<｜[^｜\n]{1,40}｜>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>"
    r"|<(?:bos|eos|pad|unk)>|\A\s*<s>|</s>\s*\z"
    r"|(?m:^#{2,3} ?(?:Instruction|Response|Input|Human|User|Assistant|System) ?:)"
)
_TURN_MARKER = r"(?m:^(?:\*\*)?(?:User|Assistant|Human|USER|ASSISTANT|HUMAN)(?:\*\*)?:)"

# Literals, one of which every match of the above has: a pattern of literals alone is ten times as fast.
_DEBRIS_HINT = (
    r"<\||<｜|INST\]|SYS>>|_of_turn>|<bos>|<eos>|<pad>|<unk>|<s>|</s>|##|User|Assistant|Human|USER|ASSISTANT|HUMAN"
)

# Necessary conditions for what `refuses` looks for (in capitals throughout aside), the first of literals alone, the
# second met by few regular answers.
_REFUSAL_HINT = (
    "orry|fraid|polog|eclin|efuse|llegal|thical|mmoral|ppropriate|rong|cceptable|ever|gainst|not|n't|n’t|cant|wont|dont"
)
_MAY_REFUSE = (
    r"(?i)sorry|afraid|apolog|declin|refuse|illegal|ethical|immoral|acceptable|appropriate|against (?:my|the law|our)"
    r"|\b(?:i|we)\b.{0,30}n(?:o|['’]?)t\b|\b(?:it|this|that)(?: is| would be|['’]s) (?:not|wrong|never)"
    r"|\b(?:is|are) never|\bno[,.]? (?:it|this|that)\b"
)

_STOPS_SHORT = r"(?:[[\p{L}\p{Mn}\p{Mc}]--[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\u{FE0F}]]|[,\-–—(\[{&/=+])\s*\z"
_ENDS_WITHOUT_STOP = (
    r"(?:\A|\n)(?:"
    r"\s*(?:[-*•+–·]|\d{1,3}[.)]|\(?[A-Za-z][.)])\s[^\n]*[^,\-–—(\[{&/=+\n]"  # an item of a list
    r"|#[^\n]*|\|[^\n]*"  # a heading, a row of a table
    r"|(?:\t|  )\s*\S[^\n]*"  # indented code
    r")\z"
    r"|\n\p{Lu}\S*(?: \p{Lu}\S*){0,3}\z"  # a signature
    r"|https?://\S+\z|\S+@\S+\.\S+\z"
)
_TAIL = 200
_SLICE = 1 << 13
_HASH_BITS = np.uint64(48)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no bits of a hash are lost


@dataclass(frozen=True, slots=True)
class Heuristic:
    """A filter: the reason each row of a frame fails, null where it passes.

    Attributes:
        expression: gives the reasons, of the columns `id`, `prompt`, `answer`, `text` (and `roles`).
    """

    expression: pl.Expr

    def __call__(self, frame: pl.DataFrame) -> pl.Series:
        """The reasons, one a row."""
        return frame.select(self.expression.alias("reason")).to_series()


def apply(heuristics: Sequence[Heuristic], frame: pl.DataFrame) -> list[pl.Series]:
    """The reasons of every heuristic, evaluated together: much faster than one after another."""
    expressions = [heuristic.expression.alias(str(position)) for position, heuristic in enumerate(heuristics)]
    return frame.select(expressions).get_columns()


def characters(column: str, minimum: int = 0, maximum: int | None = None) -> Heuristic:
    """Length of `prompt`, `answer` or `text` in characters (code points), both bounds included."""
    length = _text(column).str.len_chars()
    return Heuristic(_length(column, length < minimum, length, length, maximum, "characters"))


def words(column: str, minimum: int = 0, maximum: int | None = None) -> Heuristic:
    """Length of `prompt`, `answer` or `text` in words, both bounds included."""
    text = _text(column)
    # The opening decides for nearly all rows, and only those that may be too long are counted to their end.
    opening = text.str.head(16 * minimum).str.count_matches(_WORD)
    short = _where(opening < minimum, text).str.count_matches(_WORD)
    long = text if maximum is None else _where(text.str.len_chars() > maximum, text)
    return Heuristic(_length(column, short < minimum, short, long.str.count_matches(_WORD), maximum, "words"))


def tokens(
    column: str, count: Callable[[list[str]], Sequence[int]], minimum: int = 0, maximum: int | None = None
) -> Callable[[pl.DataFrame], pl.Series]:
    """Length of `prompt`, `answer` or `text` in tokens, both bounds included.

    Args:
        column: which.
        count: gives the number of tokens of each text.
        minimum: fewest tokens.
        maximum: most tokens; None has no bound.

    Returns:
        A filter that counts each text once.
    """
    length = pl.col("tokens")
    reason = _length(column, length < minimum, length, length, maximum, "tokens")

    def find(frame: pl.DataFrame) -> pl.Series:
        counts = count(frame.select(_text(column)).to_series().to_list())
        return pl.DataFrame({"tokens": pl.Series(counts, dtype=pl.Int64)}).select(reason.alias("reason")).to_series()

    return find


def repeated_words(n: int = 5, maximum: float = 0.3) -> Heuristic:
    """Share of the answer's word n-grams that occurred earlier in it.

    Gopher's rule counts the characters of n-grams that occur more than once, their first occurrence too, and so gives
    larger shares for the same text.

    Args:
        n: words in an n-gram.
        maximum: largest share that passes, 0 to 1.

    Raises:
        ValueError: for n under 1.
    """
    if n < 1:
        raise ValueError(f"an n-gram has at least one word, not {n}")
    return Heuristic(_over("repeated words", repeated_share(n), maximum, f" of the {n}-grams occurred before"))


def repeated_share(n: int = 5) -> pl.Expr:
    """The share of the answer's word n-grams that occurred earlier in it."""
    text = _text("answer")
    spaced = pl.coalesce(_beyond_ascii(text).str.replace_all(rf"[{_UNSPACED}]", " $0 "), text)
    spaced = spaced.str.replace_many(["\n", "\t", "\r"], [" ", " ", " "])
    return spaced.map_batches(lambda texts: _repeated(texts, " ", 1, n), return_dtype=pl.Float64, is_elementwise=True)


def repeated_lines(maximum: float = 0.3, shortest: int = SHORT_LINE) -> Heuristic:
    """Share of the answer's lines that occurred earlier in it; short lines ("}", "---") do not count.

    Args:
        maximum: largest share that passes, 0 to 1 (Gopher: 0.3).
        shortest: characters of the shortest line that counts.
    """
    text = _text("answer")
    share = _where(text.str.contains("\n", literal=True), text).map_batches(
        lambda texts: _repeated(texts, "\n", shortest, 1), return_dtype=pl.Float64, is_elementwise=True
    )
    return Heuristic(_over("repeated lines", share, maximum, " of the lines occurred before"))


def symbols(maximum: float = 0.4, shortest: int = SHORT) -> Heuristic:
    """Share of the answer's characters that are no letters, digits or white space.

    Args:
        maximum: largest share that passes, 0 to 1.
        shortest: characters of the shortest answer that is judged.
    """
    text = _text("answer")
    return Heuristic(_share("symbols", text, text.str.count_matches(r"[^\p{L}\p{M}\p{N}\s]"), maximum, shortest))


def digits(maximum: float = 0.5, shortest: int = SHORT) -> Heuristic:
    """Share of the answer's characters that are digits, of any script.

    Args:
        maximum: largest share that passes, 0 to 1.
        shortest: characters of the shortest answer that is judged.
    """
    text = _text("answer")
    # Ten times as fast as \p{N}, which only text beyond ASCII needs.
    count = pl.coalesce(_beyond_ascii(text).str.count_matches(r"\p{N}"), text.str.count_matches("[0-9]"))
    return Heuristic(_share("digits", text, count, maximum, shortest))


def unfinished(words: int = FEW_WORDS) -> Heuristic:
    """Answers that stop in a sentence, in a word or in a code fence.

    An answer is unfinished if it ends with a letter, a comma, a hyphen or an opening bracket. Items of lists, headings,
    tables, indented code, signatures, addresses, closed code fences, a few words ("Paris") and scripts that have no
    full stop (Thai) need none. An answer cut right after a number or a sentence cannot be told from a finished one.

    Args:
        words: answers of fewer need no full stop.
    """
    text = _text("answer")
    fenced = _where(text.str.contains("```", literal=True), text)
    fence_open = fenced.str.count_matches("```", literal=True) % 2 == 1
    stopped = text.str.contains(_STOPS_SHORT)  # reads backwards from the end
    tail = _where(stopped, text).str.strip_chars_end().str.tail(_TAIL)
    stopped &= ~tail.str.contains(_ENDS_WITHOUT_STOP).fill_null(True)
    stopped &= (_where(stopped, text).str.count_matches(_WORD) >= words).fill_null(False)
    ending = _where(stopped, tail).str.tail(20).str.replace_all(r"\s+", " ")
    return Heuristic(
        pl.when(fence_open)
        .then(pl.lit("unfinished: a code fence is open"))
        .otherwise(pl.lit("unfinished: ends with …") + ending)
    )


def refusal() -> Heuristic:
    """Answers that open by declining what was asked; see `filters.verifiers.refusal` for what counts.

    Refusals in capitals throughout are not seen.
    """
    opening = _text("answer").str.strip_chars_start().str.head(OPENING)
    hinted = _where(opening.str.contains(_REFUSAL_HINT), opening)
    candidates = _where(hinted.str.contains(_MAY_REFUSE), hinted)
    return Heuristic(candidates.map_batches(_refusals, return_dtype=pl.String, is_elementwise=True))


def template_debris() -> Heuristic:
    """Control tokens and headings of chat templates in a turn; "User:" or "Assistant:" opening a line of an answer.

    Prompts may hold a transcript, so that names of roles do not count there.
    """
    debris = pl.coalesce(_first("prompt", _CONTROL_TOKEN), _first("answer", f"{_CONTROL_TOKEN}|{_TURN_MARKER}"))
    return Heuristic(pl.lit("template debris: ") + debris.str.strip_chars())


def roles() -> Heuristic:
    """Turns in the wrong order, or empty ones.

    In order is: at most one system (or developer) turn, first; then user and assistant in turn, from user to
    assistant, with tool turns between two assistant turns. Empty is a conversation without turns, a turn without a
    role, and a prompt or answer that is null or white space; one empty turn beside others of its role is not seen.

    Needs the column `roles` (list of strings), the roles of the conversation's turns.
    """
    listed = pl.col("roles").cast(pl.List(pl.String))
    order = listed.list.eval(pl.element().fill_null("")).list.join(",")
    in_order = order.str.contains(r"\A(?:(?:system|developer),)?user,assistant(?:(?:,user|(?:,tool)+),assistant)*\z")
    empty = [
        pl.when(_text(column).str.contains(r"\S").not_()).then(pl.lit(f"empty turn: no {column}"))
        for column in ("prompt", "answer")
    ]
    return Heuristic(
        pl.when(listed.list.len().fill_null(0) == 0)
        .then(pl.lit("empty turn: no turns"))
        .when(listed.list.eval(pl.element().fill_null("") == "").list.any())
        .then(pl.lit("empty turn: no role"))
        .when(in_order.not_())
        .then(pl.lit("role order: ") + order.str.head(80))
        .otherwise(pl.coalesce(empty))
    )


def _text(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.String).fill_null("")


def _where(condition: pl.Expr, text: pl.Expr) -> pl.Expr:
    """The text where the condition holds, else null."""
    return pl.when(condition).then(text)


def _length(
    column: str, short: pl.Expr, count_if_short: pl.Expr, count: pl.Expr, maximum: int | None, unit: str
) -> pl.Expr:
    reason = pl.when(short).then(pl.format(f"too short: {column} of {{}} {unit}", count_if_short))
    if maximum is None:
        return reason
    return reason.when(count > maximum).then(pl.format(f"too long: {column} of {{}} {unit}", count))


def _over(category: str, share: pl.Expr, maximum: float, of_what: str) -> pl.Expr:
    return pl.when(share > maximum).then(pl.format(f"{category}: {{}}{of_what}", share.round(2)))


def _beyond_ascii(text: pl.Expr) -> pl.Expr:
    return _where(text.str.len_bytes() > text.str.len_chars(), text)


def _share(category: str, text: pl.Expr, count: pl.Expr, maximum: float, shortest: int) -> pl.Expr:
    length = text.str.len_chars()
    share = pl.when(length >= max(shortest, 1)).then(count / length)
    return _over(category, share, maximum, " of the characters")


def _first(column: str, debris: str) -> pl.Expr:
    """The first match, or null."""
    text = _text(column)
    return _where(text.str.contains(_DEBRIS_HINT), text).str.extract(f"({debris})")


def _refusals(openings: pl.Series) -> pl.Series:
    reasons = [
        "refusal: " + " ".join(opening[:60].split()) if opening is not None and refuses(opening) else None
        for opening in openings
    ]
    return pl.Series(openings.name, reasons, pl.String)


def _repeated(texts: pl.Series, separator: str, shortest: int, n: int) -> pl.Series:
    """The share of each text's n-grams of pieces that occurred earlier in it; 0 if it has none, null for null.

    Slices keep what is worked on in the processor's cache, and leave room for a row's number above the hash of an
    n-gram in 64 bits: one sort then brings the equal n-grams of each row together. With 2 ** 48 hashes, a row of a
    million n-grams counts one repeat too many once in 500 such rows.

    Args:
        texts: the rows.
        separator: what stands between pieces.
        shortest: characters under which a piece is left out, white space around it not counted.
        n: pieces in an n-gram.
    """
    present = texts.drop_nulls()
    shares = [
        _repeated_in_slice(present.slice(start, _SLICE), separator, shortest, n)
        for start in range(0, len(present), _SLICE)
    ]
    result = np.full(len(texts), np.nan)
    result[texts.is_not_null().to_numpy()] = np.concatenate([np.empty(0), *shares])
    return pl.Series(texts.name, result, pl.Float64, nan_to_null=True)


def _repeated_in_slice(texts: pl.Series, separator: str, shortest: int, n: int) -> npt.NDArray[np.float64]:
    lists = texts.str.split(separator)
    pieces = lists.explode()
    if shortest > 1:
        pieces = pieces.str.strip_chars()
        kept = (pieces.str.len_chars() >= shortest).to_numpy()
    else:  # any at all
        kept = (pieces != "").to_numpy()
    row = np.repeat(np.arange(len(texts), dtype=np.uint64) << _HASH_BITS, lists.list.len().to_numpy())[kept]
    hashes = pieces.hash().to_numpy()[kept]
    count = max(0, len(hashes) - n + 1)
    ngram = hashes[:count].copy()
    for step in range(1, n):
        ngram *= _MULTIPLIER
        ngram += hashes[step : step + count]
    ngram >>= np.uint64(64) - _HASH_BITS
    ngram |= row[:count]
    key = ngram[row[:count] == row[n - 1 :]]
    key.sort()
    repeats = (key[1:][key[1:] == key[:-1]] >> _HASH_BITS).astype(np.int64)
    starts = np.searchsorted(key, np.arange(len(texts) + 1, dtype=np.uint64) << _HASH_BITS)
    share: npt.NDArray[np.float64] = np.bincount(repeats, minlength=len(texts)) / np.maximum(np.diff(starts), 1)
    return share
