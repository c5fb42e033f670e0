"""Plans a training: how many rows of which sources, in how many steps, and which tokens have loss."""

from dataclasses import dataclass

import numpy as np

from synth.scoring.cells import cells
from synth.training.batches import plan_steps
from synth.training.inputs import TrainingInput
from synth.training.rows import TrainingRows
from synth.training.settings import TrainingSettings

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
    """

    source: str
    rows: int
    tokens: int
    trained: int


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
class TrainingPlan:
    """What a training would do.

    Attributes:
        sources: what there is of each source.
        rejected: rows that cannot be trained on, by reason, the commonest first.
        note: what should be known of answers that are not trained on; None where all are.
        steps: optimizer steps.
        tokens_per_step: that a step has room for.
        tokens: that go through the model in all steps.
        passes: over the rows, on average.
        examples: the first rows.
    """

    sources: list[SourceCount]
    rejected: dict[str, int]
    note: str | None
    steps: int
    tokens_per_step: int
    tokens: int
    passes: float
    examples: list[Example]


def plan_training(source: TrainingInput, settings: TrainingSettings, processes: int) -> TrainingPlan:
    """Plan a training as it would be, were rows packed.

    Args:
        source: the rows.
        settings: how they are trained on.
        processes: how many take part.

    Raises:
        UsageError: there are fewer rows than one step has batches.
    """
    rows = source.rows
    sizes = rows.sizes
    per_step = settings.gradient_accumulation_steps * processes
    batches = plan_steps(
        sizes,
        tokens_per_batch=settings.tokens_per_batch,
        per_step=per_step,
        steps=settings.steps,
        epochs=settings.epochs,
        seed=settings.seed,
    )
    tokens = sum(int(sizes[batch].sum()) for batch in batches)
    return TrainingPlan(
        sources=_by_source(rows),
        rejected=rows.reasons,
        note=rows.note,
        steps=len(batches) // per_step,
        tokens_per_step=settings.tokens_per_batch * per_step,
        tokens=tokens,
        passes=tokens / int(sizes.sum()),
        examples=[_example(source, index) for index in range(min(EXAMPLES, len(rows)))],
    )


def _by_source(rows: TrainingRows) -> list[SourceCount]:
    sizes, names = rows.sizes, np.array(rows.sources)
    trained = np.add.reduceat((rows.weights > 0).astype(np.int64), rows.starts[:-1])
    counts = []
    for name in dict.fromkeys(rows.sources):
        of_it = names == name
        counts.append(SourceCount(name, int(of_it.sum()), int(sizes[of_it].sum()), int(trained[of_it].sum())))
    return counts


def _example(source: TrainingInput, index: int) -> Example:
    rows = source.rows
    part = slice(rows.starts[index], rows.starts[index + 1])
    weights = rows.weights[part]
    spans: list[tuple[str, bool]] = []
    at = 0
    for cell in cells(source.chat.tokenizer, rows.tokens[part].tolist()):
        has_loss = bool((weights[at : at + cell.tokens] > 0).any())
        if spans and spans[-1][1] == has_loss:
            spans[-1] = spans[-1][0] + cell.text, has_loss
        else:
            spans.append((cell.text, has_loss))
        at += cell.tokens
    return Example(rows.names[index], spans)
