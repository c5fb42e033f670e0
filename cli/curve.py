"""The learning-forgetting curve: what a model can do, measured while it trains."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cli.progress import Meter
from filters.verdict import VerifierSettings
from filters.verifiers.registry import entry_of
from synth.chat.format import ChatFormat
from synth.engines.base import EngineOptions, Sampling
from synth.engines.hf.engine import TransformersEngine
from synth.errors import UsageError
from synth.evaluation.run import EvaluationRun, Verifiers, open_verifiers, take
from synth.evaluation.scores import results_of
from synth.evaluation.statistics import retention
from synth.evaluation.suites import open_suites
from synth.generation.chat_model import ChatModel
from synth.training.folder import TrainingFolder

CONCURRENCY = 256
"""Answers that are written side by side."""


@dataclass(frozen=True, slots=True)
class Curve:
    """What is asked of the model, again and again; opened before any model is loaded."""

    exam: EvaluationRun

    @classmethod
    def of(cls, given: dict[str, Any]) -> Self:
        """The suites of `--eval` and `--new`.

        Raises:
            UsageError: a suite cannot be read, or needs a verifier that cannot be had here.
        """
        suites = open_suites(given["suites"], given["new_suites"], None, VerifierSettings(""), given["eval_limit"])
        if any(entry_of(item.verifier.name).asks_model for suite in suites for item in suite.items):
            raise UsageError("a suite asks for a judge: leave it to synth eval, a judge has no place beside a training")
        return cls(EvaluationRun(suites, Sampling(max_tokens=given["eval_tokens"], temperature=0.0)))

    def settings(self) -> dict[str, Any]:
        """What decides the curve (JSON values)."""
        return {"exam": self.exam.settings()}

    def evaluator(self, chat: ChatFormat, folder: TrainingFolder, meter: Meter) -> "Evaluator":
        """Measures models of one training run, and says on its meter how far it is."""
        return Evaluator(self.exam, chat, folder, meter)


class Evaluator:
    """Measures a model that is being trained, and draws the curve; a context manager, which holds the verifiers."""

    def __init__(self, exam: EvaluationRun, chat: ChatFormat, folder: TrainingFolder, meter: Meter) -> None:
        self._exam, self._chat, self._folder, self._meter = exam, chat, folder, meter
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._verifiers: Verifiers = {}

    def __enter__(self) -> Self:
        """Start the verifiers.

        Raises:
            UsageError: one takes none of a suite's references for right.
        """
        self._runner.__enter__()
        try:
            self._verifiers = self._runner.run(open_verifiers(self._stack, self._exam.suites))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._stack.aclose())
        self._runner.__exit__(kind, error, trace)

    def __call__(self, model: Any) -> dict[str, Any]:
        """The accuracies of a model as it stands.

        Returns:
            `suites` (accuracy by name), `new` and `old` (averages of the suites of either kind, None where there are
            none) and, once there is a first measurement to compare with, `kept` (the share of its `old` that is left).
        """
        answers = self._runner.run(self._ask(model))
        scores = results_of("", "", answers).scores()
        found = retention(scores, scores)
        result: dict[str, Any] = {
            "suites": {score.suite: score.accuracy for score in scores},
            "new": found.new_after,
            "old": found.old_after,
        }
        earlier = [entry["evaluation"] for entry in self._folder.log if "evaluation" in entry]
        before = earlier[0]["old"] if earlier else found.old_after
        result["kept"] = found.old_after / before if before and found.old_after is not None else None
        return result

    async def _ask(self, model: Any) -> list[dict[str, Any]]:
        engine = TransformersEngine(model, self._chat.tokenizer, EngineOptions(concurrency=CONCURRENCY))
        try:
            return await take(self._exam, ChatModel(engine, self._chat, "this model"), self._verifiers, self._say)
        finally:
            await engine.close()

    def _say(self, done: int, total: int) -> None:
        self._meter.tell(f"evaluating: {done:,} of {total:,} answers")


def draw(folder: TrainingFolder, floor: float | None) -> None:
    """Draw `curve.svg` and `curve.png` from what the folder's log has so far."""
    from synth.reports.plots import CurvePoint, draw_curve

    measured = [(entry["step"], entry["evaluation"]) for entry in folder.log if "evaluation" in entry]
    points = [CurvePoint(step, found["new"], found["old"]) for step, found in measured]
    first = measured[0][1]["old"] if measured else None
    share = None if floor is None or first is None else floor * first
    for suffix in (".svg", ".png"):
        draw_curve(points, Path(folder.path) / f"curve{suffix}", share)
