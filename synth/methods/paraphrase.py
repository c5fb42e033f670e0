"""Paraphrase: the model restates the human answer in its own words (SDFT, Yang et al. 2024, arXiv 2402.13669).

The model sees the question and the human answer, and writes the answer as it would have itself: more familiar to it
than the human wording, and right where it would have been wrong. A restatement is accepted only if it does not talk
about restating and, where there is a verifier, if the answer extracted from it is still right; else the original
stands.

Differs from the paper's repository: rows are matched by id, never by line order; more than one try is made.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from filters.response.calls import as_message, only_calls
from filters.verdict import RIGHT, Task, Verdict
from synth.data.prompts import task_of
from synth.data.row import Outcome, Row
from synth.data.run.record import without
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.chat_model import Answer, ChatModel, draw
from synth.generation.prompt_files import fill, load_prompt, prompt_names
from synth.generation.verification import Verifier, check_reference, reference_fault
from synth.seeds import seed_of

COLUMNS = pa.schema([("tokens", pa.int32()), ("note", pa.string())])
"""`tokens` of the answer, its end included; `note`: why the original stands."""

_TELLTALE = re.compile(
    r"\b(?:the|your|this|given|provided) (?:reference|original)(?: answer| solution| response)?\b"
    r"|\b(?:my|your) (?:own )?(?:response|version|rewording|words)\b"
    r"|\b(?:in|using) (?:my|your|other|different) (?:own )?words\b"
    r"|\b(?:re-?phras|re-?word|paraphras|re-?stat|re-?writ)(?:e|es|ed|en|t|ten|ing)\b"
    r"|\bnow it'?s your turn\b|^\W*your turn\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class ParaphraseSettings:
    """The settings that determine the rows, beside the model and the verifier.

    Attributes:
        seed: the run's seed.
        style: a shipped style, or a file with the places {question} and {reference}.
        tries: how often a restatement is drawn before the original stands.
        sampling: how it is drawn.
    """

    seed: int = 0
    style: str = "paraphrase"
    tries: int = 2
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range.
        """
        if self.tries < 1:
            raise UsageError(f"`tries` must be at least 1, not {self.tries}")

    def record(self) -> dict[str, Any]:
        """The settings as JSON values, the prompt's text among them."""
        return without(asdict(self), "sampling") | self.sampling.chosen() | {"prompt": self.prompt()}

    def prompt(self) -> str:
        """The prompt's text.

        Raises:
            UsageError: it cannot be read, or its places are not those.
        """
        return load_prompt(self.style, {"question", "reference"}, {"question", "reference"})


def style_name(style: str) -> str:
    """The prompt's name for a style of ours such as `step-by-step`; a file's name as it is."""
    ours = f"paraphrase-{style}"
    return ours if ours in prompt_names("paraphrase") else style


def paraphrase(
    chat_model: ChatModel, verifier: Verifier | None, settings: ParaphraseSettings
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model: every row comes out, restated or as it was."""
    try_restating = restating(chat_model, verifier, settings)

    async def method(row: Row) -> Outcome:
        if row.reference is None:
            return Outcome(row, "no reference: there is nothing to restate")
        reference = None
        if verifier is not None:
            row.verifier = verifier.name
            reference = await check_reference(verifier, task_of(row))
        fault = reference_fault(reference) if reference else None  # then restatements cannot be judged either
        if fault := fault or await try_restating(row):
            keep_reference(row, reference, fault)
        return Outcome(row)

    return method


def restating(
    chat_model: ChatModel, verifier: Verifier | None, settings: ParaphraseSettings
) -> Callable[[Row], Awaitable[str | None]]:
    """A function that completes a row with a restatement of its reference, or says why it could not."""
    prompt = settings.prompt()

    async def restate(row: Row) -> str | None:
        task = task_of(row)
        reference = row.reference or ""
        if only_calls(reference):
            return "the reference calls tools: there are no words to restate"
        ask = fill(prompt, question=task.prompt, reference=reference)
        system = [turn for turn in row.messages if turn["role"] == "system"]
        asked = await chat_model.prompt([*system, {"role": "user", "content": ask}])
        fault = ""
        for number in range(settings.tries):
            seed = seed_of(settings.seed, row.id, "restatement", number)
            sampling = replace(settings.sampling, seed=seed)
            answer = await draw(chat_model, asked, task, verifier, sampling)
            fault = _fault(answer, task)
            if not fault:
                answer.fill(row, chat_model, asked=False)
                row.method, row.samples = "paraphrase", number + 1
                row.logprob = (
                    None  # it was drawn with the reference in the prompt, so this is not its probability as an answer
                )
                return None
        return f"restatement {fault}"

    return restate


def keep_reference(row: Row, verdict: Verdict | None, note: str) -> None:
    """Keep the human answer, with the verifier's verdict on it."""
    row.messages = [*row.messages, as_message(row.reference or "")]
    row.method = "gold"
    if verdict is not None:
        row.verdict, row.answer = verdict.kind, verdict.answer
    row.extra["note"] = note


def _fault(answer: Answer, task: Task) -> str:
    """Why a restatement is not accepted; empty if it is."""
    if answer.verdict.kind != RIGHT:
        return f"{answer.verdict.kind}: {answer.verdict.reason or answer.verdict.answer}"
    talk = telltale(answer.text, f"{task.prompt} {task.reference}")
    return f"talks about the task: {talk}" if talk else ""


def telltale(text: str, known: str) -> str | None:
    """The first words of a text that speak of rewriting or of a reference, unless they stand in `known` as well."""
    phrases = (match[0] for match in _TELLTALE.finditer(text))
    return next((phrase for phrase in phrases if phrase.casefold() not in known.casefold()), None)
