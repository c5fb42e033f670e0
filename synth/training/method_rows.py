"""Rows of the methods beside fine-tuning, as tokens: preference pairs, and prompts that the model answers itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from synth.data.pairs import SIDES
from synth.data.read import Rows
from synth.data.row import FAULT, IGNORED, records_of
from synth.errors import RequestError, UsageError
from synth.scoring.encoding import RowEncoder, rendering
from synth.training.batches import plan_steps
from synth.training.rows import TrainingRows
from synth.training.settings import TrainingSettings

T = TypeVar("T")
Side = tuple[NDArray[np.int32], NDArray[np.bool_]]
"""One side of a pair: the tokens of the prompt and of the answer, and which are the answer's."""


class MethodRows(TrainingRows):
    """Rows that know how steps are planned of them."""

    def plan(self, settings: TrainingSettings, per_step: int) -> list[NDArray[np.int64]]:
        """The rows of every batch of a run; `per_step` batches make one step."""
        raise NotImplementedError


@dataclass(slots=True)
class TrainingPairs(MethodRows):
    """Preference pairs end to end, in each the better answer after its prompt, then the worse one after it.

    Attributes:
        splits: tokens of the first of the two; shape `[rows]`.
    """

    splits: NDArray[np.int64] = None  # type: ignore[assignment] # follows fields that have defaults; always given

    @property
    def room(self) -> NDArray[np.int64]:
        """Tokens that each pair takes in a batch of its own, both sides as long as the longer; shape `[rows]`."""
        found: NDArray[np.int64] = 2 * np.maximum(self.splits, self.sizes - self.splits)
        return found

    def plan(self, settings: TrainingSettings, per_step: int) -> list[NDArray[np.int64]]:
        """Both sides are padded to the longest of their batch."""
        return plan_steps(
            self.room,
            tokens_per_batch=settings.tokens_per_batch,
            per_step=per_step,
            steps=settings.steps,
            epochs=settings.epochs,
            seed=settings.seed,
            padded=True,
        )

    def side(self, row: int, which: int) -> Side:
        """One side of a pair, 0 the better one, 1 the worse."""
        start, end = self.starts[row], self.starts[row + 1]
        middle = start + self.splits[row]
        part = slice(middle, end) if which else slice(start, middle)
        return self.tokens[part], self.weights[part] > 0


@dataclass(slots=True)
class TrainingPrompts(MethodRows):
    """Prompts end to end; the answers, which are trained on, are drawn while the training goes on.

    Attributes:
        ends: tokens that end an answer.
        max_tokens: most tokens of one.
    """

    ends: tuple[int, ...] = ()
    max_tokens: int = 0

    @property
    def room(self) -> NDArray[np.int64]:
        """Tokens that each prompt takes in a batch of its own, with the longest answer; shape `[rows]`."""
        return self.sizes + self.max_tokens

    @property
    def note(self) -> str | None:
        """What to tell a person of them."""
        return f"the model answers these prompts while it is trained, with up to {self.max_tokens:,} tokens"

    def plan(self, settings: TrainingSettings, per_step: int) -> list[NDArray[np.int64]]:
        """As many prompts in every batch as fit with the longest prompt and answer, in a new order each epoch.

        Where they do not fill the last step, it takes the first of the next epoch.

        Raises:
            UsageError: there are fewer prompts than one step has batches.
        """
        if len(self) < per_step:
            raise UsageError(
                f"{len(self):,} prompts are too few for steps of {per_step} batches: lower "
                "`gradient_accumulation_steps`, or the number of processes"
            )
        fit = max(1, settings.tokens_per_batch // int(self.room.max()))
        each = min(fit, len(self) // per_step)
        steps = settings.steps or max(1, -(-round(settings.epochs * len(self)) // (each * per_step)))
        orders: list[NDArray[np.int64]] = []
        while sum(map(len, orders)) < steps * each * per_step:
            orders.append(np.random.default_rng((settings.seed, len(orders))).permutation(len(self)))
        return list(np.concatenate(orders)[: steps * each * per_step].reshape(-1, each))


def read_pairs(rows: Rows, encoder: RowEncoder, vocabulary: int, limit: int | None = None) -> TrainingPairs:
    """Read preference pairs as `synth.data.pairs.pairs` gives them.

    Args:
        rows: the source.
        encoder: of the model to be trained; its window holds for each side.
        vocabulary: token ids that the model knows.
        limit: rows to take; None takes all.

    Raises:
        UsageError: nothing is left.
    """

    def sides(record: dict[str, Any]) -> tuple[Side, Side]:
        found = tuple(_side(record, name, encoder, vocabulary) for name in SIDES)
        (better, answer), (worse, other) = found
        asked = int(answer.argmax())
        if asked != int(other.argmax()) or (better[:asked] != worse[:asked]).any():
            raise RequestError("the chat template does not write both answers after the same prompt")
        if np.array_equal(better, worse):
            raise RequestError("both answers are the same")
        return found[0], found[1]

    names, sources, made, rejected = _read(rows, sides, limit)
    tokens = [ids for pair in made for ids, _ in pair]
    wanted = np.concatenate([answer for pair in made for _, answer in pair])
    flat = np.concatenate(tokens)
    return TrainingPairs(
        names,
        sources,
        np.cumsum([0, *(len(first[0]) + len(second[0]) for first, second in made)]),
        flat,
        np.where(wanted, flat, np.int32(IGNORED)),
        wanted.astype(np.float32),
        rejected,
        splits=np.array([len(first[0]) for first, _ in made]),
    )


def _side(record: dict[str, Any], name: str, encoder: RowEncoder, vocabulary: int) -> Side:
    """One answer of a pair after its prompt, up to the token that ends it."""
    if [turn["role"] for turn in record[name] or ()] != ["assistant"]:
        raise RequestError(f"{name} is not one answer: the two sides may differ in the last turn only, the assistant's")
    given = {key: value for key, value in rendering(record).items() if key != "drawn"}
    row = encoder.conversation([*(record["messages"] or []), *record[name]], **given)[-1]
    end = int(np.flatnonzero(row.wanted)[-1]) + 1
    _check_ids(row.ids, vocabulary)
    return row.ids[:end], row.wanted[:end]


def read_prompts(
    rows: Rows, encoder: RowEncoder, vocabulary: int, max_tokens: int, limit: int | None = None
) -> TrainingPrompts:
    """Read what is asked in conversations: all before their last answer, whether it is there or not.

    Args:
        rows: the source, with `messages`.
        encoder: of the model to be trained; its window holds for a prompt and the longest answer.
        vocabulary: token ids that the model knows.
        max_tokens: most tokens of an answer.
        limit: rows to take; None takes all.

    Raises:
        UsageError: nothing is left.
    """
    ends: dict[int, None] = {}

    def prompt(record: dict[str, Any]) -> NDArray[np.int32]:
        ids, ending = encoder.prompt(record)
        if encoder.window is not None and len(ids) + max_tokens > encoder.window:
            raise RequestError(
                f"overlong: {len(ids):,} tokens and an answer of {max_tokens:,} (`max_tokens`), the window holds "
                f"{encoder.window:,}"
            )
        _check_ids(made := np.array(ids, np.int32), vocabulary)
        ends.update(dict.fromkeys(ending))
        return made

    names, sources, made, rejected = _read(rows, prompt, limit)
    tokens = np.concatenate(made)
    return TrainingPrompts(
        names,
        sources,
        np.cumsum([0, *map(len, made)]),
        tokens,
        np.full(len(tokens), IGNORED, np.int32),
        np.zeros(len(tokens), np.float32),
        rejected,
        ends=tuple(ends),
        max_tokens=max_tokens,
    )


def _read(
    rows: Rows, make: Callable[[dict[str, Any]], T], limit: int | None
) -> tuple[list[str], list[str], list[T], list[tuple[str, str]]]:
    """The names, the sources and what is made of all rows, and the (name, reason) of those of which nothing can be.

    Raises:
        UsageError: nothing is left.
    """
    names: list[str] = []
    sources: list[str] = []
    found: list[T] = []
    rejected: list[tuple[str, str]] = []
    records = (record for batch in rows.judged(limit) for record in records_of(batch))
    for index, record in enumerate(records):
        name = str(record.get("id") or f"row {index}")
        try:
            if (fault := record.get(FAULT)) is not None:
                raise RequestError(fault)
            found.append(make(record))
        except RequestError as error:
            rejected.append((name, str(error)))
            continue
        names.append(name)
        sources.append(str(record.get("source") or ""))
    if not found:
        first = f": of {len(rejected):,} rows none can be; {': '.join(rejected[0])}" if rejected else ""
        raise UsageError(f"{rows.source} has nothing to train on{first}")
    return names, sources, found, rejected


def _check_ids(ids: NDArray[np.int32], vocabulary: int) -> None:
    if ids.max(initial=0) >= vocabulary:
        raise RequestError(f"a token id is outside the model's vocabulary of {vocabulary:,}")


def padded(parts: Sequence[NDArray[Any]], value: int) -> torch.Tensor:
    """Arrays as the rows of one tensor, filled up with `value` at their ends."""
    whole = np.full((len(parts), max(map(len, parts))), value, np.int64)
    for row, part in zip(whole, parts, strict=True):
        row[: len(part)] = part
    return torch.from_numpy(whole)
