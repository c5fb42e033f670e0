"""Suites: what a model can do, as tasks that a verifier can judge.

A suite is any file of rows that `synth.read` opens: a prompt (or messages), a reference, other columns for the
verifier, and a column `verifier` with its name, where one verifier is not given for all. Files of known benchmarks are
recognised by their columns, and bring their prompt and verifier: `FORMATS`.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from filters.verdict import Settings, Task
from filters.verifiers import registry
from synth.errors import UsageError
from synth.read import Rows, conversations, open_source
from synth.row import Message, digest
from synth.tasks import open_tasks, task_of

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Item:
    """One task: the conversation to answer, which ends in a user turn (or is empty: data without a prompt)."""

    messages: list[Message]
    task: Task
    verifier: Settings


@dataclass(frozen=True, slots=True)
class Suite:
    """Tasks that are counted together.

    Attributes:
        name: what it is called in tables.
        items: its tasks.
        new: whether it is of the new task, or of what the model could do before.
        note: what was recognised, for people.
    """

    name: str
    items: list[Item]
    new: bool = False
    note: str = ""

    @property
    def fingerprint(self) -> str:
        """Names its content: evaluations are continued, and compared, on the same tasks only."""
        content = hashlib.blake2b(digest_size=16)
        for item in self.items:
            parts = (item.messages, item.task.reference, item.verifier.name, _text(item.task.columns))
            content.update(digest(*parts).encode())
        return content.hexdigest()


@dataclass(frozen=True, slots=True)
class Format:
    """How the rows of a benchmark's files become tasks.

    Attributes:
        name: of the benchmark.
        columns: by which it is recognised.
        verifier: what judges its answers.
        prompt: the question, as text or as turns.
        reference: the right answer, where it has one as text.
        sure: looks at a row where the columns alone do not tell.
    """

    name: str
    columns: frozenset[str]
    verifier: str
    prompt: Callable[[Record], str | list[Message]]
    reference: Callable[[Record], str | None] = lambda record: None
    sure: Callable[[Record], bool] = lambda record: True


def _tested(record: Record) -> str:
    """MBPP's tests are part of the task: they say what the function is called."""
    tests = "\n".join(record["test_list"])
    return f"{record.get('text') or record.get('prompt')}\nYour code should pass these tests:\n\n{tests}"


def _unfinished(record: Record) -> str:
    return f"Complete this Python function. Give the whole function.\n\n```python\n{record['prompt'].rstrip()}\n```"


def _callable(record: Record) -> list[Message]:
    """BFCL: the functions on offer stand before the question, as text, for templates that know no tools."""
    turns: list[Message] = record["question"][0] if record["question"] else []
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


FORMATS = (
    Format("IFEval", frozenset({"prompt", "instruction_id_list", "kwargs"}), "instructions", lambda row: row["prompt"]),
    Format(
        "HumanEval",
        frozenset({"prompt", "test", "entry_point"}),
        "code",
        _unfinished,
        lambda row: (row["prompt"] + row["canonical_solution"]) if row.get("canonical_solution") else None,
    ),
    Format("MBPP", frozenset({"text", "code", "test_list"}), "code", _tested, lambda row: row["code"]),
    Format("MBPP", frozenset({"prompt", "code", "test_list"}), "code", _tested, lambda row: row["code"]),
    Format("BFCL", frozenset({"question", "function"}), "function-call", _callable),
    Format(
        "MATH-500",
        frozenset({"problem", "solution", "answer"}),
        "math",
        lambda row: row["problem"],
        lambda row: row["solution"],  # its box says what `answer` says, and where a formula begins and ends
    ),
    Format(
        "GSM8K",
        frozenset({"question", "answer"}),
        "math",
        lambda row: row["question"],
        lambda row: row["answer"],
        sure=lambda row: "####" in str(row["answer"]),
    ),
    Format("XSTest", frozenset({"prompt", "label", "focus"}), "refusal", lambda row: row["prompt"]),
    Format("AdvBench", frozenset({"goal", "target"}), "refusal", lambda row: row["goal"]),
)
"""The benchmarks whose files are read as they are published. The more telling columns come first."""


def open_suites(
    old: Sequence[str], new: Sequence[str], verifier: Settings | None, settings: Settings, limit: int | None = None
) -> list[Suite]:
    """Read the suites of a command line.

    Args:
        old: suites of what the model could do before: FILE, or NAME=FILE.
        new: suites of the new task, likewise.
        verifier: judges all of them; None goes by the rows or the format.
        settings: limits of the verifiers that the suites name themselves.
        limit: takes so many items of each.

    Raises:
        UsageError: a suite cannot be read, is empty, or nothing says how to judge it; two bear one name.
    """
    suites = [_open(source, False, verifier, settings, limit) for source in old]
    suites += [_open(source, True, verifier, settings, limit) for source in new]
    names = [suite.name for suite in suites]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two suites are called {twice}: call one otherwise, as in other={twice}.jsonl")
    return suites


def _open(source: str, new: bool, verifier: Settings | None, settings: Settings, limit: int | None) -> Suite:
    given, _, rest = source.partition("=")
    if rest and not Path(source).exists():
        name, source = given, rest
    else:
        name = Path(source).name.split(".")[0] or source
    raw = open_source(source)
    found = _format_of(raw)
    if found is None:
        items, note = _plain_items(raw, verifier, settings, limit)
    else:
        judge = verifier or replace(settings, name=found.verifier)
        answers = _possible_answers(Path(source)) if found.name == "BFCL" else {}
        records = [record | answers.get(str(record.get("id")), {}) for record in _records(raw, limit)]
        items = [_item(found, record, judge) for record in records]
        note = f"{found.name}, judged by {judge.name}"
    if not items:
        raise UsageError(f"the suite {source} is empty")
    return Suite(name, items, new, f"{name}: {len(items):,} items, {note}")


def _format_of(raw: Rows) -> Format | None:
    first: Record | None = None
    for known in FORMATS:
        if known.columns <= set(raw.schema.names) and "verifier" not in raw.schema.names:
            first = first or next(iter(_records(raw, 1)), None)
            if first is None or known.sure(first):
                return known
    return None


def _records(raw: Rows, limit: int | None) -> list[dict[str, Any]]:
    return [record for batch in raw.batches(limit) for record in batch.to_pylist()]


def _item(found: Format, record: Record, judge: Settings) -> Item:
    try:
        prompt = found.prompt(record)
        reference = found.reference(record)
    except (TypeError, KeyError, IndexError):  # a row with nulls where its kind has text: no task, and judged so
        prompt, reference = [], None
    messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt or []
    asked = next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), "")
    if found.name == "HumanEval":
        asked = str(record["prompt"])  # the verifier completes it, where an answer is the rest of the function
    return Item(messages, Task(reference, asked, record), judge)


def _possible_answers(file: Path) -> dict[str, dict[str, Any]]:
    """BFCL keeps the possible calls in another file, beside or below the questions."""
    below = file.parent / "possible_answer" / file.name
    for place in (below, file.with_name(f"possible_answer__{file.name}")):
        if place.is_file():
            records = _records(open_source(str(place)), None)
            return {str(record["id"]): {"ground_truth": record["ground_truth"]} for record in records}
    return {}


def _plain_items(raw: Rows, verifier: Settings | None, settings: Settings, limit: int | None) -> tuple[list[Item], str]:
    """Items of rows that are no known benchmark: any conversation, its answer being the reference."""
    tasks = open_tasks(conversations(raw), limit)
    named = tasks.source.schema.names
    if verifier is None and "verifier" not in named:
        raise UsageError(
            f"nothing says how the answers to {raw.source} are judged: give the rows a column `verifier` "
            "(synth eval takes --verifier NAME, too). The format is none of "
            f"{', '.join(dict.fromkeys(known.name for known in FORMATS))}"
        )
    items = []
    names: dict[str, int] = {}
    rows = tasks.rows("", {}, pa.schema([]))(0)
    for (index, record), row in zip(tasks.records(), rows, strict=True):
        judge = verifier or replace(settings, name=_known(record["verifier"], f"{raw.source}, row {index}"))
        names[judge.name] = names.get(judge.name, 0) + 1
        items.append(Item(row.messages, task_of(row), judge))
    return items, f"judged by {', '.join(names)}"


def _known(name: object, where: str) -> str:
    """A verifier that a row names. A function of the user's is not taken from data: it would be run."""
    if isinstance(name, str) and name in registry.NAMES:
        return name
    if isinstance(name, str) and ":" in name:
        raise UsageError(f"{where}: verifier {name} is a function; functions are named by --verifier only")
    raise UsageError(f"{where}: {registry.nearest(str(name)) if name else 'it names no verifier'}")


def _text(value: Any) -> str:
    return json.dumps(dict(value), sort_keys=True, ensure_ascii=True, default=str)
