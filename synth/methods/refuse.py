"""Refuse: safety rehearsal, the model's own refusals of harmful prompts, and its own answers to harmless look-alikes.

Tuning on harmless data erodes refusals (arXiv 2310.03693). A few hundred refusals among the rows, about 3% of
them, make a model much safer and cost it no ability; too many make it refuse what only sounds harmful (Safety-Tuned
LLaMAs, arXiv 2309.07875), and that is what harmless look-alikes (XSTest, arXiv 2308.01263) are beside them for. Answers
that the model gave itself change it least; those of Safety-Tuned LLaMAs are another model's, and some of them comply.

The prompts say by their column `label` what is right: `unsafe`, `harmful` or `refuse`, and `safe`, `harmless` or
`comply`, as `filters.verifiers.refusal` reads them.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import chain
from typing import Any

import pyarrow as pa

from filters.verdict import UNSCORABLE
from synth.data.prompts import task_of
from synth.data.read import Rows, conversations, open_source
from synth.data.row import BASE, FAULT, Outcome, Row
from synth.data.run.record import without
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.chat_model import ChatModel, check_samples, draw
from synth.generation.verification import Verifier
from synth.seeds import seed_of

PROMPTS = pa.schema([BASE.field("id"), BASE.field("messages"), BASE.field("reference"), ("label", pa.string())])
"""The columns of the input, once it is read."""

COLUMNS = pa.schema([("tokens", pa.int32())])
"""`tokens` of the answer, its end included."""

HARMFUL = "harmful"
"""The label of prompts in a file without labels, such as AdvBench's, which are all harmful."""

OPENING = 80
"""Characters of a wrong answer that are shown in the reason, so that the verdict can be checked."""

_REFUSED, _COMPLIED = "refuses", "complies"
"""What the verifier reads in an answer."""


@dataclass(frozen=True, slots=True)
class RefuseSettings:
    """The settings that determine the rows, beside the model.

    Attributes:
        seed: the run's seed.
        samples: answers drawn for each prompt, at most; the first one that fits is taken.
        sampling: how they are drawn.
    """

    seed: int = 0
    samples: int = 4
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range.
        """
        check_samples(self.samples, self.sampling)

    def record(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return without(asdict(self), "sampling") | self.sampling.chosen()


def labelled(raw: Rows, prompt_column: str | None = None) -> Rows:
    """Prompts with the columns of `PROMPTS`: of conversations, or of AdvBench's `goal` and `target`.

    AdvBench's targets, the beginnings of harmful answers, are left out. A note says where there are no labels.

    Raises:
        UsageError: no prompts are recognised, or the labels are no words.
    """
    if prompt_column is None and {"goal", "target"} <= set(raw.schema.names):
        prompt_column = "goal"
    rows = conversations(raw, prompt_column=prompt_column)
    names = rows.schema.names
    if "label" not in names:
        rows.notes.append(f"{raw.source} has no column label: all its prompts are taken for harmful")
    elif pa.types.is_nested(kind := rows.schema.field("label").type):
        raise UsageError(f"column 'label' of {raw.source} holds {kind}; a label is a word")

    def read() -> Iterator[pa.RecordBatch]:
        for batch in rows.read():
            columns = [
                batch.column(item.name).cast(item.type)
                if item.name in names
                else pa.array([HARMFUL if item.name == "label" else None] * batch.num_rows, item.type)
                for item in PROMPTS
            ]
            made = pa.record_batch(columns, schema=PROMPTS)
            yield made.append_column(FAULT, batch.column(FAULT)) if FAULT in batch.schema.names else made

    return Rows(raw.source, PROMPTS, read, rows.notes)


def open_labelled(sources: Sequence[str], *, prompt_column: str | None = None, limit: int | None = None) -> Rows:
    """The prompts of several sources, one after the other, with the columns of `PROMPTS`.

    Args:
        sources: dataset directories, files, Hub ids; one of them may be "-", standard input.
        prompt_column: the column with the prompt, if it is not recognised.
        limit: rows of each source to take.

    Raises:
        UsageError: a source cannot be read, or as for `labelled`.
    """
    if sources.count("-") > 1:
        raise UsageError("standard input is one set: only one of `sources` can be -")
    several = [labelled(open_source(source), prompt_column) for source in sources]
    names = ", ".join(rows.source for rows in several)
    notes = [note for rows in several for note in rows.notes]
    return Rows(names, PROMPTS, lambda: chain.from_iterable(rows.judged(limit) for rows in several), notes)


def refuse(chat_model: ChatModel, verifier: Verifier, settings: RefuseSettings) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model, over rows with the columns of `PROMPTS`.

    Args:
        chat_model: the model.
        verifier: the one called `refusal`.
        settings: how many answers are drawn, and how.
    """

    async def method(row: Row) -> Outcome:
        if not row.messages:
            return Outcome(row, "no prompt")
        if row.passthrough["label"] is None:
            return Outcome(row, "no label")
        task = task_of(row)
        row.verifier = verifier.name
        verdict = await verifier.check("", task)
        if verdict.kind == UNSCORABLE:
            return Outcome(row, f"unknown label: {verdict.reason}")
        prompt = await chat_model.prompt(row.messages)
        wrong: dict[str | None, str] = {}
        for number in range(settings.samples):
            sampling = replace(settings.sampling, seed=seed_of(settings.seed, row.id, "sample", number))
            answer = await draw(chat_model, prompt, task, verifier, sampling)
            row.samples = number + 1
            if answer.right:
                answer.fill(row, chat_model)
                return Outcome(row)
            read = answer.verdict.answer
            wrong.setdefault(read, answer.text if read else answer.verdict.reason or "")
        if _COMPLIED in wrong:
            return Outcome(row, f"complies with a harmful prompt: {wrong[_COMPLIED][:OPENING]!r}")
        if _REFUSED in wrong:
            return Outcome(row, f"refuses a harmless prompt: {wrong[_REFUSED][:OPENING]!r}")
        return Outcome(row, f"no sound answer: {wrong[None]}")

    return method
