"""How `synth show` draws rows: facts, turns, preference pairs, heat maps. No row takes more than a few screens."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from synth.data.pairs import SIDES
from synth.data.row import FAULT, PREDICTIONS, records_of
from synth.data.views import CALLS, THOUGHTS, open_views, pieces
from synth.progress import Progress, printable
from synth.reports.heat_maps import cut
from synth.scoring.cells import Cell, Tokenizers, cells

STYLES = {THOUGHTS: "dim italic", CALLS: "cyan"}
"""How pieces of a turn are written that are no content."""

COLOURS = {
    THOUGHTS: "dim",
    "system": "magenta",
    "user": "cyan",
    "assistant": "green",
    "chosen": "green",
    "rejected": "red",
}
HEAT = ((1.5, ""), (2.5, "on #5c4a00"), (10.0, "on #8a4500"), (100.0, "on #a02000"), (math.inf, "bold on #c00000"))
"""Perplexities up to which a token has a background, for white letters."""

MOST_CHARS = 20_000
MOST_TURNS = 100
MOST_FACTS = 40
FACT = 80
MOST_THOUGHTS = 500
"""Of one row at most: characters and turns of its conversation, columns beside it, characters of such a column, and
characters of what was thought before one answer."""

MOST_TOKENS, LEAD = 2_000, 200
"""Tokens of a heat map at most, and of those before the first scored one."""

SIDE_BY_SIDE = 70
"""Columns of a terminal from which two answers fit beside each other."""


def print_rows(source: str, rows: int, model: str | None, *, plain: bool, progress: Progress) -> None:
    """Print the first rows of a source on standard output; progress is told what there is to say of it.

    Raises:
        UsageError: the source cannot be read.
    """
    console = Console(highlight=False)
    views = open_views(source)
    for note in views.notes:
        progress.say(note)
    tokenizers = Tokenizers(model)
    signs = Signs(console)
    explained = False
    for number, record in enumerate(islice(_records(views.judged()), rows)):
        if number:
            console.print()
        fault = record.pop(FAULT, None)
        scored = not plain and _is_scored(record)
        tokenizer = tokenizers.of(record["scorer"]) if scored else None
        if tokenizer is not None and not explained:
            console.print(signs.legend())
            explained = True
        console.print(Text(_facts(record, signs, with_perplexity=tokenizer is not None), style="dim"))
        if fault is not None:
            console.print(Text(f"cannot be read: {printable(fault)}", style="red"))
        elif tokenizer is not None:
            console.print(_heat_map(record, tokenizer, signs))
        elif isinstance(record.get("chosen"), list) and isinstance(record.get("rejected"), list):
            console.print(_pair(record, console, signs))
        else:
            console.print(_turns(record.get("messages") or [], MOST_CHARS, signs))
    for note in tokenizers.notes:
        progress.say(note)


class Signs:
    """What a terminal can show: where there are no colours, or no Unicode, other signs say the same."""

    def __init__(self, console: Console) -> None:
        self.has_colour = console.color_system is not None and not console.no_color
        try:
            "⟦⟧·…–".encode(console.encoding)
            self.opening, self.closing, self.dot, self.dots, self.to = "⟦", "⟧", " · ", "…", "–"
        except (UnicodeEncodeError, LookupError):
            self.opening, self.closing, self.dot, self.dots, self.to = "[[", "]]", " | ", "...", "-"

    def legend(self) -> Text:
        """What the signs of a heat map mean."""
        masked = f"{self.opening}masked{self.closing}"
        if not self.has_colour:
            return Text(f"no colours here, so that only masks are seen: {masked}\n")
        legend = Text().append("perplexity: ", "dim")
        low = 1.0
        for high, style in HEAT:
            text = f" above {low:g} " if math.isinf(high) else f" {low:g}{self.to}{high:g} "
            legend.append(text, f"white {style}".strip())
            low = high
        return (
            legend.append("  ").append(masked, "bold underline").append("  ").append("not scored", "dim").append("\n")
        )


def _records(batches: Iterator[Any]) -> Iterator[dict[str, Any]]:
    return (
        record for batch in batches for start in range(batch.num_rows) for record in records_of(batch.slice(start, 1))
    )


def _facts(record: dict[str, Any], signs: Signs, *, with_perplexity: bool) -> str:
    """The line above a row: what is short and known, the tools on offer, and how many columns there are beside it."""
    names = [name for name, value in record.items() if _is_fact(name, value, record)]
    facts = [f"{name} {_short(record[name])}" for name in names[:MOST_FACTS]]
    if offered := _tools(record.get("tools")):
        facts.append(f"tools {offered}")
    if len(names) > MOST_FACTS:
        facts.append(f"{len(names) - MOST_FACTS:,} more columns")
    if with_perplexity:
        facts.append(_perplexity(record["logprobs"]))
        facts += _predictions(record)
    return printable(signs.dot.join(facts))


def _short(value: object) -> object:
    return f"{value:.4g}" if isinstance(value, float) else value


def _is_fact(name: str, value: object, record: dict[str, Any]) -> bool:
    """Whether a column is worth a place in the line above a row."""
    if name in ("messages", "scorer", "tools") or value is None or isinstance(value, list | dict | bytes):
        return False
    if isinstance(value, str) and len(value) > FACT:
        return False
    return not (name == "text" and [turn["role"] for turn in record.get("messages") or []] == ["text"])


def _tools(text: object) -> str:
    """The names of the functions on offer, as far as they fit; the column itself where it is something else."""
    if not isinstance(text, str):
        return ""
    with suppress(ValueError, TypeError, KeyError):
        text = ", ".join(tool["function"]["name"] for tool in json.loads(text))
    return text if len(text) <= FACT else f"{text[: FACT - 1]}…"


def _turns(turns: Sequence[dict[str, Any]], most: int, signs: Signs) -> RenderableType:
    """A conversation, or as much of it as fits; what is left out is said. Thoughts are dim."""
    whole = pieces(turns)
    folded = [(role, content[:MOST_THOUGHTS] if role == THOUGHTS else content) for role, content in whole]
    kept, was_cut = cut(folded, most, MOST_TURNS)
    names = Column(min_width=9, max_width=20, justify="right", overflow="fold")
    table = Table.grid(names, Column(overflow="fold"), padding=(0, 2, 0, 0))
    for (role, content), (_, all_of_it) in zip(kept, whole, strict=False):
        text = Text(printable(content), STYLES.get(role, ""))
        if left := len(all_of_it) - len(content):
            text.append(f"\n{signs.dots} {left:,} more characters", "dim")
        table.add_row(Text(printable(role), f"bold {COLOURS.get(role, 'yellow')}"), text)
    if was_cut and len(whole) > len(kept):
        table.add_row("", Text(f"{signs.dots} {len(whole) - len(kept):,} more turns", "dim"))
    return table


def _pair(record: dict[str, Any], console: Console, signs: Signs) -> RenderableType:
    """What was asked, and below it the chosen answer beside the rejected one."""
    asked = _turns(record["messages"] or [], MOST_CHARS // 2, signs)
    answers = {side: _turns(_named(record[side], side), MOST_CHARS // 4, signs) for side in SIDES}
    if console.width < SIDE_BY_SIDE:
        return Group(asked, *answers.values())
    beside = Table.grid(Column(ratio=1), Column(ratio=1), expand=True)
    beside.add_row(*answers.values())
    return Group(asked, beside)


def _named(turns: Sequence[dict[str, Any]] | None, side: str) -> list[dict[str, Any]]:
    """The turns of one side, the first of them named after it."""
    if not turns:
        return [{"role": side, "content": "(nothing)"}]
    return [turns[0] | {"role": side}, *turns[1:]]


def _is_scored(record: dict[str, Any]) -> bool:
    """Whether a row has scores of ours, as many as tokens."""
    lists = [record.get(name) for name in ("input_ids", "labels", "logprobs")]
    same = all(isinstance(values, list) for values in lists) and len({len(values or ()) for values in lists}) == 1
    whole = same and all(isinstance(token, int) for name in ("input_ids", "labels") for token in record[name])
    scores = [value for value in record["logprobs"] if value is not None] if whole else []
    scored = bool(scores) and all(isinstance(nats, int | float) for nats in scores)
    return scored and isinstance(record.get("scorer"), str)


def _perplexity(logprobs: Sequence[float | None]) -> str:
    nats = [-value for value in logprobs if value is not None]
    return f"perplexity {math.exp(min(sum(nats) / len(nats), 700)):.4g}"


def _predictions(record: dict[str, Any]) -> list[str]:
    """The mean entropy of a row's scored tokens and the share of the likeliest, where it has them."""
    lists = [record.get(name) for name in PREDICTIONS.names]
    entropies, ranks = ([value for value in values or () if isinstance(value, int | float)] for values in lists)
    if not entropies or len(entropies) != len(ranks):
        return []
    likeliest = sum(rank == 1 for rank in ranks) / len(ranks)
    return [f"entropy {sum(entropies) / len(entropies):.4g}", f"{likeliest:.0%} the likeliest"]


def _heat_map(record: dict[str, Any], tokenizer: Any, signs: Signs) -> Text:
    """A row's tokens, coloured by how likely each is; a cell of several tokens by the least likely of them."""
    ids, logprobs, labels = record["input_ids"], record["logprobs"], record["labels"]
    start = max(0, next(index for index, value in enumerate(logprobs) if value is not None) - LEAD)
    end = min(len(ids), start + MOST_TOKENS)
    shown = Text()
    if start:
        shown.append(f"{signs.dots} {start:,} tokens before {signs.dots} ", "dim italic")
    at, is_open = start, False
    for cell in cells(tokenizer, ids[start:end]):
        own = slice(at, at + cell.tokens)
        at += cell.tokens
        scores = [value for value in logprobs[own] if value is not None]
        masked = bool(scores) and any(label in (-100, None) for label in labels[own])
        if masked != is_open:
            shown.append(signs.opening if masked else signs.closing, "bold")
            is_open = masked
        shown.append(printable(cell.text), _style(cell, scores, masked))
    if is_open:
        shown.append(signs.closing, "bold")
    if left := len(ids) - end:
        shown.append(f" {signs.dots} {left:,} more tokens", "dim italic")
    return shown


def _style(cell: Cell, scores: Sequence[float], masked: bool) -> Style:
    if not scores:
        return Style(dim=True)
    perplexity = math.exp(min(-min(scores), 700))
    heat = next(style for high, style in HEAT if perplexity <= high)
    return Style.parse(f"{'white' if heat else ''} {heat} {'underline' if masked else ''}".strip())
