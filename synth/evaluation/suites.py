"""Suites: tasks that test a model, with verifiers that judge the answers.

A suite is any file of rows that `synth.data.read` opens: a prompt (or messages), a reference, other columns for the
verifier, and a column `verifier` with its name, where one verifier is not given for all. Files of known benchmarks
(`synth.data.schema.benchmarks`) bring theirs.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from filters.verdict import Task, VerifierSettings
from filters.verifiers import registry
from synth.data.files.names import source_name
from synth.data.prompts import open_prompts, task_of
from synth.data.read import Rows, conversations, open_source
from synth.data.row import Message, digest
from synth.data.schema.benchmarks import NAMES, benchmark_of
from synth.errors import UsageError
from synth.evaluation.names import split_name


@dataclass(frozen=True, slots=True)
class Item:
    """One task: the conversation to answer, which ends in a user turn (or is empty: data without a prompt)."""

    messages: list[Message]
    task: Task
    verifier: VerifierSettings


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
        """A digest of its content: evaluations are continued, and compared, on the same tasks only."""
        content = hashlib.blake2b(digest_size=16)
        for item in self.items:
            parts = (item.messages, item.task.reference, item.verifier.name, _text(item.task.columns))
            content.update(digest(*parts).encode())
        return content.hexdigest()


def open_suites(
    old: Sequence[str],
    new: Sequence[str],
    verifier: VerifierSettings | None,
    settings: VerifierSettings,
    limit: int | None = None,
) -> list[Suite]:
    """Read suites.

    Args:
        old: suites of what the model could do before: FILE, or NAME=FILE.
        new: suites of the new task, likewise.
        verifier: judges all of them; None goes by the rows or the format.
        settings: limits of the verifiers that the suites name themselves.
        limit: takes so many items of each.

    Raises:
        UsageError: a suite cannot be read, is empty, or nothing says how to judge it; two bear one name.
    """
    opened = [_opened(source, new) for sources, new in ((old, False), (new, True)) for source in sources]
    names = names_of(opened)
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two suites are called {twice}: give one another name, as in other=FILE")
    return [_suite(name, one, verifier, settings, limit) for name, one in zip(names, opened, strict=True)]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A suite's file: the name that the user gave it, if any, and the benchmark that it is of, if any."""

    given: str | None
    source: str
    new: bool
    raw: Rows
    benchmark: str | None


def _opened(text: str, new: bool) -> _Opened:
    given, source = split_name(text)
    raw = open_source(source)
    benchmark = benchmark_of(raw.schema, raw.batches)
    return _Opened(given, source, new, raw, benchmark.name if benchmark else None)


def names_of(opened: Sequence[_Opened]) -> list[str]:
    """The names of suites: given ones, or the file's, or, where that is only a split, the benchmark's or folder's.

    Files of one name are told apart by their folders.
    """
    named = [source_name(one.source) for one in opened]
    names = [
        one.given or (one.benchmark.lower() if one.benchmark and not name.tells else name.short)
        for one, name in zip(opened, named, strict=True)
    ]
    return [
        name.long if one.given is None and names.count(short) > 1 else short
        for one, name, short in zip(opened, named, names, strict=True)
    ]


def _suite(
    name: str, one: _Opened, verifier: VerifierSettings | None, settings: VerifierSettings, limit: int | None
) -> Suite:
    """The rows as items: any conversation, its answer being the reference."""
    prompts = open_prompts(conversations(one.raw), limit)
    if verifier is None and "verifier" not in prompts.source.schema.names:
        raise UsageError(
            f"nothing says how the answers to {one.raw.source} are judged: give the rows a column called "
            f"verifier (synth eval takes `verifier` NAME, too). It is none of the benchmarks {', '.join(NAMES)}"
        )
    items = []
    judges: dict[str, int] = {}
    rows = prompts.rows("", {}, pa.schema([]))(0)
    for (index, record), row in zip(prompts.records(), rows, strict=True):
        if row.fault is not None:
            continue
        judge = verifier or replace(settings, name=_known(record["verifier"], f"{one.raw.source}, row {index}"))
        judges[judge.name] = judges.get(judge.name, 0) + 1
        items.append(Item(row.messages, task_of(row), judge))
    if not items:
        raise UsageError(f"the suite {one.raw.source} is empty")
    what = f"{one.benchmark}, judged" if one.benchmark else "judged"
    left_out = f"; {prompts.unreadable:,} more rows cannot be read" if prompts.unreadable else ""
    return Suite(name, items, one.new, f"{name}: {len(items):,} items, {what} by {', '.join(judges)}{left_out}")


def _known(name: object, where: str) -> str:
    """A verifier that a row names. Functions of the user's are not taken from data, as they would be executed."""
    if isinstance(name, str) and name in registry.VERIFIERS:
        return name
    if isinstance(name, str) and ":" in name:
        raise UsageError(f"{where}: verifier {name} is a function; functions are named by `verifier` only")
    raise UsageError(f"{where}: {registry.unknown(str(name)) if name else 'it names no verifier'}")


def _text(value: Any) -> str:
    return json.dumps(dict(value), sort_keys=True, ensure_ascii=True, default=str)
