"""The tasks behind completions: what each is checked against, from the columns that a trainer passes on.

Columns have the names that our own data has (`reference`, `verifier`, tests, choices, …), or those of known benchmarks,
as where data is read; else the reference is the first that is there of `ANSWERS`.
"""

from collections.abc import Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from typing import Any

import pyarrow as pa

from filters.verdict import Task
from synth.data.schema.as_text import written
from synth.data.schema.benchmarks import Record, benchmark_with
from synth.errors import UsageError
from synth.rl.completions import prompt_text

ANSWERS = (
    *("reference", "answer", "ground_truth", "solution", "canonical_solution", "target", "targets", "label", "output"),
    *("response", "answers"),
)
"""Columns that hold the reference, the more telling names first."""

QUESTIONS = ("prompt", "question", "problem", "text", "Question", "question_stem", "ctx")
"""What benchmarks call the question, which a trainer's data set has as its prompt."""

NO_COLUMNS = frozenset({"trainer_state", "environments"})
"""What trainers pass beside the columns."""

_PLAIN = str | bytes | bool | int | float | Decimal | date | time | None


def tasks_of(prompts: Sequence[Any], columns: Mapping[str, Any], reference_column: str | None = None) -> list[Task]:
    """The task of each prompt.

    Args:
        prompts: texts, or lists of messages.
        columns: by name, a value for each prompt; what is no list (a trainer's state, say) is no column.
        reference_column: the column with the reference, if it is not recognised.

    Raises:
        UsageError: a column has not one value for each prompt, or there is none of that name.
    """
    there = {name: _listed(values) for name, values in columns.items() if name not in NO_COLUMNS}
    for name, values in there.items():
        if (isinstance(values, str) and name in ANSWERS) or (
            isinstance(values, list | tuple) and len(values) != len(prompts)
        ):
            given = "one text" if isinstance(values, str) else f"{len(values):,} values"
            raise UsageError(f"column {name!r} has {given} for {len(prompts):,} completions: give a list with one each")
    there = {name: values for name, values in there.items() if isinstance(values, list | tuple)}
    if reference_column is not None and reference_column not in there:
        raise UsageError(f"`reference_column`: there is no column {reference_column!r}; there are: {', '.join(there)}")
    rows = ({name: values[at] for name, values in there.items() if _is_plain(values[at])} for at in range(len(prompts)))
    return [_task(prompt_text(prompt), row, reference_column) for prompt, row in zip(prompts, rows, strict=True)]


def _task(prompt: str, row: Record, reference_column: str | None) -> Task:
    if reference_column is not None:
        return Task(_as_text(row.get(reference_column)), prompt, row)
    reference = next((text for name in ANSWERS if (text := _as_text(row.get(name))) is not None), None)
    asked = {**dict.fromkeys(QUESTIONS, prompt), **row}
    found = benchmark_with(set(asked), lambda: asked) if row.get("reference") is None else None
    if found is None:
        return Task(reference, prompt, row)
    answer = found.answer(asked)
    columns = {"verifier": found.verifier, **row, **found.columns_of(asked)}
    return Task(reference if answer is None else answer, prompt, columns)


def _as_text(value: Any) -> str | None:
    """A reference as text, as where data is read: a number or an object is written as its JSON."""
    if value is None or isinstance(value, str):
        return value
    try:
        texts, _ = written(pa.array([value]), "reference")
    except (pa.ArrowException, OverflowError):  # no column could hold it
        return str(value)
    text: str | None = texts[0].as_py()
    return text


def _listed(value: Any) -> Any:
    """A value without numpy's types, which tables that pandas has read are full of."""
    if type(value).__module__ == "numpy":
        value = value.tolist()
    if isinstance(value, Mapping):
        return {name: _listed(one) for name, one in value.items()}
    return list(map(_listed, value)) if isinstance(value, list | tuple) else value


def _is_plain(value: Any) -> bool:
    """Whether a value is data, which workers are sent: a picture is not, nor is an environment."""
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, _PLAIN)
