"""Minimum change: the model's own answer, repaired with as few changes as possible (arXiv 2402.11192).

The model answers. A right answer stands verbatim. A wrong one goes to an editor, another model or the model itself,
which sees the question, the human answer and the draft, and corrects only what is wrong. The result is verified,
and must still be the model's: editors are known to rewrite rather than to edit (in the paper's published data a quarter
of the GSM8K answers share less than half of their words with the draft), so the similarity to the draft has a floor.
"""

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from filters.response.calls import only_calls
from filters.verdict import RIGHT
from synth.data.prompts import task_of
from synth.data.row import Outcome, Row
from synth.data.run.record import without
from synth.engines.base import Sampling
from synth.errors import RequestError, UsageError
from synth.generation.chat_model import Answer, ChatModel, draw, judged
from synth.generation.prompt_files import fill, load_prompt
from synth.generation.verification import Verifier, check_reference, reference_fault
from synth.seeds import seed_of

COLUMNS = pa.schema(
    [
        ("tokens", pa.int32()),  # of the answer, its end included
        ("similarity", pa.float64()),  # to the model's own answer, 0 to 1
        ("edit_distance", pa.int32()),  # words put in, taken out or replaced
        ("logprob_before", pa.float64()),  # of the model's own answer, nats
        ("logprob_after", pa.float64()),  # of the mended answer, under the same model
    ]
)

WORDS = 20_000
"""Answers are compared by this many of their first words: the comparison takes time by their product."""


@dataclass(frozen=True, slots=True)
class MinimumChangeSettings:
    """The settings that determine the rows, beside the model, the editor and the verifier.

    Attributes:
        seed: the run's seed.
        prompt_name: a shipped prompt, or a file with the places {question}, {reference} and {answer}.
        floor: least similarity of a mended answer to the draft, 0 to 1.
        retries: how often the editor may try again.
        sampling: how answers are drawn, the first mended one being greedy.
    """

    seed: int = 0
    prompt_name: str = "minimum-change"
    floor: float = 0.5
    retries: int = 2
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range.
        """
        if not 0 <= self.floor <= 1:
            raise UsageError(f"`floor` must lie between 0 and 1, not at {self.floor}")
        if self.retries < 0:
            raise UsageError(f"`retries` must be 0 or more, not {self.retries}")

    def record(self) -> dict[str, Any]:
        """The settings as JSON values, the prompt's text among them."""
        return without(asdict(self), "sampling", "prompt_name") | self.sampling.chosen() | {"prompt": self.prompt()}

    def prompt(self) -> str:
        """The editor's prompt.

        Raises:
            UsageError: it cannot be read, or its places are not those.
        """
        places = {"question", "reference", "answer"}
        return load_prompt(self.prompt_name, {"question", "answer"}, places)


def minimum_change(
    chat_model: ChatModel, editor: ChatModel, verifier: Verifier, settings: MinimumChangeSettings
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model and one editor."""
    mend = mending(chat_model, editor, verifier, settings)

    async def method(row: Row) -> Outcome:
        row.verifier = verifier.name
        if fault := reference_fault(await check_reference(verifier, task_of(row))):
            return Outcome(row, fault)
        seed = seed_of(settings.seed, row.id, "answer")
        prompt = await chat_model.prompt(row.messages)
        own = await draw(chat_model, prompt, task_of(row), verifier, replace(settings.sampling, seed=seed))
        if own.right:
            own.fill(row, chat_model)
            row.method, row.samples = "self-output", 1
            row.extra |= {"similarity": 1.0, "edit_distance": 0}
            row.extra |= {"logprob_before": row.logprob, "logprob_after": row.logprob}
            return Outcome(row)
        if fault := await mend(row, own):
            return Outcome(row, fault)
        return Outcome(row)

    return method


def mending(
    chat_model: ChatModel, editor: ChatModel, verifier: Verifier, settings: MinimumChangeSettings
) -> Callable[[Row, Answer], Awaitable[str | None]]:
    """A function that completes a row with a correction of its wrong answer, or says why it could not."""
    prompt = settings.prompt()

    async def mend(row: Row, own: Answer) -> str | None:
        if row.reference is None and "{reference}" in prompt:
            return "no reference: the editor would not know what is right"
        if only_calls(row.reference or ""):
            return "the reference calls tools: there are no words to mend an answer by"
        if not own.text:
            return f"nothing to correct: {own.verdict.reason}"
        task = task_of(row)
        ask = fill(prompt, question=task.prompt, reference=row.reference or "", answer=own.text)
        asked = await editor.prompt([{"role": "user", "content": ask}])
        fault = ""
        for number in range(settings.retries + 1):
            sampling = replace(settings.sampling, seed=seed_of(settings.seed, row.id, "edit", number))
            if number == 0:
                sampling = replace(sampling, temperature=0.0)
            edited = await editor.answer(asked, sampling)
            answer = await judged(edited, editor, verifier, task)
            distance, similarity = word_changes(own.text, answer.text)
            if answer.verdict.kind != RIGHT:
                fault = f"edit {answer.verdict.kind}: {answer.verdict.reason or answer.verdict.answer}"
            elif similarity < settings.floor:
                fault = f"edit too different: similarity {similarity:.2f} is below {settings.floor}"
            else:
                answer.fill(row, editor, asked=False)
                row.method, row.samples = "minimum-change", 1
                row.logprob = await _logprob(chat_model, row)
                row.extra |= {"similarity": similarity, "edit_distance": distance}
                row.extra |= {"logprob_before": own.completion.logprob, "logprob_after": row.logprob}
                if editor is not chat_model:
                    row.logprob = None
                return None
        return fault

    return mend


async def _logprob(chat_model: ChatModel, row: Row) -> float | None:
    """The mended answer's log-probability under the model; None where it is too long to be scored."""
    try:
        return float((await chat_model.logprobs(row.messages)).sum())
    except RequestError:
        return None


def word_changes(before: str, after: str) -> tuple[int, float]:
    """The number of differing words (Levenshtein distance), and the similarity: 1 - distance / words of the longer."""
    from rapidfuzz.distance import Levenshtein

    old, new = before.split()[:WORDS], after.split()[:WORDS]
    distance = Levenshtein.distance(old, new)
    return distance, 1 - distance / max(len(old), len(new), 1)
