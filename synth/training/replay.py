"""Replay as an objective of its own: which rows it has, and its batches among the task's (arXiv 2605.26097).

Its rows come after the task's in one `TrainingRows`: a set apart, or rows of the task's set that name a source. A step
takes a batch of the task, one of replay, the next of the task, …: each goes through the model by itself, so that a step
needs the memory of one.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from synth.errors import UsageError
from synth.methods.drawing import Drawing
from synth.seeds import seed_of
from synth.training.batches import plan_steps
from synth.training.fresh import FRESH
from synth.training.method_rows import MethodRows
from synth.training.rows import TrainingRows
from synth.training.settings import ReplaySettings, TrainingSettings


def join_replay(task: TrainingRows, replay: TrainingRows, name: str) -> TrainingRows:
    """The rows of a task and, after them, those of a replay set.

    Args:
        task: its rows.
        replay: the set's.
        name: the source of those that name none.
    """
    return replace(
        task,
        names=task.names + replay.names,
        sources=task.sources + [source or name for source in replay.sources],
        starts=np.concatenate([task.starts, task.starts[-1] + replay.starts[1:]]),
        tokens=np.concatenate([task.tokens, replay.tokens]),
        labels=np.concatenate([task.labels, replay.labels]),
        weights=np.concatenate([task.weights, replay.weights]),
        rejected=task.rejected + replay.rejected,
        untrained=task.untrained + replay.untrained,
        unverified=task.unverified + replay.unverified,
        replayed=len(replay),
    )


def join_fresh(
    task: TrainingRows, drawing: Drawing, settings: TrainingSettings, processes: int, *, padded: bool = False
) -> TrainingRows:
    """The rows of a task and, after them, those of fresh replay for all its batches, which are yet to be drawn.

    Args:
        task: its rows; any after them are left behind.
        drawing: what is drawn.
        settings: as for `plan_batches`.
        processes: as for `plan_batches`.
        padded: as for `plan_batches`.
    """
    length = drawing.settings.length
    starts = task.starts[: task.tasks + 1]
    alone = replace(task, names=task.names[: task.tasks], sources=task.sources[: task.tasks], starts=starts, replayed=0)
    batches = plan_batches(alone, replace(settings, replay=None), processes, padded=padded)
    count = len(batches) * (settings.replay.rows_per_batch if settings.replay else 0)
    return replace(
        alone,
        names=alone.names + drawing.ids(count),
        sources=alone.sources + [FRESH] * count,
        starts=np.concatenate([starts, starts[-1] + length * np.arange(1, count + 1)]),
        replayed=count,
    )


def split_replay(rows: TrainingRows, sources: Collection[str]) -> TrainingRows:
    """The same rows, those of the sources that are replay after the others.

    Raises:
        UsageError: no row is of one of the sources, or all are of them.
    """
    there = set(rows.sources)
    for source in sources:
        if source not in there:
            named = ", ".join(sorted(there - {""})) or "none (see synth mix)"
            raise UsageError(f"`replay_sources` {source}: no row is of that source; there are: {named}")
    replayed = np.array([source in sources for source in rows.sources])
    if replayed.all():
        raise UsageError(f"`replay_sources` {', '.join(sources)}: all rows are of these, and none is left for the task")
    order = np.concatenate([np.flatnonzero(~replayed), np.flatnonzero(replayed)])
    token_order = np.concatenate([np.arange(rows.starts[row], rows.starts[row + 1]) for row in order])
    return replace(
        rows,
        names=[rows.names[row] for row in order],
        sources=[rows.sources[row] for row in order],
        starts=np.concatenate([[0], np.cumsum(rows.sizes[order])]),
        tokens=rows.tokens[token_order],
        labels=rows.labels[token_order],
        weights=rows.weights[token_order],
        replayed=int(replayed.sum()),
    )


def with_loss(rows: TrainingRows, replay: ReplaySettings | None) -> NDArray[np.int64]:
    """The tokens of each row that its objective counts; shape `[rows]`."""
    counts = rows.trained_of_each
    if replay is not None and replay.every:
        counts[rows.tasks :] = rows.sizes[rows.tasks :] - 1
    return counts


@dataclass(frozen=True, slots=True)
class Extent:
    """How much an objective has to train on.

    Attributes:
        rows: of it.
        tokens: in them.
        trained: those with loss.
    """

    rows: int
    tokens: int
    trained: int


def extents(rows: TrainingRows, replay: ReplaySettings | None) -> tuple[Extent, Extent | None]:
    """What there is of the task, and of replay where it is an objective."""
    sizes, counts = rows.sizes, with_loss(rows, replay)
    task, replayed = (
        Extent(len(sizes[part]), int(sizes[part].sum()), int(counts[part].sum()))
        for part in (slice(rows.tasks), slice(rows.tasks, None))
    )
    return task, None if replay is None else replayed


def plan_batches(
    rows: TrainingRows, settings: TrainingSettings, processes: int, *, padded: bool = False
) -> list[NDArray[np.int64]]:
    """The rows of every batch of a run, in order: `settings.batches_per_step` × `processes` of them make one step.

    Where replay is an objective, batches of the task and of it take turns in every process. The task's are those that
    there would be without it, and decide how many steps there are; replay goes around as often as it takes, or has
    fresh rows in each batch.

    Args:
        rows: all rows.
        settings: how they are trained on.
        processes: how many take part; each takes its turn at the batches.
        padded: as for `plan_steps`.

    Raises:
        UsageError: there are fewer rows than one step has batches.
    """
    replay = settings.replay
    per_step = settings.gradient_accumulation_steps * processes
    if isinstance(rows, MethodRows):
        tasks = rows.plan(settings, per_step)
    else:
        tasks = plan_steps(
            rows.sizes[: rows.tasks],
            tokens_per_batch=settings.tokens_per_batch,
            per_step=per_step,
            steps=settings.steps,
            epochs=settings.epochs,
            seed=settings.seed,
            padded=padded,
        )
    if replay is None:
        return tasks
    replays = (
        list(np.arange(len(tasks) * replay.rows_per_batch).reshape(len(tasks), -1))
        if replay.length is not None
        else plan_steps(
            rows.sizes[rows.tasks :],
            tokens_per_batch=replay.tokens_per_batch,
            per_step=per_step,
            steps=len(tasks) // per_step,
            epochs=1.0,
            seed=seed_of(settings.seed, "replay"),
            padded=padded,
            of="rows of replay",
        )
    )
    turns: list[NDArray[np.int64]] = []
    for start in range(0, len(tasks), processes):
        turns += tasks[start : start + processes]
        turns += [batch + rows.tasks for batch in replays[start : start + processes]]
    return turns


def tokens_of(rows: TrainingRows, batches: Iterable[NDArray[np.int64]]) -> tuple[int, int]:
    """The tokens in batches of the task, and in those of replay."""
    sizes = rows.sizes
    task, replay = (
        sum(int(sizes[batch].sum()) for batch in batches if (batch[0] >= rows.tasks) == replayed)
        for replayed in (False, True)
    )
    return task, replay
