"""Plans a training: how many rows of which sources, in how many steps, and which tokens have loss."""

from dataclasses import dataclass

import numpy as np

from synth.scoring.cells import cells
from synth.training.fit import Fit
from synth.training.inputs import TrainingInput
from synth.training.replay import plan_batches, tokens_of, with_loss
from synth.training.rows import TrainingRows
from synth.training.settings import ReplaySettings, TrainingSettings

EXAMPLES = 3
"""Rows that are shown."""


@dataclass(frozen=True, slots=True)
class SourceCount:
    """The rows of one source (the column `source` of `synth mix`), "" where rows name none.

    Attributes:
        source: its name.
        rows: of it.
        tokens: in them.
        trained: those with loss.
        replay: whether they are replay with an objective of its own.
    """

    source: str
    rows: int
    tokens: int
    trained: int
    replay: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A row as it is trained on.

    Attributes:
        name: its id.
        spans: its text in parts, each with whether it has loss; none is beside one like it.
    """

    name: str
    spans: list[tuple[str, bool]]


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What a training would do with replay as an objective of its own.

    Attributes:
        settings: its loss, and how it is weighed.
        tokens_per_step: that a step has room for, beside the task's.
        tokens: of replay that go through the model in all steps.
        passes: over the rows of replay, on average.
    """

    settings: ReplaySettings
    tokens_per_step: int
    tokens: int
    passes: float


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """What a training would do.

    Attributes:
        sources: what there is of each source, of replay last.
        rejected: rows that cannot be trained on, by reason, the commonest first.
        note: what should be known of answers that are not trained on; None where all are.
        steps: optimizer steps.
        tokens_per_step: that a step has room for, of the task.
        tokens: of the task that go through the model in all steps.
        passes: over the task's rows, on average.
        examples: the first rows, and the first of replay.
        memory: what it takes on each device, and what there is.
        replay: what is done with replay, where it is an objective of its own.
    """

    sources: list[SourceCount]
    rejected: dict[str, int]
    note: str | None
    steps: int
    tokens_per_step: int
    tokens: int
    passes: float
    examples: list[Example]
    memory: Fit
    replay: ReplayPlan | None = None


def plan_training(source: TrainingInput, settings: TrainingSettings, processes: int, memory: Fit) -> TrainingPlan:
    """Plan a training as it would be, were rows packed.

    Args:
        source: the rows.
        settings: how they are trained on.
        processes: how many take part.
        memory: what it takes.

    Raises:
        UsageError: there are fewer rows than one step has batches.
    """
    rows, replay = source.rows, settings.replay
    sizes = rows.sizes
    batches = plan_batches(rows, settings, processes)
    tokens, replayed = tokens_of(rows, batches)
    per_step = settings.gradient_accumulation_steps * processes
    there = int(np.count_nonzero(rows.starts[:-1] < len(rows.tokens)))  # fresh replay is not drawn yet
    shown = [*range(min(EXAMPLES, rows.tasks)), *range(rows.tasks, there)[:1]]
    return TrainingPlan(
        sources=_by_source(rows, replay),
        rejected=rows.reasons,
        note=rows.note,
        steps=len(batches) // (settings.batches_per_step * processes),
        tokens_per_step=settings.tokens_per_batch * per_step,
        tokens=tokens,
        passes=tokens / (rows.drawn * int(sizes[: rows.tasks].sum())),
        examples=[_example(source, index, replay) for index in shown],
        memory=memory,
        replay=None
        if replay is None
        else ReplayPlan(
            replay, replay.tokens_per_batch * per_step, replayed, replayed / int(sizes[rows.tasks :].sum())
        ),
    )


def _by_source(rows: TrainingRows, replay: ReplaySettings | None) -> list[SourceCount]:
    sizes, trained = rows.sizes, with_loss(rows, replay)
    is_replay = np.arange(len(rows)) >= rows.tasks
    counts = []
    for name, replayed in dict.fromkeys(zip(rows.sources, is_replay.tolist(), strict=True)):
        of_it = (np.array(rows.sources) == name) & (is_replay == replayed)
        numbers = (int(of_it.sum()), int(sizes[of_it].sum()), int(trained[of_it].sum()))
        counts.append(SourceCount(name, *numbers, replayed))
    return counts


def _example(source: TrainingInput, index: int, replay: ReplaySettings | None) -> Example:
    rows = source.rows
    part = slice(rows.starts[index], rows.starts[index + 1])
    counts = rows.weights[part] > 0
    if replay is not None and replay.every and index >= rows.tasks:
        counts[1:] = True
    spans: list[tuple[str, bool]] = []
    at = 0
    for cell in cells(source.chat.tokenizer, rows.tokens[part].tolist()):
        has_loss = bool(counts[at : at + cell.tokens].any())
        if spans and spans[-1][1] == has_loss:
            spans[-1] = spans[-1][0] + cell.text, has_loss
        else:
            spans.append((cell.text, has_loss))
        at += cell.tokens
    return Example(rows.names[index], spans)
