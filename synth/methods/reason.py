"""Reasoning traces: the model's own chains of thought that end in a right answer.

The model answers each task several times; the answer after the thoughts is verified, and of the right traces one is
taken, by default the shortest: training on it makes chains shorter at the same accuracy (arXiv 2502.20122). A trace may
be preceded by wrong attempts that it turns back from (`synth.methods.search`), and each of its steps be given a value
(`synth.methods.rollouts`).
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from filters.verdict import RIGHT, UNSCORABLE, WRONG, Task, Verdict
from synth.chat.answer_starts import answer_starts
from synth.chat.thinking import QUESTION, begun, loose
from synth.chat.turn import Turn, take_apart
from synth.data.prompts import task_of
from synth.data.row import Outcome, Row, digest
from synth.data.run.record import without
from synth.engines.base import Completion, Sampling
from synth.errors import UsageError
from synth.generation.chat_model import Answer, ChatModel, check_samples, each_once
from synth.generation.prompt_files import load_prompt
from synth.generation.screen import answer_fault
from synth.generation.verification import Verifier, check_reference, reference_fault
from synth.methods.rollouts import UNITS, cut, step_values
from synth.methods.search import join
from synth.methods.self_output import choose
from synth.methods.thoughts import Markers
from synth.seeds import seed_of

SELECT = ("shortest", "first", "random", "all")
MEAN = "mean"

COLUMNS = pa.schema(
    [
        ("samples_right", pa.int32()),  # of the samples drawn
        ("tokens", pa.int32()),  # of the trace, its end included
        ("turn_backs", pa.int32()),  # wrong attempts before the right one
        ("steps", pa.list_(pa.string())),
        ("step_values", pa.list_(pa.float64())),  # share of rollouts that end right, 0 to 1; one for each step
    ]
)


@dataclass(frozen=True, slots=True)
class ReasonSettings:
    """The settings that determine the rows, beside the model and the verifier.

    Attributes:
        seed: the run's seed.
        samples: traces drawn for each task, at most.
        select: which of the right ones is taken; `first` draws one after the other and stops at the first right one.
        length_limit: right traces with more tokens are dropped; `mean` is the mean of the task's right ones.
        markers: of thoughts, where the chat template has none of its own.
        search: wrong attempts put before a right trace, at most.
        step_rollouts: completions drawn after each step; 0 values no steps.
        step_unit: what a step is.
        min_step_value: traces with a step of a lower value are rejected.
        explain: thoughts are written for the human answers (`synth.methods.explain`), which stay.
        sampling: how traces and rollouts are drawn.
    """

    seed: int = 0
    samples: int = 8
    select: str = "shortest"
    length_limit: str | None = None
    markers: Markers = field(default_factory=Markers)
    search: int = 0
    step_rollouts: int = 0
    step_unit: str = "line"
    min_step_value: float | None = None
    explain: bool = False
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range or unknown.
        """
        check_samples(self.samples, self.sampling)
        if self.select not in SELECT:
            raise UsageError(f"`select` {self.select} is unknown; take {', '.join(SELECT)}")
        if self.length_limit not in (None, MEAN) and not re.fullmatch(r"0*[1-9]\d{0,17}", self.length_limit, re.ASCII):
            raise UsageError(f"`length_limit` must be {MEAN} or a number of tokens, not {self.length_limit}")
        if self.search < 0:
            raise UsageError(f"`search` must be 0 or more, not {self.search}")
        if self.search and self.samples < 2:
            raise UsageError("`search` needs right and wrong traces of the same task: give `samples` 2 or more")
        if self.step_rollouts < 0:
            raise UsageError(f"`step_rollouts` must be 0 or more, not {self.step_rollouts}")
        if self.step_unit not in UNITS:
            raise UsageError(f"`step_unit` {self.step_unit} is unknown; take {', '.join(UNITS)}")
        if self.min_step_value is not None and not 0 <= self.min_step_value <= 1:
            raise UsageError(f"`min_step_value` must lie between 0 and 1, not at {self.min_step_value}")
        if self.min_step_value is not None and not self.step_rollouts:
            raise UsageError("`min_step_value` needs the values of steps: give `step_rollouts`")
        if self.min_step_value is not None and self.search:
            raise UsageError("`min_step_value` would reject the mistakes that `search` puts in: give one of the two")
        if self.explain and (self.search or self.step_rollouts):
            raise UsageError(
                "`explain` writes thoughts for human answers: it goes without `search` and `step_rollouts`"
            )
        if self.step_rollouts:
            check_samples(self.step_rollouts, self.sampling)

    def record(self) -> dict[str, Any]:
        """The settings as JSON values."""
        markers = {"think_open": self.markers.open, "think_close": self.markers.close}
        explaining = {"explain": self.prompt()} if self.explain else {}
        return without(asdict(self), "sampling", "markers", "explain") | self.sampling.chosen() | markers | explaining

    @staticmethod
    def prompt() -> str:
        """The text of the prompt for thoughts to a human answer."""
        return load_prompt("explain", {"question", "reference"}, {"question", "reference"})


def reason(chat_model: ChatModel, verifier: Verifier, settings: ReasonSettings) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model."""
    return _Reasoning(chat_model, verifier, settings).complete


class _Reasoning:
    """The method with one model: traces are drawn, chosen, joined and valued."""

    def __init__(self, chat_model: ChatModel, verifier: Verifier, settings: ReasonSettings) -> None:
        self.chat_model = chat_model
        self.verifier = verifier
        self.settings = settings
        self.thinking = settings.markers.thinking(chat_model.chat)
        prompt = chat_model.chat.asked_text([QUESTION])
        self.begun = begun(self.thinking, prompt)
        opened = re.search(rf"{loose(self.thinking.opener)}\s*$", prompt) if self.begun == "thoughts" else None
        self.opening = opened.group() if opened else ""  # what every prompt holds of a trace

    async def complete(self, row: Row) -> Outcome:
        """The method itself."""
        settings = self.settings
        row.verifier = self.verifier.name
        if fault := reference_fault(await check_reference(self.verifier, task_of(row))):
            return Outcome(row, fault)
        drawn = await self.draw_all(row)
        right = [trace for trace in drawn if trace.right]
        row.samples = len(drawn)
        row.extra["samples_right"] = len(right)
        if not right:
            return Outcome(row, _why(drawn))
        kept = within(right, settings.length_limit)
        if not kept:
            shortest = min(trace.tokens for trace in right)
            return Outcome(row, f"too long: the shortest right trace has {shortest} tokens")
        if settings.select == "all":
            chosen = each_once(kept)
        else:
            chosen = [choose(kept, settings.select, self.chance(row, "choice"))]
        rows = [row, *(replace(row, id=digest(row.id, n), extra=dict(row.extra)) for n in range(1, len(chosen)))]
        faults = await asyncio.gather(*(self.fill(*pair, drawn) for pair in zip(rows, chosen, strict=True)))
        good = [one for one, fault in zip(rows, faults, strict=True) if fault is None]
        return Outcome(good[0], None, good[1:]) if good else Outcome(row, faults[0])

    async def draw_all(self, row: Row) -> list[Answer]:
        """The traces of a task: up to the first right one, or all of them at once."""
        settings, task = self.settings, task_of(row)
        prompt = await self.chat_model.prompt(row.messages)

        async def sample(number: int) -> Answer:
            seed = seed_of(settings.seed, row.id, "sample", number)
            sampling = replace(settings.sampling, seed=seed, logprob=True)
            completion = await self.chat_model.answer(prompt, sampling)
            return await self.judged(replace(completion, text=self.opening + completion.text), task)

        if settings.select == "first" and settings.length_limit is None and not self.verifier.votes:
            traces = []
            for number in range(settings.samples):
                traces.append(await sample(number))
                if traces[-1].right:
                    break
            return traces
        traces = list(await asyncio.gather(*map(sample, range(settings.samples))))
        verdicts = self.verifier.vote([trace.verdict for trace in traces])
        return [replace(trace, verdict=verdict) for trace, verdict in zip(traces, verdicts, strict=True)]

    async def judged(self, completion: Completion, task: Task) -> Answer:
        """A whole trace with the verdict on its answer; one that cannot be used is wrong, and not checked."""
        if fault := self.fault(completion):
            return Answer(completion, self.turn(completion), Verdict(WRONG, None, fault))
        answer = self.parts_of(completion.text).content
        return Answer(completion, self.turn(completion), await self.verifier.check(answer, task))

    def turn(self, completion: Completion) -> Turn:
        """A trace as one text, markers and all: it is cut into steps, and joined to others."""
        return Turn(completion.text.strip())

    def parts(self, trace: Answer) -> Turn:
        """A trace as what is trained on: in parts where the chat template has thoughts, else as it stands."""
        if not self.chat_model.chat.thinking.own:
            return trace.turn
        return self.parts_of(trace.completion.text)

    def parts_of(self, text: str) -> Turn:
        """The thoughts and the answer of a whole trace."""
        return take_apart(text.removeprefix(self.opening).rstrip(), self.thinking, self.begun)

    def fault(self, completion: Completion) -> str | None:
        """Why a trace cannot be used, whether right or wrong; None if it can."""
        trace = self.parts_of(completion.text)
        return answer_fault(completion, self.chat_model.chat, trace) or (
            "empty thoughts" if trace.reasoning == "" else None
        )

    async def fill(self, row: Row, trace: Answer, drawn: Sequence[Answer]) -> str | None:
        """Complete a row with a right trace; says why it is rejected, if it is."""
        settings, messages = self.settings, row.messages
        joined, attempts = await self.joined(row, trace, drawn)
        replace(joined, turn=self.parts(joined)).fill(row, self.chat_model)
        row.extra["turn_backs"] = attempts
        if attempts:  # The model did not draw it as a whole.
            row.logprob = None
        if not settings.step_rollouts:
            return None
        text, task = joined.text, task_of(row)
        steps = cut(text, settings.step_unit, self.thinking)

        def rollouts(step: int) -> Sampling:
            seed = seed_of(settings.seed, row.id, "step", step)
            return replace(settings.sampling, n=settings.step_rollouts, seed=seed)

        values = await step_values(
            self.chat_model,
            messages,
            joined.completion.text,
            self.opening,
            steps,
            rollouts,
            lambda completion: self.judged(completion, task),
        )
        row.extra |= {"steps": [text[start:end] for start, end in steps], "step_values": values}
        weakest = min(values)
        if settings.min_step_value is not None and weakest < settings.min_step_value:
            return f"weak step: after step {values.index(weakest) + 1} of {len(values)}, {weakest:.2f} ended right"
        return None

    async def joined(self, row: Row, trace: Answer, drawn: Sequence[Answer]) -> tuple[Answer, int]:
        """A right trace with wrong attempts before it, and how many; alone where that cannot be.

        It cannot where the verifier does not take the joined trace for right, or the model's window does not hold it.
        """
        if not self.settings.search:
            return trace, 0
        chance = self.chance(row, "search")
        sound = (one for one in drawn if one.verdict.kind == WRONG and self.fault(one.completion) is None)
        taken = (self.parts_of(one.completion.text) for one in sound)
        wrong = list(dict.fromkeys(turn.reasoning or turn.content for turn in taken))
        attempts = chance.sample(wrong, min(self.settings.search, len(wrong)))
        if not attempts:
            return trace, 0
        text = join(attempts, trace.completion.text, self.thinking, chance)
        chat = self.chat_model.chat
        [whole] = answer_starts(chat, row.messages, text[len(self.opening) :], [len(text) - len(self.opening)])
        prompt = chat.answer_prompt(row.messages)
        completion = replace(trace.completion, text=text, token_ids=tuple(whole.ids[len(prompt) :]))
        if len(whole.ids) >= self.chat_model.engine.max_length:
            return trace, 0
        verdict = await self.verifier.check(self.parts_of(text).content, task_of(row))
        return (
            (Answer(completion, self.turn(completion), verdict), len(attempts)) if verdict.kind == RIGHT else (trace, 0)
        )

    def chance(self, row: Row, part: str) -> random.Random:
        """The random numbers of one decision about a row."""
        return random.Random(seed_of(self.settings.seed, row.id, part))


def within(right: Sequence[Answer], limit: str | None) -> list[Answer]:
    """The right traces of a task that are not longer than `length_limit` allows."""
    if limit is None:
        return list(right)
    most = sum(trace.tokens for trace in right) / len(right) if limit == MEAN else int(limit)
    return [trace for trace in right if trace.tokens <= most]


def _why(drawn: Sequence[Answer]) -> str:
    """The reason for a task with no right trace: whether the first was wrong or could not be judged, and why."""
    first = drawn[0].verdict
    if all(trace.verdict.kind == UNSCORABLE for trace in drawn):
        return f"no trace could be judged: {first.reason}"
    return f"no right trace: of {len(drawn)} the first is {first.kind}: {first.reason or first.answer}"
