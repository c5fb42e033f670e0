"""The learning-forgetting curve: a model's accuracies, measured while it trains."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from filters.verdict import VerifierSettings
from filters.verifiers.registry import entry_of
from synth.background import wait_for
from synth.chat.format import ChatFormat
from synth.engines.base import EngineOptions, Sampling
from synth.engines.hf.engine import TransformersEngine
from synth.errors import UsageError
from synth.evaluation.run import EvaluationRun, Verifiers, answer_all, open_verifiers
from synth.evaluation.scores import results_of
from synth.evaluation.statistics import retention
from synth.evaluation.suites import open_suites
from synth.evaluation.switch import modes_for
from synth.generation.chat_model import ChatModel
from synth.training.callbacks import Entry, Evaluate

CONCURRENCY = 256
"""Answers generated at once."""


@dataclass(frozen=True, slots=True)
class LearningCurve:
    """The suites that the model is asked at every evaluation."""

    run: EvaluationRun

    def settings(self) -> dict[str, Any]:
        """The settings that determine the curve (JSON values)."""
        return self.run.settings()

    @contextmanager
    def evaluator(self, chat: ChatFormat, log: Sequence[Entry], tell: Callable[[str], None]) -> Iterator[Evaluate]:
        """The function that measures a model; the verifiers run until the context ends.

        Args:
            chat: how the model is talked to.
            log: of the training: with what was measured before.
            tell: is told how far an evaluation is.

        Raises:
            UsageError: a verifier judges none of a suite's references right.
        """
        stack = AsyncExitStack()
        try:
            verifiers = wait_for(open_verifiers(stack, self.run.suites))
            run = self.run.asked_in(modes_for(None, {"the model": chat}))
            yield lambda model: self._measured(wait_for(_answers(run, model, chat, verifiers, tell)), log)
        finally:
            wait_for(stack.aclose())

    def _measured(self, answers: list[dict[str, Any]], log: Sequence[Entry]) -> dict[str, Any]:
        """The result of the answers.

        Returns:
            `suites` (accuracy by name; obeying the switch of a model that thinks is among them), `new` and `old`
            (averages of the suites of either kind, None where there are none) and `kept`: the share of the first `old`
            that is left, None where there was none.
        """
        scores = results_of("", "", answers).scores()
        averages = retention(scores, scores)
        earlier = [entry["evaluation"] for entry in log if "evaluation" in entry]
        before = earlier[0]["old"] if earlier else averages.old_after
        return {
            "suites": {score.suite: score.accuracy for score in scores},
            "new": averages.new_after,
            "old": averages.old_after,
            "kept": averages.old_after / before if before and averages.old_after is not None else None,
        }


async def _answers(
    run: EvaluationRun, model: Any, chat: ChatFormat, verifiers: Verifiers, tell: Callable[[str], None]
) -> list[dict[str, Any]]:
    engine = TransformersEngine(model, chat.tokenizer, EngineOptions(concurrency=CONCURRENCY))

    def report(done: int, total: int) -> None:
        tell(f"evaluating: {done:,} of {total:,} answers")

    try:
        return await answer_all(run, ChatModel(engine, chat, "this model"), verifiers, report)
    finally:
        await engine.close()


def open_curve(old: Sequence[str], new: Sequence[str], *, limit: int | None, max_tokens: int) -> LearningCurve:
    """Read the suites that are to be asked while a model trains, before any is loaded.

    Args:
        old: suites of what it could do before.
        new: suites of the new task.
        limit: items taken of each.
        max_tokens: most tokens of an answer.

    Raises:
        UsageError: a suite cannot be read, or needs a verifier that cannot be had here.
    """
    suites = open_suites(old, new, None, VerifierSettings(""), limit)
    if any(entry_of(item.verifier.name).asks_model for suite in suites for item in suite.items):
        raise UsageError("a suite needs a judge, which cannot run beside a training: use synth eval")
    return LearningCurve(EvaluationRun(suites, Sampling(max_tokens=max_tokens, temperature=0.0)))
