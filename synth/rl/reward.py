"""A reward: a callable that trainers take as a reward function, with verifiers and measures behind it."""

import asyncio
import math
import os
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from filters.verdict import UNSCORABLE, Verdict
from synth.background import awaited, begin, wait_for
from synth.errors import UsageError
from synth.generation.models import Model
from synth.progress import printable
from synth.rl.batch import Batch, Values
from synth.rl.completions import Completion, read_completion, read_drawn
from synth.rl.judging import Judged, Judging, forms_of, values_of
from synth.rl.likelihood import Likelihood, Scoring
from synth.rl.parts import AnswerForm, GivenPart, Matching, Means, Part, Pattern, read_parts
from synth.rl.tasks import tasks_of

LogExtra = Callable[[str, list[Any]], object]
LogMetric = Callable[[str, float], object]


@dataclass(frozen=True, slots=True)
class Scored:
    """What is known of the completions of one call.

    Attributes:
        rewards: of each; None where nothing can be said of it.
        values: of each part, by name, before weights.
        verdicts: of each verifier, by name.
    """

    rewards: Values
    values: dict[str, Values]
    verdicts: dict[str, list[Verdict]]


class Reward:
    """A reward function of trainers; see `synth.rewards`.

    It can be pickled, called from any thread, and where an event loop is running. Worker processes are started with the
    first call of each process, also of a fork, and end with it, or when `close` is called.

    Attributes:
        parts: what it is the sum of.
        weights: of the parts, in their order.
        reference_column: the column with the reference, where it is not recognised.
        model: the model in training, where completions are read by its chat template.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        weights: Sequence[float],
        name: str,
        reference_column: str | None = None,
        model: Model | None = None,
        owned: Sequence[Model] = (),
    ) -> None:
        self.parts, self.weights = tuple(parts), tuple(weights)
        self.reference_column, self.model = reference_column, model
        self.__name__ = name
        self._names = _names(self.parts)
        self._owned = tuple(owned)
        self._work: _Work | None = None

    @property
    def verifier(self) -> str | None:
        """The name of the verifier, of several the first; None where there is none."""
        return next((part.name for part in self.parts if isinstance(part, Judged)), None)

    def __call__(
        self,
        /,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        *,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> Values:
        """The reward of each completion; None where it cannot be judged.

        Args:
            prompts: texts, or lists of messages, one for each completion.
            completions: texts, or lists of messages.
            completion_ids: the tokens of each, which a length in tokens and `model` need.
            log_extra: is given what is known of each completion, as TRL's table shows it.
            log_metric: is given the means of the parts.
            columns: what the verifier needs (`reference`, tests, …), by name, a value for each completion.

        Raises:
            UsageError: a column, or what a part needs, is missing.
            RunError: the workers of a verifier die, or a model is broken.
        """
        return self._logged(
            wait_for(self._scored(prompts, completions, completion_ids, columns)), log_extra, log_metric
        )

    async def acall(
        self,
        /,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        *,
        log_extra: LogExtra | None = None,
        log_metric: LogMetric | None = None,
        **columns: Any,
    ) -> Values:
        """The same, to be awaited on any event loop."""
        scored = await self.scored(prompts, completions, completion_ids, columns)
        return self._logged(scored, log_extra, log_metric)

    async def scored(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]] | None = None,
        columns: Mapping[str, Any] = MappingProxyType({}),
    ) -> Scored:
        """The rewards with their parts and the verdicts behind them, on any event loop; errors as for a call."""
        return await awaited(self._scored(prompts, completions, completion_ids, columns))

    def asynchronous(self) -> "AsyncReward":
        """The same reward as an async function: trainers that can await run several side by side."""
        return AsyncReward(self)

    def close(self) -> None:
        """End the worker processes, and free the models that were loaded for this. A later call starts them anew."""
        work, self._work = self._work, None
        if work is not None and work.process == os.getpid():
            wait_for(work.close())
            for model in self._owned:
                model.close()

    async def _scored(
        self, prompts: Sequence[Any], completions: Sequence[Any], ids: Any, columns: Mapping[str, Any]
    ) -> Scored:
        if len(prompts) != len(completions):
            raise UsageError(f"there are {len(prompts):,} prompts for {len(completions):,} completions")
        if self._work is None or self._work.process != os.getpid():
            self._work = _Work(self.parts)
            weakref.finalize(self, _left, self._work)
        read = self._read(prompts, completions, ids)
        batch = Batch(prompts, read, ids, tasks_of(prompts, columns, self.reference_column))
        values, verdicts = await self._work.values(batch)
        rewards = [self._sum([of_part[at] for of_part in values]) for at in range(len(completions))]
        judged = {self._names[at]: found for at, found in verdicts.items()}
        return Scored(rewards, dict(zip(self._names, values, strict=True)), judged)

    def _read(self, prompts: Sequence[Any], completions: Sequence[Any], ids: Any) -> list[Completion]:
        """What the completions say: by their tokens where the model's chat template and these are known."""
        if self.model is None:
            return [read_completion(*pair) for pair in zip(prompts, completions, strict=True)]
        if ids is None:
            raise UsageError("`model`: completions are read by their tokens, and there are no `completion_ids`")
        return [
            read_completion(prompt, completion)
            if not isinstance(completion, str) and len(completion) > 1  # with results of tools between
            else read_drawn(self.model.chat, drawn)
            for prompt, completion, drawn in zip(prompts, completions, ids, strict=True)
        ]

    def _sum(self, values: Sequence[float | None]) -> float | None:
        """The weighted sum; None where no verifier can judge, or another part has no number.

        To be left out must not pay: what does not fit in a reference model's window costs nothing there.
        """
        pairs = list(zip(self.parts, values, strict=True))
        judged = [value for part, value in pairs if isinstance(part, Judged)]
        if judged and all(value is None for value in judged):
            return None
        if any(value is None for part, value in pairs if not isinstance(part, Judged | AnswerForm)):
            return None
        return sum(weight * value for weight, value in zip(self.weights, values, strict=True) if value is not None)

    def _logged(self, scored: Scored, log_extra: LogExtra | None, log_metric: LogMetric | None) -> Values:
        """The rewards, once what they come from is logged."""
        for name, verdicts in scored.verdicts.items():
            if log_extra is not None:
                log_extra(f"{self._called(name)}: verdict", [_told(verdict) for verdict in verdicts])
            if log_metric is not None and verdicts:
                unscorable = sum(verdict.kind == UNSCORABLE for verdict in verdicts)
                log_metric(f"rewards/{self._called(name)}/unscorable", unscorable / len(verdicts))
        for name, values in scored.values.items() if len(self.parts) > 1 else ():
            if log_extra is not None:
                log_extra(self._called(name), values)
            known = [value for value in values if value is not None]
            if log_metric is not None and known:
                log_metric(f"rewards/{self._called(name)}", math.fsum(known) / len(known))
        return scored.rewards

    def _called(self, part: str) -> str:
        return part if part == self.__name__ and len(self.parts) == 1 else f"{self.__name__}/{part}"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_work": None, "_owned": (), "model": self.model and self.model.description()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.model = state["model"] and state["model"]()

    def __repr__(self) -> str:
        return f"<synth reward {self.__name__}>"


class AsyncReward:
    """A reward as an async function."""

    def __init__(self, reward: Reward) -> None:
        self.reward = reward
        self.__name__ = reward.__name__

    async def __call__(self, /, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> Values:
        """See `Reward.__call__`."""
        return await self.reward.acall(prompts, completions, **columns)


class _Work:
    """The parts of a reward at work in one process, bound to the loop of `synth.background`."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.process = os.getpid()
        self._parts = parts
        self._started: dict[int, Judging | Matching | Scoring] = {
            at: part.started() for at, part in enumerate(parts) if isinstance(part, Judged | Pattern | Likelihood)
        }

    async def values(self, batch: Batch) -> tuple[list[Values], dict[int, list[Verdict]]]:
        """The values of each part, and the verdicts of each verifier by the place of its part."""
        judging = {
            at: asyncio.ensure_future(part.verdicts(batch))
            for at, part in self._started.items()
            if isinstance(part, Judging)
        }
        values = await asyncio.gather(*(self._values(at, part, batch, judging) for at, part in enumerate(self._parts)))
        return list(values), {at: task.result() for at, task in judging.items()}

    async def _values(
        self, at: int, part: Part, batch: Batch, judging: Mapping[int, "asyncio.Future[list[Verdict]]"]
    ) -> Values:
        if isinstance(part, Judged):
            return values_of(await judging[at])
        if isinstance(part, AnswerForm):
            return forms_of(await next(iter(judging.values())))
        if isinstance(part, Pattern | Likelihood):
            started = self._started[at]
            assert not isinstance(started, Judging)
            return await started.values(batch)
        return await asyncio.to_thread(part.values, batch)

    async def close(self) -> None:
        """End all that was started."""
        for part in self._started.values():
            await part.close()


def reward_of(
    given: Sequence[GivenPart],
    means: Means,
    weights: Sequence[float] | None = None,
    name: str | None = None,
    reference_column: str | None = None,
    model: Model | None = None,
) -> Reward:
    """A reward of parts as they are written (`synth.rl.parts`).

    Args:
        given: the parts; none is what each row names.
        means: what they work with.
        weights: of the parts, in their order; 1 each by default.
        name: what trainers call it; by default the parts' names.
        reference_column: the column with the reference, if it is not recognised.
        model: the model in training, where completions are to be read by its chat template.

    Raises:
        UsageError: there is no such part, or it cannot work with these settings, or here.
    """
    parts = read_parts(given, means)
    weights = [1.0] * len(parts) if weights is None else list(weights)
    if len(weights) != len(parts):
        raise UsageError(f"`weights`: {len(weights)} for {len(parts)} parts of the reward")
    if not all(map(math.isfinite, weights)):
        raise UsageError(f"`weights` are numbers, not {', '.join(map(str, weights))}")
    return Reward(parts, weights, name or "+".join(_names(parts)), reference_column, model, means.owned)


def _names(parts: Sequence[Part]) -> list[str]:
    """What each part is called; the second of a name says so."""
    seen: Counter[str] = Counter()
    names = []
    for part in parts:
        seen[part.name] += 1
        names.append(part.name if seen[part.name] == 1 else f"{part.name} ({seen[part.name]})")
    return names


def _told(verdict: Verdict) -> str:
    """A verdict in a line. A program may have written the reason, which goes to terminals and into tables."""
    return verdict.kind if verdict.reason is None else f"{verdict.kind}: {printable(verdict.reason)}"


def _left(work: _Work) -> None:
    """End what a reward has started that nobody holds any more; of a fork's parent it is the parent's."""
    if work.process == os.getpid():
        begin(work.close())
