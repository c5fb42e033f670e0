"""Plans a mixture of a task's rows with replay: which replay rows are taken, and in which order all rows are written.

Reports of how much replay prevents forgetting range from 1 % to 25 % of the new data (arXiv 2403.08763,
2205.12393, 2501.13453). A share is always of the target: 5 % of 10,000 target rows are 500 replay rows.

The order is planned on small index arrays first; rows are then copied in that order.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from synth.data.columns import cast_to
from synth.data.plain import TEXT, has_texts, only_texts
from synth.data.prompts import PromptSet
from synth.data.row import REASON, RENDERING, Message, conversations_of, digest, records_of
from synth.errors import UsageError
from synth.seeds import seed_of
from synth.values import Order, Unit

CountTokens = Callable[[Mapping[str, Any]], int]
"""Of a row: of its `messages`, as its columns of `RENDERING` say that they are written, or of its plain `text`."""

BLOCK_ROWS = 1_000
DUPLICATE = "duplicate of a target row"
SOURCE = pa.field("source", pa.string())
"""Which set a row is of."""


@dataclass(slots=True)
class MixPart:
    """One set of a mixture and what is taken of it.

    Attributes:
        name: what the column `source` says.
        prompts: its rows.
        share: of the target's rows or tokens; None for the target itself, which is taken whole.
        duplicates: places of replay rows whose prompt is one of the target's; they are never taken.
        unreadable: places of rows that cannot be read, and why; they are never taken either.
        taken: places of the rows taken, in their order; a place stands twice where it is taken twice.
        tokens: in the rows taken, where tokens are counted.
    """

    name: str
    prompts: PromptSet
    share: float | None = None
    duplicates: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    unreadable: dict[int, str] = field(default_factory=dict)
    taken: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    tokens: int = 0

    @property
    def left_out(self) -> list[tuple[int, str]]:
        """The places of the rows that are never taken, in order, and why."""
        return sorted(({int(place): DUPLICATE for place in self.duplicates} | self.unreadable).items())


@dataclass(frozen=True, slots=True)
class Mixture:
    """A plan: `parts`, the target first, and for each row to come the number of its part and which of `taken` it is."""

    parts: list[MixPart]
    part: NDArray[np.int64]
    place: NDArray[np.int64]
    schema: pa.Schema

    @property
    def rows(self) -> int:
        """How many there will be."""
        return len(self.part)

    @property
    def total(self) -> int:
        """How many rows there are to write: those of the mixture, and those that are rejected."""
        return self.rows + sum(len(part.duplicates) + len(part.unreadable) for part in self.parts)


def plan(
    parts: Sequence[MixPart],
    *,
    by: Unit = "rows",
    order: Order = "interleave",
    oversample: bool = False,
    seed: int = 0,
    count_tokens: CountTokens | None = None,
) -> Mixture:
    """Decide which rows are taken, and in which order.

    Args:
        parts: the target, then the replay sets; filled in.
        by: whether shares are of rows or of tokens.
        order: replay spread evenly among the target's rows, which stay in their order; all shuffled; or the target
            first, then each replay set.
        oversample: take rows of a replay set that is too small again and again.
        seed: of what is drawn.
        count_tokens: of a row, where rows are not tokens already.

    Raises:
        UsageError: a replay set is too small, tokens cannot be counted, or the sets have no form in common.
    """
    _one_form(parts)
    target = parts[0]
    keys, sizes, readable = _look(target, by, count_tokens)
    target.taken = np.flatnonzero(readable)
    target.tokens = int(sizes[readable].sum())
    for part in parts[1:]:
        own, own_sizes, readable_too = _look(part, by, count_tokens)
        same = np.isin(own, keys[readable]) & readable_too
        part.duplicates = np.flatnonzero(same)
        draw = np.random.default_rng(seed_of(seed, part.name, "replay"))
        whole = target.tokens if by == "tokens" else len(target.taken)
        _take(part, np.flatnonzero(~same & readable_too), own_sizes, whole, by, oversample, draw)
    number = np.concatenate([np.full(len(part.taken), index) for index, part in enumerate(parts)])
    place = np.concatenate([np.arange(len(part.taken)) for part in parts])
    draw = np.random.default_rng(seed_of(seed, "order", order))
    if order == "interleave":
        widths = np.concatenate([np.full(len(part.taken), 1 / max(1, len(part.taken))) for part in parts])
        within = np.where(number == 0, 0.5, draw.random(len(number)))
        arranged = np.argsort((place + within) * widths, kind="stable")
    else:
        arranged = draw.permutation(len(number)) if order == "shuffle" else np.arange(len(number))
    return Mixture(list(parts), number[arranged], place[arranged], _schema(parts))


def mixed(mixture: Mixture, start: int = 0) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
    """What is to be written from row `start` on: the mixture in its order, then the rows that are never taken.

    Yields:
        Rows of the mixture, as a batch of its schema, and rejected rows, with the reason; one of the two is empty.
    """
    schema = mixture.schema.append(REASON)
    none, none_rejected = pa.RecordBatch.from_pylist([], mixture.schema), pa.RecordBatch.from_pylist([], schema)
    sets = [_Gather(part, mixture.schema) for part in mixture.parts]
    for begin in range(start, mixture.rows, BLOCK_ROWS):
        part, place = mixture.part[begin : begin + BLOCK_ROWS], mixture.place[begin : begin + BLOCK_ROWS]
        blocks = [sets[index].rows(place[part == index]) for index in range(len(sets))]
        back = np.argsort(np.argsort(part, kind="stable"), kind="stable")
        rows = pa.Table.from_batches(blocks).combine_chunks().take(pa.array(back)).combine_chunks().to_batches()[0]
        yield rows, none_rejected
    done = max(0, start - mixture.rows)
    for one in sets:
        left_out = one.left_out[done:]
        done = max(0, done - len(one.left_out))
        for begin in range(0, len(left_out), BLOCK_ROWS):
            part_of_it = left_out[begin : begin + BLOCK_ROWS]
            batch = one.at(np.array([place for place, _ in part_of_it]))
            reasons = pa.array([reason for _, reason in part_of_it], pa.string())
            yield none, pa.record_batch([*batch.columns, reasons], schema=schema)


class _Gather:
    """Rows of one set by their place, with the columns of the mixture."""

    def __init__(self, part: MixPart, schema: pa.Schema) -> None:
        self._part = part
        self._schema = schema
        self.left_out = part.left_out
        self._batches = [completed for _, completed in part.prompts.completed(pa.schema([SOURCE]))]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        _, first = np.unique(part.taken, return_index=True)
        self._again = np.ones(len(part.taken), bool)
        self._again[first] = False

    def rows(self, which: NDArray[np.int64]) -> pa.RecordBatch:
        """Rows by their number in `MixPart.taken`; one that is taken again gets an id of its own."""
        batch = self.at(self._part.taken[which])
        again = self._again[which]
        if again.any():
            ids = [
                digest("again", name, int(number)) if repeated else name
                for name, number, repeated in zip(batch["id"].to_pylist(), which, again, strict=True)
            ]
            batch = batch.set_column(batch.schema.get_field_index("id"), "id", pa.array(ids, pa.string()))
        return batch

    def at(self, places: NDArray[np.int64]) -> pa.RecordBatch:
        """Rows by their place in the set, in the order given."""
        holder = np.searchsorted(self._starts, places, side="right") - 1
        order = np.argsort(holder, kind="stable")
        rows = [
            self._batches[index].take(pa.array(places[order][holder[order] == index] - self._starts[index]))
            for index in np.unique(holder)
        ]
        if not rows:
            return pa.RecordBatch.from_pylist([], self._schema)
        back = pa.array(np.argsort(order, kind="stable"))
        whole = pa.Table.from_batches(rows).take(back).combine_chunks().to_batches()[0]
        own = dict(zip(whole.schema.names, whole.columns, strict=True))  # to look each up in the batch takes too long
        own[SOURCE.name] = pa.array([self._part.name] * whole.num_rows, pa.string())
        columns = [
            cast_to(own[item.name], item.type) if item.name in own else pa.nulls(whole.num_rows, item.type)
            for item in self._schema
        ]
        return pa.record_batch(columns, schema=self._schema)


def _one_form(parts: Sequence[MixPart]) -> None:
    """Refuse sets of which some are tokens, or have labels, and some do not, or that different models scored."""
    tokens = [part for part in parts if _tokenised(part)]
    labelled = [part for part in tokens if "labels" in part.prompts.source.schema.names]
    for what, having in (("labels", labelled), ("tokens", tokens)):
        if having and len(having) < len(parts):
            plain = next(part for part in parts if part not in having)
            are_texts = any(only_texts(part.prompts.source) for part in having)
            raise UsageError(
                f"{having[0].name} has {what} and {plain.name} has none: score {plain.name} with the same model (synth "
                "score-tokens without a mask trains on all its assistant tokens)"
                + ("" if are_texts else ", or leave all tokens behind: `as` messages")
            )
    models: dict[str, str] = {}
    for part in (part for part in tokens if "scorer" in part.prompts.source.schema.names):
        for batch in part.prompts.source.batches(part.prompts.limit):
            for scorer in batch["scorer"].unique().drop_null().to_pylist():
                models.setdefault(scorer.rsplit(" ", 1)[0], part.name)
    if len(models) > 1:
        told = "; ".join(f"{name}: {model}" for model, name in models.items())
        raise UsageError(
            f"the sets were scored by different models, so their tokens may differ ({told}): score them alike"
        )


def _tokenised(part: MixPart) -> bool:
    """Whether its rows are tokens: as `synth score-tokens` leaves them, or as another tool does."""
    return "input_ids" in part.prompts.source.schema.names


def _look(
    part: MixPart, by: Unit, count_tokens: CountTokens | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """For each row of a set a hash of its prompt or its plain text, its tokens, and whether it can be read.

    Tokens are 0 where they are not known or not asked for.
    """
    keys: list[int] = []
    sizes: list[int] = []
    tokenised, schema = _tokenised(part), part.prompts.source.schema
    names = [
        "messages",
        *([TEXT] if has_texts(schema) else []),
        *(one for one in RENDERING.names if one in schema.names),
    ]
    for batch in part.prompts.source.batches(part.prompts.limit):
        texts = batch[TEXT].to_pylist() if TEXT in names else [None] * batch.num_rows
        found = zip(conversations_of(batch["messages"]), texts, strict=True)
        keys.extend(int((asked(turns) if turns else digest(text or []))[:15], 16) for turns, text in found)
        if tokenised:
            sizes.extend(compute.fill_null(compute.list_value_length(batch["input_ids"]), 0).to_pylist())
        elif by == "tokens":
            if count_tokens is None:
                raise UsageError("`by` tokens: name the model whose tokens they are, `model` M")
            sizes.extend(map(count_tokens, records_of(batch.select(names))))
        else:
            sizes.extend([0] * batch.num_rows)
    part.unreadable = part.prompts.faults()
    readable = np.ones(len(keys), np.bool_)
    readable[list(part.unreadable)] = False
    return np.array(keys, np.int64), np.array(sizes, np.int64), readable


def asked(messages: list[Message]) -> str:
    """A hash of what a conversation asks: rows of equal ones are duplicates in a mixture."""
    return digest(_prompt(messages))


def _prompt(messages: list[Message]) -> list[tuple[Any, ...]]:
    """What is asked: the turns up to the last one that is not the assistant's, white space and thoughts aside."""
    while messages and messages[-1]["role"] == "assistant":
        messages = messages[:-1]
    called = [[call["function"] for call in turn.get("tool_calls", ())] for turn in messages]
    said = [(turn["role"], " ".join((turn["content"] or "").split())) for turn in messages]
    return [(*one, *calls) for one, calls in zip(said, called, strict=True)]


def _take(
    part: MixPart,
    candidates: NDArray[np.int64],
    sizes: NDArray[np.int64],
    whole: int,
    by: Unit,
    oversample: bool,
    draw: np.random.Generator,
) -> None:
    """Draw a replay set's rows: without replacement, or, where they are too few, every row as often as any other."""
    weights = sizes[candidates] if by == "tokens" else np.ones(len(candidates), np.int64)
    wanted, there = (part.share or 0) * whole, int(weights.sum())
    if wanted > there and (not oversample or not there):
        left_out = f" ({len(part.duplicates):,} more are the target's)" if len(part.duplicates) else ""
        raise UsageError(
            f"{part.name} has {there:,} {by}{left_out}; {part.share:.3g} of the target's {whole:,} are "
            f"{round(wanted):,}: " + ("lower the share, or add `oversample`" if there else "there is nothing to replay")
        )
    passes = int(wanted // there) if there else 0
    order = draw.permutation(len(candidates))
    sums = np.concatenate([[0], np.cumsum(weights[order])])
    last = int(np.argmin(np.abs(sums - (wanted - passes * there))))
    chosen = [draw.permutation(len(candidates)) for _ in range(passes)] + [order[:last]]
    part.taken = candidates[np.concatenate(chosen)]
    part.tokens = int(sizes[part.taken].sum())


def _schema(parts: Sequence[MixPart]) -> pa.Schema:
    """The columns of all sets together; null where a set has none of a name."""
    schemas = [part.prompts.schema(pa.schema([SOURCE])) for part in parts]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except pa.ArrowException as error:
        raise UsageError(f"a column has different types in the sets: {error}; rename one of them") from error
