"""Rounds of a loop that answers, trains and measures: what each brought, whose weights go on, and when it ends.

Everything follows from the rounds that are done and from the rule, so that a loop that was killed stands where it
stood. A task's rounds end when `patience` of them in a row have gained nothing, when one fell below the floor, or when
there have been enough. The next task begins with the best model of the one before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from synth.evaluation.continual import Accuracies, TaskMatrix, transfer
from synth.evaluation.table import Line, ScoreTable, Span

FIRST = "before"
"""What the model before the first round is called."""


@dataclass(frozen=True, slots=True)
class LearntTask:
    """A task that rounds are made of.

    Attributes:
        name: its name.
        suites: what its model is measured by, on tasks it was not trained on.
    """

    name: str
    suites: tuple[str, ...]

    def accuracy(self, scores: Mapping[str, Any]) -> float | None:
        """Mean accuracy on the task's suites, each in all modes that it was asked in; None where none was judged.

        Args:
            scores: of a model, as `synth.evaluation.scores.as_json` gives them.
        """
        of_it = [
            figures["accuracy"]
            for name, figures in scores["suites"].items()
            if any(name == suite or name.startswith(f"{suite}, ") for suite in self.suites)
        ]
        known = [accuracy for accuracy in of_it if accuracy is not None]
        return sum(known) / len(known) if known else None


@dataclass(frozen=True, slots=True)
class Rule:
    """When the rounds of a task end.

    Attributes:
        rounds: so many are made at most.
        patience: they end when so many in a row have gained nothing.
        keep: they end when less than this share of the old abilities is left; None for no floor.
    """

    rounds: int
    patience: int = 1
    keep: float | None = None


@dataclass(frozen=True, slots=True)
class Round:
    """A round that is done.

    Attributes:
        number: from 1, through all tasks.
        task: its place among the tasks, from 0.
        acceptance: share of the tasks that the model answered rightly itself; None where nothing judged its answers.
        rows: that were trained on, those of earlier tasks among them; 0 where no answer was right.
        steps: of the training.
        seconds: that answering, training and being measured took.
        scores: of the trained model, as `synth.evaluation.scores.as_json` gives them; None where nothing was trained.
    """

    number: int
    task: int
    acceptance: float | None
    rows: int
    steps: int
    seconds: float
    scores: dict[str, Any] | None

    @property
    def name(self) -> str:
        """What its model is called."""
        return f"round-{self.number}"

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Judged:
    """A round, and what came of it.

    Attributes:
        round: the round.
        new: accuracy on its task.
        gained: that, less that of the best model before it.
        taken: whether its model is the best so far.
        ends: why its task's rounds ended with it; None where they go on.
    """

    round: Round
    new: float | None
    gained: float | None
    taken: bool
    ends: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a loop stands.

    Attributes:
        task: the task of the next round; the number of tasks where all is done.
        model: the round whose weights the next one begins with; 0 is the model before the first.
        best: the round with the best model so far.
        idle: rounds in a row that have gained nothing.
        of_task: rounds of this task that are done.
        stages: of each task that is done, the round with its best model.
        judged: the rounds that are done.
    """

    task: int = 0
    model: int = 0
    best: int = 0
    idle: int = 0
    of_task: int = 0
    stages: tuple[int, ...] = ()
    judged: tuple[Judged, ...] = ()

    @property
    def number(self) -> int:
        """Of the next round."""
        return len(self.judged) + 1


@dataclass(frozen=True, slots=True)
class History:
    """A loop as far as it is done.

    Attributes:
        tasks: what is learnt, in this order.
        rule: when the rounds of a task end.
        before: scores of the model before the first round.
        rounds: that are done, in order.
    """

    tasks: Sequence[LearntTask]
    rule: Rule
    before: Mapping[str, Any]
    rounds: Sequence[Round] = ()

    def scores(self, number: int) -> Mapping[str, Any]:
        """Of the model of a round; 0 is the one before the first."""
        return self.before if number == 0 else self.rounds[number - 1].scores or self.before

    def standing(self) -> Standing:
        """Where the loop stands."""
        found = Standing()
        for one in self.rounds:
            found = self._after(found, one)
        return found

    def _after(self, at: Standing, one: Round) -> Standing:
        task = self.tasks[one.task]
        of_task = at.of_task + 1
        if one.scores is None:
            return self._ended(at, Judged(one, None, None, taken=False, ends="no answer was right"))
        new, best = task.accuracy(one.scores), task.accuracy(self.scores(at.best))
        gained = None if new is None or best is None else new - best
        kept = one.scores["kept"]
        if self.rule.keep is not None and kept is not None and kept < self.rule.keep:
            why = f"less than {self.rule.keep:.4g} of the old abilities is left"
            return self._ended(at, Judged(one, new, gained, taken=False, ends=why))
        taken = gained is not None and gained > 0
        idle = 0 if taken else at.idle + 1
        after = replace(at, model=one.number, best=one.number if taken else at.best, idle=idle, of_task=of_task)
        if idle >= self.rule.patience:
            why = "nothing was gained" if idle == 1 else f"nothing was gained in {idle:,} rounds"
            return self._ended(after, Judged(one, new, gained, taken, why))
        if of_task >= self.rule.rounds:
            return self._ended(after, Judged(one, new, gained, taken, f"{of_task:,} rounds are done"))
        return replace(after, judged=(*at.judged, Judged(one, new, gained, taken, None)))

    def _ended(self, at: Standing, judged: Judged) -> Standing:
        """The task is done: the next begins with the best model."""
        return Standing(at.task + 1, at.best, at.best, stages=(*at.stages, at.best), judged=(*at.judged, judged))

    def record(self) -> dict[str, Any]:
        """JSON values: what is known of each round, and what came of it."""
        standing = self.standing()
        judged = [
            one.round.record()
            | {"task": self.tasks[one.round.task].name}
            | {"new": one.new, "gained": one.gained, "taken": one.taken, "ends": one.ends}
            for one in standing.judged
        ]
        found: dict[str, Any] = {"best": standing.best, "rounds": judged}
        if len(self.tasks) > 1:
            matrix = self.matrix()
            found |= asdict(matrix)
            found["transfer"] = [asdict(transfer(matrix, stage)) for stage in range(1, len(matrix.after) + 1)]
        return found | {"scores_before": dict(self.before)}

    def matrix(self) -> TaskMatrix:
        """The accuracies of tasks × stages, as far as stages are done."""

        def row(number: int) -> Accuracies:
            return [task.accuracy(self.scores(number)) for task in self.tasks]

        return TaskMatrix([task.name for task in self.tasks], row(0), [row(best) for best in self.standing().stages])

    def table(self) -> ScoreTable:
        """The rounds as a table for people."""
        several = len(self.tasks) > 1
        header = ["round", *(["task"] if several else []), "accepted", "rows", "new", "gained"]
        header += ["old", "kept", "KL", "minutes", "model"]
        before = self.tasks[0].accuracy(self.before)
        first = ["", "", "" if several else _percent(before), "", _percent(self.before["old"]), "", "", "", ""]
        rows: list[list[Line]] = [_cells([FIRST, *([""] if several else []), *first])]
        standing = self.standing()
        for one in standing.judged:
            rows.append(_row(one, self.tasks[one.round.task].name if several else None, standing.best))
        return ScoreTable(header, rows, list(_remarks(standing, self.tasks)))


def _row(one: Judged, task: str | None, best: int) -> list[Line]:
    scores = one.round.scores or {"old": None, "kept": None, "divergence": None}
    divergence = scores["divergence"]
    shown = "best" if one.round.number == best else "taken" if one.taken else "not taken"
    cells = [f"{one.round.number}", *([] if task is None else [task]), _percent(one.round.acceptance)]
    cells += [f"{one.round.rows:,}", _percent(one.new), "" if one.gained is None else f"{one.gained * 100:+.1f}"]
    cells += [_percent(scores["old"]), _percent(scores["kept"]), "" if divergence is None else f"{divergence:z.3f}"]
    return _cells([*cells, f"{one.round.seconds / 60:.1f}", shown])


def _cells(texts: Sequence[str]) -> list[Line]:
    return [(Span(text),) for text in texts]


def _remarks(standing: Standing, tasks: Sequence[LearntTask]) -> Iterator[Line]:
    for one in standing.judged:
        if one.ends is not None:
            of = f"{tasks[one.round.task].name}: " if len(tasks) > 1 else ""
            yield (Span(f"{of}ended with round {one.round.number}: {one.ends}", "dim"),)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.1%}"
