"""What `synth.train` returns: a training, and the model that came of it."""

import json
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from synth.data.run.record import RunRecord, read_record
from synth.data.store.path import File, name_of
from synth.errors import UsageError

if TYPE_CHECKING:
    from synth.api.report import Report
    from synth.training.plan import TrainingPlan


class Training:
    """A training: what it does, how it went, and where the trained model is.

    It can be given wherever a function of `synth` takes the name of a model.

    Attributes:
        plan: rows by source, steps, tokens, and examples of what has loss.
    """

    def __init__(self, plan: "TrainingPlan", path: File | None) -> None:
        """Of what is planned, and of the directory that holds the model; None after a dry run."""
        self.plan = plan
        self._path = path

    @property
    def path(self) -> File:
        """The directory of the trained model, as `save_pretrained` writes it; elsewhere what stands for it there.

        Raises:
            UsageError: there is none: it was a dry run.
        """
        if self._path is None:
            raise UsageError("with `dry_run` nothing was trained, and there is no model")
        return self._path

    def __fspath__(self) -> str:
        return name_of(self.path)

    def __str__(self) -> str:
        return str(self.path) if self._path is not None else repr(self)

    def __repr__(self) -> str:
        if self._path is None:
            return f"<synth training, a dry run of {self.plan.steps:,} steps>"
        return f"<synth training {self._path}: {self.steps:,} steps>"

    @cached_property
    def record(self) -> RunRecord:
        """What `run.json` says: settings, counts, reasons.

        Raises:
            UsageError: it cannot be read, or nothing was trained.
        """
        record = read_record(self.path)
        if record is None:
            raise UsageError(f"{self.path} holds no training: there is no run.json")
        return record

    @cached_property
    def log(self) -> list[dict[str, Any]]:
        """An entry a step (`loss`, `learning_rate`, `grad_norm`, `tokens`, `seconds`) and an evaluation, in order."""
        return [json.loads(line) for line in (self.path / "log.jsonl").read_text(encoding="utf-8").splitlines()]

    @property
    def steps(self) -> int:
        """Optimizer steps taken; after a fall below `keep` the weights are those of an earlier one."""
        return max((entry["step"] for entry in self.log), default=0)

    @property
    def curve(self) -> list[dict[str, Any]]:
        """The learning-forgetting curve: an entry an evaluation, with `step`.

        `new` and `old` are mean accuracies on suites of either kind, `suites` those of each, `kept` the share of the
        first `old` that is left; 0 to 1, None where there are none.
        """
        return [{"step": entry["step"], **entry["evaluation"]} for entry in self.log if "evaluation" in entry]

    def report(self, output: str | os.PathLike[str] | None = None) -> "Report":
        """The page of `synth report`, which a notebook shows.

        Args:
            output: the HTML file to write as well.
        """
        from synth.api.report import report

        return report([self], output=output)
