"""What an evaluation asks whom, and what it measures beside."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from filters.verifiers.registry import entry_of
from synth.data.output import Output
from synth.data.run.record import RunRecord
from synth.data.run.shard import Shard
from synth.data.run.versions import versions
from synth.evaluation.run import EvaluationRun
from synth.generation.judge import JUDGE_PLACES
from synth.generation.models import Model
from synth.generation.prompt_files import load_prompt
from synth.generation.roles import Roles

ANSWERS, MERGED = "answers", "merged"
"""Subdirectories of an evaluation: the answers of each model, and the models of a sweep."""
OWN_PROMPT = "judge"
"""The prompt of a judge that is not a file of the user's."""


@dataclass(frozen=True, slots=True)
class Measures:
    """What is measured in addition to the answers to suites.

    Attributes:
        texts: FILE or NAME=FILE: the perplexity of these texts.
        text_column: the column of plain texts in them; None where they are conversations.
        kl: how far each model has moved from the first on the prompts of new suites.
        lm_eval: tasks of lm-eval.
        limit: items of each of those.
        sweep: ratios at which models between the first and the second are evaluated, too.
        keep: share of the old accuracies that the model to take keeps.
    """

    texts: Sequence[str] = ()
    text_column: str | None = None
    kl: bool = False
    lm_eval: Sequence[str] = ()
    limit: int | None = None
    sweep: Sequence[float] = ()
    keep: float = 0.95


@dataclass(frozen=True, slots=True)
class EvaluationJob:
    """One evaluation.

    Attributes:
        run: what all models are asked.
        measures: what else is measured.
        output: a directory.
        judge: who judges where a suite asks for it.
        judge_prompt: how it is asked: a name of ours, or the user's file.
    """

    run: EvaluationRun
    measures: Measures
    output: Output
    judge: Model | None = None
    judge_prompt: str = OWN_PROMPT

    @property
    def folder(self) -> Path:
        """The directory of the evaluation, on this machine."""
        return self.output.local

    @property
    def judges(self) -> bool:
        """Whether a suite asks for a judge."""
        return any(entry_of(item.verifier.name).asks_model for suite in self.run.suites for item in suite.items)

    def roles(self, model: Model) -> Roles:
        """The models in memory while one of them answers."""
        return Roles({"model": model, "judge": self.judge} if self.judges and self.judge else {"model": model})

    def answers(self, name: str) -> Output:
        """Where the answers of the model of that name go."""
        place = f"{str(self.output.path).rstrip('/')}/{ANSWERS}/{name}"
        return Output(place, restart=self.output.restart, shard=self.output.shard)

    def shard(self, output: Output) -> Shard | None:
        """The part of the items whose answers go to an output: shards take turns, so that each has some of every suite.

        Blocks that somebody has chosen stay.
        """
        shard = output.shard and output.shard.over(self.run.total)
        return shard if shard is None or shard.of is None else replace(shard, block=1)

    def record(self, model: Model, output: Output) -> RunRecord:
        """The record of a model's answers to go to an output, none of which are there yet."""
        roles = Roles({"model": model})
        settings = self.roles(model).record() | self.run.settings()
        if self.judges and self.judge_prompt != OWN_PROMPT:
            settings["judge_prompt"] = load_prompt(self.judge_prompt, set(), JUDGE_PLACES)
        shard = self.shard(output)
        return RunRecord(
            "eval", settings, model.title, versions(*roles.packages()), shard=shard.record() if shard else None
        )
