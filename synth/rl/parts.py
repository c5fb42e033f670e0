"""The parts of a reward, as they are written: verifiers, the form of an answer, measures.

math, code, …             a verifier by name, or module:function of the user's: 1 right, 0 wrong, None unscorable
verifier                  the verifier that each row names
format                    1 where the verifier of the same reward finds an answer, be it right or wrong; else 0
format:PATTERN            1 where a regular expression is found in the whole completion, else 0
length:max=512            and other measures: `synth.rl.measures`
logprob                   the log-probability of the completion under a reference model, in nats
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from filters.names import OWN, near_or_all
from filters.response.form import PATH
from filters.verdict import OwnCheck, Task, VerifierSettings
from filters.verifiers import registry
from synth.errors import UsageError
from synth.generation.inputs import verifier_of
from synth.generation.models import Model
from synth.rl.batch import Batch, Values
from synth.rl.judging import BY_ROW, Judged, Judging, values_of
from synth.rl.likelihood import LOGPROB, Likelihood, checked_reference
from synth.rl.measures import MEASURES, Measure, read_measure

FORMAT = "format"


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """A part: whether the first verifier of the same reward finds an answer."""

    name = FORMAT


@dataclass(frozen=True, slots=True)
class Pattern:
    """A part: whether a pattern is found in the whole completion. Workers look for it, which may take for ever."""

    judged: Judged
    pattern: str
    name = FORMAT

    def started(self) -> "Matching":
        """The part at work in this process."""
        return Matching(self)


class Matching:
    """See `Pattern`."""

    def __init__(self, part: Pattern) -> None:
        self._pattern = part.pattern
        self._judging = Judging(part.judged)

    async def values(self, batch: Batch) -> Values:
        """1 where it is found, 0 where it is not, None where that took too long."""
        whole = [replace(completion, response=completion.text) for completion in batch.completions]
        tasks = [Task(self._pattern)] * len(whole)
        return values_of(await self._judging.verdicts(replace(batch, completions=whole, tasks=tasks)))

    async def close(self) -> None:
        """End the worker processes."""
        await self._judging.close()


Part = Judged | AnswerForm | Pattern | Measure | Likelihood
GivenPart = str | VerifierSettings | OwnCheck
"""A part as it is written; a verifier with its settings; or a function of the user's that judges, as for `verify`."""


@dataclass(frozen=True, slots=True)
class Means:
    """What parts work with.

    Attributes:
        limits: of verifiers that have no settings of their own.
        workers: processes of each verifier; None is a share of the CPUs.
        judge: the model that judges.
        judge_prompt: how it is asked.
        reference_model: the model whose log-probabilities count.
        owned: those of the models that are freed with the reward.
    """

    limits: VerifierSettings = VerifierSettings("")  # noqa: RUF009 (it is frozen)
    workers: int | None = None
    judge: Model | None = None
    judge_prompt: str = "judge"
    reference_model: Model | None = None
    owned: tuple[Model, ...] = ()

    def judged(self, settings: VerifierSettings) -> Judged:
        """The part of a verifier."""
        return Judged(settings, self.judge, self.judge_prompt, self.workers)


def read_parts(given: Sequence[GivenPart], means: Means) -> list[Part]:
    """The parts of a reward.

    Args:
        given: as they are written; none is what each row names.
        means: what they work with.

    Raises:
        UsageError: there is no such part, or it cannot work with these settings.
    """
    parts = [_part(one, means) for one in given or [BY_ROW]]
    verifiers = [part for part in parts if isinstance(part, Judged)]
    for part in verifiers:
        part.check()
    if not verifiers and any(isinstance(part, AnswerForm) for part in parts):
        raise UsageError(
            f"`rewards` {FORMAT}: there is no verifier beside it whose answers have a form: name one, or write a "
            f"pattern, as in {FORMAT}:^<think>"
        )
    return parts


def known_parts() -> list[str]:
    """The names of all parts."""
    return [*registry.VERIFIERS, BY_ROW, FORMAT, LOGPROB, *MEASURES]


def _part(one: GivenPart, means: Means) -> Part:
    name, _, rest = one.partition(":") if isinstance(one, str) else ("", "", "")
    if name == FORMAT and rest:
        return Pattern(means.judged(replace(means.limits, name=PATH)), _compiled(rest))
    if name == FORMAT:
        return AnswerForm()
    if name in MEASURES:
        return read_measure(str(one))
    if one == LOGPROB:
        return Likelihood(checked_reference(means.reference_model))
    if isinstance(one, VerifierSettings):
        return means.judged(one)
    return means.judged(means.limits if one == BY_ROW else _verifier(one, means.limits))


def _verifier(one: str | OwnCheck, limits: VerifierSettings) -> VerifierSettings:
    if isinstance(one, str) and ":" not in one and one not in registry.VERIFIERS:
        raise UsageError(f"`rewards`: there is no reward {one}{near_or_all(one, [*known_parts(), OWN])}")
    if not isinstance(one, str) and not callable(one):
        raise UsageError(f"`rewards`: {one!r:.100} is no reward: a name, a verifier's settings or a function is")
    named = verifier_of(one)
    return replace(limits, name=named.name, function=named.function)


def _compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UsageError(f"`rewards` {FORMAT}:{pattern}: it is no regular expression: {error}") from error
    return pattern
