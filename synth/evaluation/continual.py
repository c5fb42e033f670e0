"""What a model keeps of a sequence of tasks that it learns one after the other, as the literature measures it.

Everything is read off one matrix: a_{k,j}, the accuracy on task j after the stage in which task k was learnt, and b_j,
that before the first stage. After stage k, with only the tasks 1 to k counted:

average accuracy    A_k = 1/k Σ_{j≤k} a_{k,j}  (Chaudhry et al. 2018, arXiv 1801.10112, sec. 3; ACC of Lopez-Paz and
                    Ranzato 2017, arXiv 1706.08840, sec. 3, at the last stage)
backward transfer   1/(k-1) Σ_{j<k} a_{k,j} - a_{j,j}: below 0 where later tasks cost earlier ones (1706.08840)
forward transfer    1/(k-1) Σ_{1<j≤k} a_{j-1,j} - b_j: what earlier tasks give to one not yet learnt (1706.08840)
forgetting          1/(k-1) Σ_{j<k} max_{l<k} a_{l,j} - a_{k,j}: what was lost of the best there was (1801.10112)

The papers' b is the accuracy of a model with random weights. Here it is that of the model before the first stage: a
language model can do some of a task that it was never taught.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from synth.evaluation.table import Line, ScoreTable, Span

Accuracies = Sequence[float | None]
"""An accuracy (0 to 1) for each task, None where it was not measured."""


@dataclass(frozen=True, slots=True)
class TaskMatrix:
    """The accuracies of tasks × stages.

    Attributes:
        tasks: their names, in the order in which they are learnt: one a stage.
        before: of the model before the first stage.
        after: of the model after each stage that is done, on all tasks.
    """

    tasks: Sequence[str]
    before: Accuracies
    after: Sequence[Accuracies] = ()

    def __post_init__(self) -> None:
        """Refuse what is no such matrix.

        Raises:
            ValueError: there is no task, one has no name of its own, there are more stages than tasks, a row is of
                another length, or a value is no accuracy.
        """
        if not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks {', '.join(self.tasks) or 'none'}: each needs a name of its own")
        if len(self.after) > len(self.tasks):
            raise ValueError(f"{len(self.after)} stages of {len(self.tasks)} tasks: one is learnt a stage")
        for row in (self.before, *self.after):
            if len(row) != len(self.tasks):
                raise ValueError(f"{len(row)} accuracies of {len(self.tasks)} tasks")
            for value in row:
                if value is not None and not 0 <= value <= 1:
                    raise ValueError(f"{value} is no accuracy: it must be within 0 to 1")


@dataclass(frozen=True, slots=True)
class Transfer:
    """What the tasks of a sequence do to each other. Each is a mean over tasks; None where there is none to count.

    Attributes:
        stage: after which it was measured, from 1.
        average_accuracy: of the tasks learnt so far, 0 to 1.
        backward_transfer: -1 to 1.
        forward_transfer: -1 to 1.
        forgetting: -1 to 1; below 0 where all earlier tasks are better than ever.
        left_out: tasks that a mean does without, since an accuracy that it needs was not measured, for people.
    """

    stage: int
    average_accuracy: float | None
    backward_transfer: float | None
    forward_transfer: float | None
    forgetting: float | None
    left_out: tuple[str, ...] = ()


def transfer(matrix: TaskMatrix, stage: int | None = None) -> Transfer:
    """Average accuracy, backward and forward transfer, and forgetting after a stage, the last one by default.

    Raises:
        ValueError: there is no such stage.
    """
    last = len(matrix.after) if stage is None else stage
    if not 1 <= last <= len(matrix.after):
        raise ValueError(f"there is no stage {last}: {len(matrix.after)} are done")
    a, now, learnt = matrix.after, matrix.after[last - 1], range(last)
    terms = {
        "average accuracy": {j: now[j] for j in learnt},
        "backward transfer": {j: _less(now[j], a[j][j]) for j in learnt[:-1]},
        "forward transfer": {j: _less(a[j - 1][j], matrix.before[j]) for j in learnt[1:]},
        "forgetting": {j: _less(_best(matrix, j, last), now[j]) for j in learnt[:-1]},
    }
    average, backward, forward, forgetting = map(_mean, terms.values())
    return Transfer(last, average, backward, forward, forgetting, tuple(_left_out(matrix.tasks, terms)))


def _best(matrix: TaskMatrix, task: int, stage: int) -> float | None:
    """The best accuracy on a task before a stage.

    One that was not measured while the task was yet to be learnt, as is usual, is done without. Later ones are needed.
    """
    values = [row[task] for row in matrix.after[: stage - 1]]
    if None in values[task:]:
        return None
    return max(value for value in values if value is not None)


def _less(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def _mean(terms: dict[int, float | None]) -> float | None:
    known = [term for term in terms.values() if term is not None]
    return sum(known) / len(known) if known else None


def _left_out(tasks: Sequence[str], terms: dict[str, dict[int, float | None]]) -> Iterator[str]:
    for name, by_task in terms.items():
        if missing := [tasks[task] for task, term in by_task.items() if term is None]:
            yield f"{name} is without {', '.join(missing)}: not all accuracies that it needs were measured"


def transfer_table(matrix: TaskMatrix) -> ScoreTable:
    """The matrix as a table for people, a row a stage: accuracies, and the four measures after it.

    The accuracy on the task that was learnt in a stage is bold; those on tasks not yet learnt are dim. Below the last
    stage stands what its measures are without.
    """
    stages = [transfer(matrix, stage) for stage in range(1, len(matrix.after) + 1)]
    rows: list[list[Line]] = [[(Span("before"),), *_cells(matrix.before, -1), *[()] * len(_MEASURES)]]
    for found, accuracies in zip(stages, matrix.after, strict=True):
        learnt = found.stage - 1
        measures = (
            _signed(getattr(found, name)) if signed else _percent(getattr(found, name)) for name, signed in _MEASURES
        )
        rows.append(
            [(Span(f"{found.stage} {matrix.tasks[learnt]}"),), *_cells(accuracies, learnt), *map(_plain, measures)]
        )
    header = ["after stage", *matrix.tasks, *(name.replace("_", " ") for name, _ in _MEASURES)]
    return ScoreTable(header, rows, [(Span(said, "dim"),) for said in (stages[-1].left_out if stages else ())])


_MEASURES = (("average_accuracy", False), ("backward_transfer", True), ("forward_transfer", True), ("forgetting", True))
"""The measures in the order of their columns, and whether they are differences."""


def _cells(accuracies: Iterable[float | None], learnt: int) -> Iterator[Line]:
    for task, value in enumerate(accuracies):
        yield (Span(_percent(value), "bold" if task == learnt else "dim" if task > learnt else ""),)


def _plain(text: str) -> Line:
    return (Span(text),)


def _percent(value: float | None) -> str:
    return ("–" if value is None else f"{value:.1%}").rjust(6)


def _signed(value: float | None) -> str:
    """A difference of accuracies, in percentage points."""
    return ("–" if value is None else f"{value * 100:+.1f}").rjust(6)
