"""Tasks, for training that draws answers itself: what is asked, and what an answer is judged by or shown.

A task is what precedes the answer of a conversation, in turns of text. Where answers are rewarded its reference is
checked first, as if it were an answer: one that its own verifier does not judge right would reward nothing.

tasks            prompt, reference, verifier, and the other columns of the set, which verifiers read (TRL; any trainer)
prompts          prompt alone
demonstrations   prompt, and the human answer as privileged_context, which only a teacher is shown (TRL)
verl             data_source, prompt, ability, reward_model, extra_info (verl's documentation, prepare data)
openrlhf         datasource, prompt, and the columns of `tasks` as JSON in label (OpenRLHF's prompts_dataset)
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import pyarrow as pa

from filters.verdict import Task, VerifierSettings
from filters.verifiers import registry
from synth.background import wait_for
from synth.data.read import Rows
from synth.data.row import BASE, INDEX, MESSAGES, PREDICTIONS, RENDERING, SCORES, Message, records_of
from synth.data.run.record import category_of
from synth.errors import UsageError
from synth.generation.verification import Verifier, check_reference, open_verifier, reference_fault

Kind = Literal["tasks", "prompts", "demonstrations"]
"""What a task is for: rewards of answers, nothing but answers, or a teacher that is shown one."""

KINDS: tuple[Kind, ...] = get_args(Kind)

PROMPT = pa.field("prompt", MESSAGES)
_OURS = (PROMPT, pa.field("reference", pa.string()), pa.field("verifier", pa.string()))
_CONTEXT = pa.field("privileged_context", pa.string())
TAKEN = {
    *("prompt", "completion", "completion_ids", "image", "images"),
    *("environments", "trainer_state", "log_extra", "log_metric"),
}
"""Names of columns that trainers use for something else."""

_LEFT = {*BASE.names, *RENDERING.names, *SCORES.names, *PREDICTIONS.names, INDEX.name, *TAKEN}

_OBJECTS = 256
"""Rows that are Python objects at a time."""


@dataclass(slots=True)
class TaskReader:
    """Makes tasks of rows. Reading fills in the counts.

    Attributes:
        kind: what they are for.
        judge: the verifier that was named; without a name, each row names its own.
        reasons: why rows are left out, and how many.
        names: of the verifiers of tasks.
    """

    kind: Kind
    judge: VerifierSettings
    reasons: Counter[str] = field(default_factory=Counter)
    names: set[str] = field(default_factory=set)
    _verifiers: dict[str, Verifier] = field(default_factory=dict)

    def tasks(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The tasks in a batch of conversations: `prompt`, `reference`, `verifier`, and the columns carried through.

        Raises:
            UsageError: a verifier cannot work with its settings, or not here.
        """
        parts = [self._tasks(batch.slice(at, _OBJECTS)) for at in range(0, max(batch.num_rows, 1), _OBJECTS)]
        return pa.concat_batches(parts)

    def _tasks(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        records = records_of(batch)
        prompts = [_prompt(record["messages"] or []) for record in records]
        faults = wait_for(self._faults(records, prompts))
        for fault in faults:
            if fault is not None:
                self.reasons[category_of(fault, self.reasons)] += 1
        kept = pa.array([fault is None for fault in faults], pa.bool_())
        names = [self._name(record) for record in records]
        self.names.update(name for name, fault in zip(names, faults, strict=True) if name and fault is None)
        ours = [
            pa.array(prompts, MESSAGES),
            pa.array([record.get("reference") for record in records], pa.string()),
            pa.array(names, pa.string()),
        ]
        carried = [item for item in batch.schema if item.name not in _LEFT]
        columns = [*ours, *(batch.column(item.name) for item in carried)]
        return pa.record_batch(columns, schema=pa.schema([*_OURS, *carried])).filter(kept)

    @property
    def reward(self) -> VerifierSettings:
        """What judges the answers to all tasks: the one verifier that there is, or else whichever a row names."""
        return replace(self.judge, name=next(iter(self.names))) if len(self.names) == 1 else self.judge

    def told(self) -> str:
        """Why rows are left out, and how many, for people."""
        return ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.most_common())

    def close(self) -> None:
        """End the verifiers' processes."""
        for verifier in self._verifiers.values():
            wait_for(verifier.close())

    def _name(self, record: dict[str, Any]) -> str | None:
        """Whose verdict counts for a row; None where it names none that data may name."""
        if self.kind != "tasks":
            return None
        name = self.judge.name or record.get("verifier")
        entry = registry.VERIFIERS.get(name) if isinstance(name, str) else None
        return name if self.judge.name or (entry and entry.judges_single_answers) else None

    async def _faults(self, records: Sequence[dict[str, Any]], prompts: Sequence[list[Message]]) -> list[str | None]:
        """Why each row is no task; None where it is one."""
        for name in {self._name(record) for record in records} - {None, *self._verifiers}:
            self._verifiers[str(name)] = await open_verifier(replace(self.judge, name=str(name)))
        return list(await asyncio.gather(*map(self._fault, records, prompts)))

    async def _fault(self, record: dict[str, Any], prompt: list[Message]) -> str | None:
        if not prompt or prompt[-1]["role"] != "user" or not prompt[-1]["content"].strip():
            return "no prompt"
        if record.get("tools") or any(turn.get("tool_calls") for turn in record["messages"]):
            return "tools, which these trainers do not offer"
        if self.kind == "demonstrations" and not (record.get("reference") or "").strip():
            return "no reference"
        if self.kind != "tasks":
            return None
        name = self._name(record)
        if name is None:
            return "no verifier"
        columns = {name: value for name, value in record.items() if name not in {*BASE.names, *RENDERING.names}}
        task = Task(record.get("reference"), prompt[-1]["content"], columns)
        if task.reference is None and registry.entry_of(name).needs_reference:
            return "no reference"
        return reference_fault(await check_reference(self._verifiers[name], task))


def check_judge(rows: Rows, judge: VerifierSettings, trainer: str, *, one_by_one: bool) -> None:
    """Refuse rewards that cannot be had, before a row is read.

    Args:
        rows: what tasks are made of.
        judge: the verifier that was named, if it was.
        trainer: for whom.
        one_by_one: whether it rewards answers one by one.

    Raises:
        UsageError: there is no verifier, it asks a model, the trainer cannot import it, or it compares answers that are
            rewarded one by one.
    """
    if not judge.name:
        if "verifier" not in rows.schema.names:
            raise UsageError(
                f"`verifier` is missing: {rows.source} has no column `verifier`, so name what rewards answers: "
                f"{registry.known()}"
            )
        return
    if judge.function is not None and (judge.name.startswith("__main__:") or "<" in judge.name):
        raise UsageError(
            f"`verifier` {judge.name}: {trainer} has to import it; put it at the top of a file, as module:function"
        )
    entry = registry.entry_of(judge.name)
    if entry.asks_model:
        raise UsageError(f"`verifier` {entry.name} asks a model: give the trainer a reward of your own, synth.rewards")
    if entry.votes and one_by_one:
        raise UsageError(f"`verifier` {entry.name} compares answers to a task, and {trainer} rewards them one by one")


def _prompt(messages: Sequence[Message]) -> list[Message]:
    """What precedes the last answer, in turns of text."""
    end = len(messages)
    while end and messages[end - 1]["role"] == "assistant":
        end -= 1
    return [{"role": turn["role"], "content": turn["content"]} for turn in messages[:end]]


def as_prompts(tasks: pa.RecordBatch) -> pa.RecordBatch:
    """What is asked, alone."""
    return tasks.select([PROMPT.name])


def as_demonstrations(tasks: pa.RecordBatch) -> pa.RecordBatch:
    """What is asked, and an answer to it."""
    return pa.record_batch([tasks["prompt"], tasks["reference"]], schema=pa.schema([PROMPT, _CONTEXT]))


def as_verl(tasks: pa.RecordBatch) -> pa.RecordBatch:
    """The five columns of verl's data; what verifiers read beside the reference is in `extra_info`."""
    style = pa.repeat(pa.scalar("rule"), tasks.num_rows)
    truth = pa.StructArray.from_arrays([style, tasks["reference"]], ["style", "ground_truth"])
    asked = pa.array([turns[-1]["content"] for turns in tasks["prompt"].to_pylist()], pa.string())
    names = [name for name in tasks.schema.names if name not in ("prompt", "reference")]
    known = pa.StructArray.from_arrays([asked, *map(tasks.column, names)], ["prompt", *names])
    columns = [tasks["verifier"], tasks["prompt"], tasks["verifier"], truth, known]
    return pa.record_batch(columns, names=["data_source", "prompt", "ability", "reward_model", "extra_info"])


def as_openrlhf(tasks: pa.RecordBatch) -> pa.RecordBatch:
    """What OpenRLHF passes on to a reward function: the prompt, and one text, which is all that verifiers read."""
    names = [name for name in tasks.schema.names if name != "prompt"]
    labels = pa.array([_json(record) for record in tasks.select(names).to_pylist()], pa.string())
    return pa.record_batch([tasks["verifier"], tasks["prompt"], labels], names=["datasource", "prompt", "label"])


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, default=str)
