"""Rows of the methods beside fine-tuning, as tokens: preference pairs, and prompts that the model answers itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from synth.chat.format import ChatFormat
from synth.data.pairs import SIDES
from synth.data.read import Rows
from synth.data.row import BASE, FAULT, IGNORED, records_of
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
        drawn: answers to each prompt in a step.
        asked: of each prompt its messages, as `prompt`, and the columns that answers are judged by; empty where none
            are judged.
        chats: how each of these is written, by which answers to it are read.
    """

    ends: tuple[int, ...] = ()
    max_tokens: int = 0
    drawn: int = 1
    asked: Sequence[dict[str, Any]] = ()
    chats: Sequence[ChatFormat] = ()

    @property
    def room(self) -> NDArray[np.int64]:
        """Tokens that each prompt takes with the longest answer, and each row of replay; shape `[rows]`."""
        sizes = self.sizes
        sizes[: self.tasks] += self.max_tokens
        return sizes

    @property
    def note(self) -> str | None:
        """What to tell a person of them."""
        times = f", each {self.drawn} times," if self.drawn > 1 else ""
        return f"the model answers these prompts{times} while it is trained, with up to {self.max_tokens:,} tokens"

    def plan(self, settings: TrainingSettings, per_step: int) -> list[NDArray[np.int64]]:
        """The prompts of every batch, one for each answer: as many as fit with the longest prompt and answer.

        All answers to a prompt are of one step and one process, though maybe of several batches. Prompts come in a new
        order each epoch; where they do not fill the last step, it takes the first of the next epoch.

        Raises:
            UsageError: a step has no room for the answers to one prompt, or there are fewer prompts than it takes.
        """
        batches = settings.gradient_accumulation_steps
        processes = per_step // batches
        fewest = batches // math.gcd(batches, self.drawn)  # prompts whose answers fill batches of one size
        if self.tasks < fewest * processes:
            raise UsageError(
                f"{self.tasks:,} prompts are too few for steps of {per_step} batches: lower "
                "`gradient_accumulation_steps`, or the number of processes"
            )
        longest = int(self.room[: self.tasks].max())
        fit = max(1, settings.tokens_per_batch // longest)
        if fit * batches < fewest * self.drawn:
            enough = next(n for n in range(1, self.drawn + 1) if self.drawn % n == 0 and self.drawn // n <= fit)
            raise UsageError(
                f"a step has no room for {self.drawn} answers to a prompt, {longest:,} tokens each with it: give "
                f"`gradient_accumulation_steps` {enough}, raise `tokens_per_batch`, or lower `generations`"
            )
        prompts = min(fit * batches // (fewest * self.drawn), self.tasks // (fewest * processes)) * fewest
        each = prompts * processes
        steps = settings.steps or max(1, -(-round(settings.epochs * self.tasks) // each))
        orders: list[NDArray[np.int64]] = []
        while sum(map(len, orders)) < steps * each:
            orders.append(np.random.default_rng((settings.seed, len(orders))).permutation(self.tasks))
        taken = np.concatenate(orders)[: steps * each].reshape(steps, processes, prompts)
        answers = taken.repeat(self.drawn, axis=2).reshape(steps, processes, batches, -1)
        return list(answers.swapaxes(1, 2).reshape(steps * per_step, -1))


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
    rows: Rows, encoder: RowEncoder, vocabulary: int, max_tokens: int, limit: int | None = None, *, drawn: int = 1
) -> TrainingPrompts:
    """Read what is asked in conversations: all before their last answer, whether it is there or not.

    Args:
        rows: the source, with `messages`.
        encoder: of the model to be trained; its window holds for a prompt and the longest answer.
        vocabulary: token ids that the model knows.
        max_tokens: most tokens of an answer.
        limit: rows to take; None takes all.
        drawn: answers to each prompt. Where they are several, they are judged by the row's columns.

    Raises:
        UsageError: nothing is left.
    """
    ends: dict[int, None] = {}

    def prompt(record: dict[str, Any]) -> tuple[NDArray[np.int32], dict[str, Any], ChatFormat]:
        ids, chat = encoder.prompt(record)
        if encoder.window is not None and len(ids) + max_tokens > encoder.window:
            raise RequestError(
                f"overlong: {len(ids):,} tokens and an answer of {max_tokens:,} (`max_tokens`), the window holds "
                f"{encoder.window:,}"
            )
        _check_ids(made := np.array(ids, np.int32), vocabulary)
        ends.update(dict.fromkeys(chat.answer_stop_ids))
        return made, _asked(record) if drawn > 1 else {}, chat

    names, sources, made, rejected = _read(rows, prompt, limit)
    tokens = np.concatenate([ids for ids, _, _ in made])
    return TrainingPrompts(
        names,
        sources,
        np.cumsum([0, *(len(ids) for ids, _, _ in made)]),
        tokens,
        np.full(len(tokens), IGNORED, np.int32),
        np.zeros(len(tokens), np.float32),
        rejected,
        ends=tuple(ends),
        max_tokens=max_tokens,
        drawn=drawn,
        asked=[asked for _, asked, _ in made] if drawn > 1 else (),
        chats=[chat for _, _, chat in made] if drawn > 1 else (),
    )


def _asked(record: dict[str, Any]) -> dict[str, Any]:
    """The messages of a row that ask for its last answer, and its columns, without what was said of another answer."""
    messages = list(record["messages"] or [])
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    said = {*BASE.names} - {"reference", "verifier"}
    return {name: value for name, value in record.items() if name not in said} | {"prompt": messages}


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
