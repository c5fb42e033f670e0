"""Files of known benchmarks, read as they are published: recognised by their columns, turned into rows like any others.

A benchmark brings what models are asked, its answers and the verifier that judges them. Its rows get `messages`,
`reference` and `verifier`; columns that are used up are gone, all others, which verifiers read, are carried through.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from synth.data.columns import cast_to
from synth.data.row import BASE, FAULT, MESSAGES, Message, digest
from synth.data.schema.names import free_name
from synth.data.schema.shapes import TURN_COLUMNS, Shape
from synth.errors import UsageError

Record = Mapping[str, Any]
Asked = str | list[Message]
T = TypeVar("T")

_LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """How the rows of a benchmark's files become tasks.

    Attributes:
        name: of the benchmark.
        columns: by which it is recognised.
        used: columns that are not carried through, as the conversation holds their content.
        verifier: what judges its answers.
        question: what an item asks, as text or as turns.
        prompt: what a model is asked, where that is more than the question.
        reference: the right answer, where it has one as text.
        choices: the options of multiple choice, in the order of their letters.
        sure: examines a row where the columns alone are ambiguous.
    """

    name: str
    columns: frozenset[str]
    used: frozenset[str]
    verifier: str
    question: Callable[[Record], Asked]
    prompt: Callable[[Record], Asked] | None = None
    reference: Callable[[Record], str | None] = lambda record: None
    choices: Callable[[Record], list[str]] | None = None
    sure: Callable[[Record], bool] = lambda record: True

    def asked(self, record: Record) -> list[Message]:
        """The turns to answer; none where the row has nulls in their place."""
        asked = _read(self.prompt or self.question, record)
        return _turns(asked) if asked else []

    def item(self, record: Record) -> tuple[str, str | None]:
        """The bare question and the right answer, as they may stand in other texts."""
        asked = _read(self.question, record)
        question = "\n\n".join(turn["content"] for turn in _turns(asked)) if asked else ""
        return question, self.answer(record)

    def answer(self, record: Record) -> str | None:
        """The right answer, where it has one as text."""
        return _read(self.reference, record)

    def columns_of(self, record: Record) -> dict[str, Any]:
        """What its verifier reads in the row beside the reference, and what a published row has not: the options."""
        return {} if self.choices is None else {"choices": _read(self.choices, record)}


def _turns(asked: Asked) -> list[Message]:
    if isinstance(asked, str):
        return [{"role": "user", "content": asked}] if asked.strip() else []
    return asked


def _read(read: Callable[[Record], T], record: Record) -> T | None:
    """The text read from a row; None where the row has null or another type in its place."""
    try:
        return read(record)
    except (TypeError, KeyError, IndexError, AttributeError, ValueError):
        return None


def _text(column: str) -> Callable[[Record], str]:
    def read(record: Record) -> str:
        value = record[column]
        if not isinstance(value, str):
            raise TypeError(column)
        return value

    return read


def _mbpp(record: Record) -> str:
    """The task: under the first name in the full set, under the second in its sanitised form."""
    return _text("text" if record.get("text") else "prompt")(record)


def _tested(record: Record) -> str:
    """MBPP's tests are part of the task: they say what the function is called."""
    return f"{_mbpp(record)}\nYour code should pass these tests:\n\n" + "\n".join(record["test_list"])


def _solved(record: Record) -> str:
    """The solution, whose box says what `answer` says, and where a formula begins and ends; AIME's may have no box."""
    solution, answer = record["solution"], record["answer"]
    return str(answer) if answer is not None and "\\boxed" not in (solution or "") else _text("solution")(record)


def _unfinished(record: Record) -> str:
    start = record["prompt"].rstrip()
    return f"Complete this Python function. Give the whole function.\n\n```python\n{start}\n```"


def _first_turns(record: Record) -> list[Message]:
    turns: list[Message] = record["question"][0] if record["question"] else []
    return [{"role": turn["role"], "content": turn["content"]} for turn in turns]


def _callable(record: Record) -> list[Message]:
    """BFCL: the available functions precede the question, as text, for templates without tools."""
    turns = _first_turns(record)
    offered = json.dumps([_parsed(function) for function in record["function"]], indent=1, ensure_ascii=False)
    told = (
        f"You can call these functions:\n{offered}\n\nAnswer with the calls alone, as in [name(parameter=value)]. If "
        "no function fits, say so.\n\n"
    )
    first = next((at for at, turn in enumerate(turns) if turn["role"] == "user"), None)
    return [turn | {"content": told + turn["content"]} if at == first else turn for at, turn in enumerate(turns)]


def _parsed(value: Any) -> Any:
    """A value whose inner objects were read as JSON text, as it was; keys without a value are left out."""
    if isinstance(value, dict):
        return {key: _parsed(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_parsed(inner) for inner in value]
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _multiple_choice(
    name: str,
    question: str,
    options: str,
    right: str,
    *,
    asks: str = "",
    used: Sequence[str] = (),
) -> Benchmark:
    """A benchmark whose options are texts in a list, or ARC's {"text": […], "label": […]}.

    Args:
        name: of the benchmark.
        question: the column of the question.
        options: the column of the options.
        right: the column of the right one: its letter, its place from 0 (a number), or its label.
        asks: put before the question.
        used: other columns that say which is right.
    """

    def texts(record: Record) -> list[str]:
        given = record[options]
        return [str(text) for text in (given["text"] if isinstance(given, dict) else given)]

    def letter(record: Record) -> str | None:
        answer, given = record[right], record[options]
        if answer is None:
            return None
        labels = [str(label) for label in given["label"]] if isinstance(given, dict) else []
        if str(answer) in labels:
            at = labels.index(str(answer))
        elif str(answer).strip().isdecimal():
            at = int(answer)
        else:
            at = _LETTERS.find(str(answer).strip().upper() or "?")
        return _LETTERS[at] if 0 <= at < len(texts(record)) else None

    def prompt(record: Record) -> str:
        return _with_choices(f"{asks}{record[question]}", texts(record))

    columns = frozenset({question, options, right})
    return Benchmark(
        name,
        columns,
        columns.union(used),
        "choice",
        _text(question),
        prompt,
        letter,
        texts,
        sure=lambda record: _is_choice(record, options, right),
    )


def _with_choices(asked: str, choices: Sequence[str]) -> str:
    lines = [f"{label}. {text}" for label, text in zip(_LETTERS, choices, strict=False)]
    return f"{asked}\n\n" + "\n".join(lines) + "\n\nAnswer with the letter of the right choice."


_GPQA_RIGHT = "Correct Answer"
_GPQA = (_GPQA_RIGHT, *(f"Incorrect Answer {number}" for number in (1, 2, 3)))


def _gpqa_choices(record: Record) -> list[str]:
    """The right answer among the wrong ones, in an order that the row's texts decide."""
    texts = [_text(name)(record).strip() for name in _GPQA]
    return sorted(texts, key=lambda text: digest(record["Question"], text))


def _gpqa_letter(record: Record) -> str:
    return _LETTERS[_gpqa_choices(record).index(record[_GPQA_RIGHT].strip())]


def _is_choice(record: Record, options: str, right: str) -> bool:
    given = record[options]
    texts = given.get("text") if isinstance(given, dict) else given
    several = isinstance(texts, list) and 2 <= len(texts) <= len(_LETTERS)
    return several and len(str("" if record[right] is None else record[right]).strip()) <= 1


def _columns(names: str) -> frozenset[str]:
    return frozenset(names.split())


BENCHMARKS = (
    Benchmark(
        "IFEval", _columns("prompt instruction_id_list kwargs"), _columns("prompt"), "instructions", _text("prompt")
    ),
    Benchmark(
        "HumanEval",
        _columns("prompt test entry_point"),
        _columns("canonical_solution"),  # and not the prompt: an answer may be the rest of the function
        "code",
        _text("prompt"),
        _unfinished,
        lambda row: row["prompt"] + row["canonical_solution"],
    ),
    Benchmark("MBPP", _columns("text code test_list"), _columns("text code"), "code", _mbpp, _tested, _text("code")),
    Benchmark(
        "MBPP", _columns("prompt code test_list"), _columns("prompt code"), "code", _mbpp, _tested, _text("code")
    ),
    Benchmark("BFCL", _columns("question function"), _columns("question"), "function-call", _first_turns, _callable),
    Benchmark(
        "MATH-500",
        _columns("problem solution answer"),
        _columns("problem solution"),
        "math",
        _text("problem"),
        reference=_solved,
    ),
    Benchmark(
        "MATH",
        _columns("problem solution level"),
        _columns("problem solution"),
        "math",
        _text("problem"),
        reference=_text("solution"),
    ),
    Benchmark(
        "GSM8K",
        _columns("question answer"),
        _columns("question answer"),
        "math",
        _text("question"),
        reference=_text("answer"),
        sure=lambda row: "####" in row["answer"],
    ),
    Benchmark(
        "GPQA",
        frozenset({"Question", *_GPQA}),
        frozenset({"Question", *_GPQA}),
        "choice",
        _text("Question"),
        lambda row: _with_choices(_text("Question")(row).strip(), _gpqa_choices(row)),
        _gpqa_letter,
        _gpqa_choices,
    ),
    _multiple_choice("MMLU-Pro", "question", "options", "answer", used=["answer_index"]),
    _multiple_choice("MMLU", "question", "choices", "answer"),
    _multiple_choice("ARC", "question", "choices", "answerKey"),
    _multiple_choice("OpenBookQA", "question_stem", "choices", "answerKey"),
    _multiple_choice("HellaSwag", "ctx", "endings", "label", asks="How does this go on?\n\n"),
    Benchmark("XSTest", _columns("prompt label focus"), _columns("prompt"), "refusal", _text("prompt")),
    Benchmark("AdvBench", _columns("goal target"), _columns("goal"), "refusal", _text("goal")),
)
"""The benchmarks whose files are read as they are published. The more telling columns come first."""

NAMES = tuple(dict.fromkeys(known.name for known in BENCHMARKS))


def benchmark_of(schema: pa.Schema, batches: Callable[[], Iterable[pa.RecordBatch]]) -> Benchmark | None:
    """The benchmark that the rows belong to, by their columns and the first rows; None if it is none.

    Args:
        schema: of the rows as they come.
        batches: gives them, from the start.
    """

    @cache
    def first() -> Record | None:
        return next((batch.slice(0, 1).to_pylist()[0] for batch in batches() if batch.num_rows), None)

    return benchmark_with(set(schema.names), first)


def benchmark_with(names: Collection[str], first: Callable[[], Record | None]) -> Benchmark | None:
    """The benchmark with columns of these names; None if it is none.

    Args:
        names: of the columns.
        first: gives the first row, where the columns alone are ambiguous; None where there are no rows.
    """
    # A command of ours may have made conversations of a benchmark; rows that name a verifier are somebody's own.
    if set(names).intersection((*TURN_COLUMNS, "verifier")):
        return None
    for known in BENCHMARKS:
        if known.columns <= set(names):
            row = first()
            if row is None or _read(known.sure, row):
                return known
    return None


def published(schema: pa.Schema, found: Benchmark, source: str) -> Shape:
    """How the rows of a benchmark become ours.

    Args:
        schema: of the rows as they come.
        found: the benchmark they are of.
        source: the file: BFCL keeps its possible answers beside it.
    """
    answers = _possible_answers(Path(source)) if found.name == "BFCL" and "ground_truth" not in schema.names else {}
    added = {"messages": MESSAGES, "reference": pa.string(), "verifier": pa.string()}
    if found.choices is not None:
        added["choices"] = pa.list_(pa.string())
    if answers:
        added["ground_truth"] = pa.string()
    passthrough: dict[str, tuple[str, pa.DataType]] = {}  # new name: old name, type
    taken, names = {*added, *BASE.names}, set(schema.names)
    for item in schema:
        if item.name in found.used:
            continue
        name, kind = item.name, item.type
        if name == "id" and (pa.types.is_string(kind) or pa.types.is_integer(kind)):
            kind = pa.string()
        else:
            name = free_name(name, taken, names)
        passthrough[name] = (item.name, kind)
    result = pa.schema([*((name, kind) for name, (_, kind) in passthrough.items()), *added.items()])

    def convert(batch: pa.RecordBatch) -> pa.RecordBatch:
        records = batch.to_pylist()
        references = [_read(found.reference, record) for record in records]
        asked = [found.asked(record) for record in records]
        columns: dict[str, Any] = {
            "messages": [_conversation(*pair) for pair in zip(asked, references, strict=True)],
            "reference": references,
            "verifier": [found.verifier] * len(records),
        }
        if found.choices is not None:
            columns["choices"] = [_read(found.choices, record) for record in records]
        if answers:
            columns["ground_truth"] = [answers.get(str(record["id"])) for record in records]
        made = pa.record_batch(
            [cast_to(batch.column(old), kind) for old, kind in passthrough.values()]
            + [pa.array(columns[name], kind) for name, kind in added.items()],
            schema=result,
        )
        return made.append_column(FAULT, batch.column(FAULT)) if FAULT in batch.schema.names else made

    return Shape(result, convert, [f"{found.name} as published, to be judged by {found.verifier}"])


def _conversation(asked: list[Message], reference: str | None) -> list[Message] | None:
    if not asked:
        return None
    return [*asked, {"role": "assistant", "content": reference}] if reference and reference.strip() else asked


def _possible_answers(file: Path) -> dict[str, str]:
    """The possible calls of a BFCL file by the id of the question, as JSON: it keeps them beside or below it."""
    for place in (file.parent / "possible_answer" / file.name, file.with_name(f"possible_answer__{file.name}")):
        if place.is_file():
            try:
                records = [json.loads(line) for line in place.read_text(encoding="utf-8").splitlines() if line.strip()]
                return {str(record["id"]): json.dumps(record["ground_truth"]) for record in records}
            except (ValueError, TypeError, KeyError) as error:
                raise UsageError(f"{place} does not hold possible answers of BFCL: {error!r}") from error
    return {}
