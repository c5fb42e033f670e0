"""What `synth.iterate` returns: rounds, and the best model of them."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synth.api.evaluation import Evaluation
from synth.errors import UsageError
from synth.evaluation.continual import transfer_table
from synth.evaluation.rounds import History
from synth.evaluation.table import ScoreTable

if TYPE_CHECKING:
    from synth.training.plan import TrainingPlan


class Iteration:
    """Rounds of answering, training and being measured: `print` shows their table.

    It can be given wherever a function of `synth` takes the name of a model: it is the best one.

    Attributes:
        plan: what the training of a round would be, were every task answered as a human did.
        rounds: an entry a round, as `rounds.json` has it: `acceptance`, `rows`, `steps`, `new`, `gained`, `scores` (as
            `synth.evaluate` gives them, with `kept` and `divergence`), `seconds`, `taken`, and why it `ends` a task.
    """

    def __init__(
        self, plan: "TrainingPlan", model: str, history: History | None = None, path: Path | None = None
    ) -> None:
        """Of what is planned, the first model, what was done, and the directory; neither after a dry run."""
        self.plan = plan
        self._first, self._history, self._path = model, history, path

    @property
    def history(self) -> History:
        """All that is known of the rounds.

        Raises:
            UsageError: it was a dry run.
        """
        if self._history is None:
            raise UsageError("with `dry_run` there are no rounds")
        return self._history

    @property
    def path(self) -> Path:
        """The directory of the loop.

        Raises:
            UsageError: there is none: it was a dry run.
        """
        if self._path is None:
            raise UsageError("with `dry_run` nothing is written")
        return self._path

    @property
    def model(self) -> str:
        """The best model: a directory, or the first model where no round was better."""
        best = self.history.standing().best
        return str(self.path / "rounds" / str(best) / "model") if best else self._first

    @property
    def rounds(self) -> list[dict[str, Any]]:
        """An entry a round."""
        found: list[dict[str, Any]] = self.history.record()["rounds"]
        return found

    @property
    def scores(self) -> Evaluation:
        """The evaluation of the first model and of all rounds."""
        return Evaluation(self.path / "scores")

    def tables(self) -> list[ScoreTable]:
        """The table of the rounds; of several tasks also the matrix of tasks × stages."""
        found = [self.history.table()]
        return found if len(self.history.tasks) == 1 else [*found, transfer_table(self.history.matrix())]

    def table(self) -> str:
        """The same as text."""
        return "\n\n".join(map(str, self.tables()))

    def __fspath__(self) -> str:
        return self.model

    def __str__(self) -> str:
        return repr(self) if self._history is None else self.table()

    def __repr__(self) -> str:
        if self._history is None:
            return f"<synth iteration, a dry run of rounds of {self.plan.steps:,} steps>"
        return f"<synth iteration {os.fspath(self.path)}: {len(self.history.rounds):,} rounds>"
