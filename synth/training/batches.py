"""Builds batches from rows: which rows a step takes, and how they are laid out in the model.

A step takes rows in a random order until their tokens fill its batches. They are *packed*: laid end to end in one
sequence, with positions that begin anew at each row and attention that ends there (`synth.training.attention`), so that
nothing is padding and no row sees another. Models that cannot be packed get the same rows padded; the loss is the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth.data.row import IGNORED
from synth.errors import UsageError
from synth.training.fresh import FreshReplay
from synth.training.rows import TrainingRows

Batch = dict[str, Any]
"""The inputs of the model and of its loss. With K predicted positions and N tokens with loss:

input_ids       `[1, tokens]` if packed, else `[rows, longest]`
position_ids    packed only: positions in the row
attention_mask  padded only
keep            the positions along the sequence whose logits are needed; `[K]`
at              which of the rows × K predictions belong to the N tokens, if not each to its own; `[N]`
targets         the tokens to predict, those at which a divergence from the reference model counts first; `[N]`
weights         of their loss; `[N]`
likeliest       where the reference model's predictions are stored: its K likeliest tokens, at those that are compared;
                `[compared, K]`
likeliest_logs  their log-probabilities, and that of all others together; `[compared, K + 1]`

And what the host keeps to itself, for to ask a device for it is to wait for the device:

lengths         tokens of each row, longest row first; `[rows]`
totals          sums that losses are divided by: weights, N, and compared tokens, of the task; and the weights of
                replay; `[4]`, float64
rows            indices of the rows; `[rows]`
compared        how many of the N tokens a divergence from the reference model counts at
replay          whether the rows are replay with an objective of its own; else they are the task's
"""


def plan_steps(
    sizes: NDArray[np.int64],
    *,
    tokens_per_batch: int,
    per_step: int,
    steps: int | None,
    epochs: float,
    seed: int,
    padded: bool = False,
    of: str = "rows",
) -> list[NDArray[np.int64]]:
    """The rows of every batch of a run, in order: `per_step` batches make one step.

    Rows are shuffled anew in each epoch; a batch takes rows while their tokens fit, across the end of an
    epoch. Every step has all its batches, so that all processes go in step: where they run out in the last one, batches
    are split in two until there are enough; where every batch is a single row, the first rows are taken once more.

    Args:
        sizes: tokens of each row.
        tokens_per_batch: tokens a batch may hold; no batch holds more, but for a single row that is longer by itself.
        per_step: batches a step: gradient accumulation times processes.
        steps: steps wanted; None goes by `epochs`.
        epochs: passes over all rows (the last may be partial), where `steps` is None.
        seed: of the shuffles.
        padded: rows are padded to the longest of their batch, and the padding counts.
        of: what the rows are, for a person.

    Raises:
        UsageError: there are fewer rows than one step has batches.
    """
    if len(sizes) < per_step:
        raise UsageError(
            f"{len(sizes):,} {of} are too few for steps of {per_step} batches: lower "
            "`gradient_accumulation_steps`, or the number of processes"
        )
    batches: list[NDArray[np.int64]] = []
    left = round(epochs * len(sizes)) if steps is None else None
    open_rows: list[int] = []
    held = longest = epoch = 0
    while left != 0 and (steps is None or len(batches) < steps * per_step):
        order = np.random.default_rng((seed, epoch)).permutation(len(sizes))[:left]
        for row in order.tolist():
            size = int(sizes[row])
            widest = max(longest, size)
            needed = (len(open_rows) + 1) * widest if padded else held + size
            if open_rows and needed > tokens_per_batch:
                batches.append(np.array(open_rows))
                open_rows, held, widest = [], 0, size
            open_rows.append(row)
            held, longest = held + size, widest
        left = None if left is None else left - len(order)
        epoch += 1
    if steps is not None:
        return batches[: steps * per_step]
    if open_rows:
        batches.append(np.array(open_rows))
    return _whole_steps(batches, per_step)


def hardest(batches: Sequence[NDArray[np.int64]], sizes: NDArray[np.int64]) -> list[list[int]]:
    """The tokens of each row, longest first, of the batch of most tokens and of the one with the longest row."""
    chosen = {
        max(range(len(batches)), key=lambda index: int(sizes[batches[index]].sum())),
        max(range(len(batches)), key=lambda index: int(sizes[batches[index]].max())),
    }
    return [np.sort(sizes[batches[index]])[::-1].tolist() for index in sorted(chosen)]


def _whole_steps(batches: list[NDArray[np.int64]], per_step: int) -> list[NDArray[np.int64]]:
    """Batches that fill whole steps: of the last step, then of any, the one of most rows is split in two."""
    while missing := -len(batches) % per_step:
        last = range(len(batches) - (per_step - missing), len(batches))
        many = [index for index in last if len(batches[index]) > 1]
        many = many or [index for index in range(last.start) if len(batches[index]) > 1]
        if not many:
            return batches + batches[:missing]
        chosen = max(many, key=lambda index: len(batches[index]))
        batches[chosen : chosen + 1] = np.array_split(batches[chosen], 2)
    return batches


@dataclass(frozen=True, slots=True)
class Collator:
    """Turns the rows of a batch into tensors.

    Attributes:
        rows: all rows.
        packed: lay rows end to end; else pad them.
        all_tokens: predict every token of the task's rows, for a language-model loss beside that on the labels.
        compared: at which tokens a divergence from the reference model counts, shape `[tokens]`; None is nowhere.
        likeliest: what is stored of the reference model's predictions for rows, as more of the batch; or None.
        every_replayed: predict every token of rows that are replay, each with weight 1.
        fresh: has the tokens of rows of replay that are drawn meanwhile, where there are such.
        padding: the token id to pad with.
    """

    rows: TrainingRows
    packed: bool
    all_tokens: bool = False
    compared: NDArray[np.bool_] | None = None
    likeliest: Callable[[Sequence[int]], dict[str, NDArray[Any]]] | None = None
    every_replayed: bool = False
    fresh: FreshReplay | None = None
    padding: int = 0

    def __call__(self, indices: Sequence[int]) -> Batch:
        """The batch of the rows at `indices`, all of them the task's or all of them replay."""
        sizes = self.rows.sizes
        chosen = sorted(indices, key=lambda index: (-sizes[index], index))
        lengths = sizes[chosen]
        tokens, labels, weights, counts = self._taken(chosen)
        row = np.repeat(np.arange(len(chosen)), lengths)
        place = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        replay = chosen[0] >= self.rows.tasks
        every = self.every_replayed if replay else self.all_tokens
        predicted = np.flatnonzero(place > 0 if every else (labels != IGNORED) & (weights > 0))
        compared = 0
        if self.compared is not None:
            counts = counts[predicted]
            predicted, compared = predicted[np.argsort(~counts, kind="stable")], int(counts.sum())
        # The logits at one position predict the token at the next.
        before = predicted - 1 if self.packed else place[predicted] - 1
        keep, inverse = np.unique(before, return_inverse=True)
        targets = np.where(labels[predicted] == IGNORED, tokens[predicted], labels[predicted])
        loss_weights = np.ones(len(predicted), np.float32) if replay and every else weights[predicted]
        weight, count = loss_weights.sum(dtype=np.float64), float(len(predicted))
        totals = [0.0, 0.0, 0.0, weight] if replay else [weight, count, float(compared), 0.0]
        batch: dict[str, Any] = {
            "keep": keep,
            "targets": targets.astype(np.int64),
            "weights": loss_weights,
        }
        at = inverse if self.packed else row[predicted] * len(keep) + inverse
        if not np.array_equal(at, np.arange(len(keep) * (1 if self.packed else len(chosen)))):
            batch["at"] = at
        if self.likeliest is not None:
            batch |= self.likeliest(chosen)
        if self.packed:
            batch |= {"input_ids": tokens[None].astype(np.int64), "position_ids": place[None]}
        else:
            shape = (len(chosen), int(lengths.max()))
            ids, mask = np.full(shape, self.padding, np.int64), np.zeros(shape, np.int64)
            ids[row, place], mask[row, place] = tokens, 1
            batch |= {"input_ids": ids, "attention_mask": mask}
        tensors = {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in batch.items()}
        host = {"lengths": lengths, "totals": np.array(totals), "rows": np.array(chosen), "replay": bool(replay)}
        return tensors | host | {"compared": compared}

    def _taken(
        self, chosen: Sequence[int]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32], NDArray[np.bool_]]:
        """The tokens of rows end to end, their labels and weights, and where a divergence counts."""
        rows = self.rows
        if self.fresh is not None and chosen[0] >= rows.tasks:
            drawn = self.fresh.take([index - rows.tasks for index in chosen])
            return drawn, drawn, np.ones(len(drawn), np.float32), np.ones(len(drawn), np.bool_)
        parts = [slice(rows.starts[index], rows.starts[index + 1]) for index in chosen]
        return (
            np.concatenate([rows.tokens[part] for part in parts]),
            np.concatenate([rows.labels[part] for part in parts]),
            np.concatenate([rows.weights[part] for part in parts]),
            np.concatenate([(rows.weights if self.compared is None else self.compared)[part] > 0 for part in parts]),
        )
