"""How likely a reference model finds a completion: the log-probability of its tokens, in nats, summed.

Added to a reward with a small positive weight it keeps a policy near the reference model: the mean over a policy's own
completions is minus its cross-entropy to that model, which is the divergence KL(policy ‖ reference) and the policy's
own entropy.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synth.data.schema.parts import Unreadable
from synth.data.schema.turns import conversation
from synth.engines.loading import remote_code
from synth.errors import RequestError, UsageError
from synth.generation.models import Model
from synth.rl.batch import Batch, Values
from synth.scoring.scorer import open_scorer
from synth.scoring.token_scores import TokenScorer

LOGPROB = "logprob"


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A part: the log-probability of a completion given its prompt.

    Attributes:
        model: the reference model.
    """

    model: Model
    name = LOGPROB

    def __reduce__(self) -> tuple[Any, ...]:
        """Its model goes to another process by name."""
        return _likelihood, (self.model.description(),)

    def started(self) -> "Scoring":
        """The part at work in this process. The model is loaded with the first completions."""
        return Scoring(self.model)


class Scoring:
    """See `Likelihood`. A thread of its own uses the model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._scorer: TokenScorer | None = None
        self._thread = ThreadPoolExecutor(1, "logprob")

    async def values(self, batch: Batch) -> Values:
        """The sum for each completion; None where it cannot be asked for, or does not fit in the model's window.

        Raises:
            UsageError: the model cannot be loaded, or has no chat template that the prompts need.
            RunError: it is broken.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._values, batch)

    async def close(self) -> None:
        """Free the model."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    def _values(self, batch: Batch) -> Values:
        with remote_code(allowed=self._model.trust_remote_code):
            if self._scorer is None:
                self._scorer = open_scorer(
                    self._model.engine, self._model.name, self._model.tokenizer, self._model.options
                )
            distinct = {repr(prompt): prompt for prompt in batch.prompts}  # a group shares one
            asked = {text: self._ids(prompt) for text, prompt in distinct.items()}
        answers = batch.completion_ids
        if answers is None:
            answers = [self._plain_ids(one.text) for one in batch.completions]
        sequences: dict[int, NDArray[np.int32]] = {}
        wanted: dict[int, NDArray[np.bool_]] = {}
        for at, (prompt, answer) in enumerate(zip(batch.prompts, answers, strict=True)):
            before = asked[repr(prompt)]
            if before and len(before) + len(answer) <= self._scorer.max_length:
                sequences[at] = np.array([*before, *answer], np.int32)
                wanted[at] = np.arange(len(sequences[at])) >= len(before)
        scores = zip(sequences, self._scorer.score(list(sequences.values()), list(wanted.values())), strict=True)
        sums = {
            at: float(found[wanted[at]].sum(dtype=np.float64))
            for at, found in scores
            if not isinstance(found, RequestError)
        }
        return [sums.get(at) for at in range(len(answers))]

    def _ids(self, prompt: Any) -> list[int] | None:
        """The tokens of a prompt; None where the chat template refuses it."""
        if isinstance(prompt, str):
            return self._plain_ids(prompt, begin=True)
        try:
            return self._model.chat.answer_prompt(conversation(prompt))
        except (RequestError, Unreadable):
            return None

    def _plain_ids(self, text: str, *, begin: bool = False) -> list[int]:
        ids: list[int] = self._model.tokenizer(text, add_special_tokens=begin)["input_ids"]
        return ids

    def _close(self) -> None:
        if self._scorer is not None:
            self._scorer.close()
            self._scorer = None


def _likelihood(model: Callable[[], Model]) -> Likelihood:
    return Likelihood(model())


def checked_reference(model: Model | None) -> Model:
    """The reference model of a reward.

    Raises:
        UsageError: there is none, or it does not score texts.
    """
    if model is None:
        raise UsageError(f"`rewards` {LOGPROB} needs the model whose log-probabilities count: `reference_model` MODEL")
    return model.that_scores(f"`rewards` {LOGPROB}")
