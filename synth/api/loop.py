"""The steps of `synth.iterate`: each is a function of `synth` in a directory of its own, which goes on by itself.

A round is done once it is in `rounds.json`. What a kill interrupts is the round under way: its steps that are finished
are found finished, the one that was under way goes on, and the rounds before are never looked at again.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from synth.api.dataset import Dataset
from synth.api.evaluate import evaluate
from synth.api.evaluation import Evaluation
from synth.api.magpie import magpie
from synth.api.mix import mix
from synth.api.self_output import self_output
from synth.api.train import train
from synth.data.files.names import unlike
from synth.data.mix import asked
from synth.data.plain import rows_or_texts
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_source
from synth.data.row import BASE, UNVERIFIED
from synth.data.run.record import RunRecord, read_record
from synth.data.write import replace_text
from synth.errors import UsageError
from synth.evaluation.job import ANSWERS
from synth.evaluation.rounds import FIRST, History, LearntTask, Round, Rule, Standing
from synth.evaluation.rounds_folder import RoundsFolder
from synth.evaluation.suites import Item
from synth.generation.inputs import need_references
from synth.generation.models import Model
from synth.methods.self_output import COLUMNS
from synth.progress import SILENT, Progress
from synth.seeds import seed_of
from synth.values import EarlierTasks

if TYPE_CHECKING:
    from synth.training.plan import TrainingPlan

T = TypeVar("T")
SEEDS = 2**32
"""How many seeds there are."""
_ELSEWHERE = ("prefix", "stop", "device", "trust_remote_code")
"""Settings of a training that are recorded as the model's, or decide nothing."""


@dataclass(frozen=True, slots=True)
class TaskRows:
    """The rows of a task.

    Attributes:
        learnt: its name, and what measures it.
        source: where they are.
        prompts: the rows.
    """

    learnt: LearntTask
    source: str
    prompts: PromptSet

    def known(self, items: Sequence[Item]) -> int:
        """How many items of a suite ask what some row asks."""
        rows = self.prompts.rows("known", {}, pa.schema([]))(0)
        questions = {asked(row.messages) for row in rows if row.fault is None and row.messages}
        return sum(asked(item.messages) in questions for item in items)


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is repeated of earlier tasks.

    Attributes:
        way: the latest model's own right answers to stored prompts, the human answers, what it asks itself, or nothing.
        share: rows of all earlier tasks together, for each row of the new one.
    """

    way: EarlierTasks
    share: float

    def check(self, tasks: Sequence[TaskRows]) -> None:
        """Refuse tasks that cannot be repeated.

        Raises:
            UsageError: there are some.
        """
        if not self.share:
            return
        for task in tasks[:-1] if self.way == "gold" else ():
            need_references(task.prompts, "`earlier` gold repeats them")
        if self.way == "own" and len(tasks) > 1:
            columns = [[one for one in task.prompts.schema(COLUMNS) if one.name not in BASE.names] for task in tasks]
            try:
                pa.unify_schemas(list(map(pa.schema, columns)), promote_options="permissive")
            except pa.ArrowException as error:
                raise UsageError(f"rows of these tasks cannot be mixed: {error}; rename the column in one") from error


@dataclass(frozen=True, slots=True)
class RoundSteps:
    """The arguments of the functions that a round calls, apart from what changes from round to round.

    Attributes:
        answers: of `synth.self_output`.
        limit: rows of a task to take.
        training: of `synth.train`.
        measuring: of `synth.evaluate`.
        replay: rows of replay from the first model, where they are given.
        replay_rows: else how many are made; 0 is none.
    """

    answers: Mapping[str, Any]
    limit: int | None
    training: Mapping[str, Any]
    measuring: Mapping[str, Any]
    replay: str | None
    replay_rows: int


@dataclass(frozen=True, slots=True)
class Loop:
    """A loop of rounds, over one task or several.

    Attributes:
        first: the model before the first round.
        tasks: what it learns, in this order.
        rule: when the rounds of a task end.
        rehearsal: what is repeated of earlier tasks.
        steps: how it answers, is trained and measured.
        seed: decides every draw.
        keep_models: whether the weights of all rounds are kept.
        progress: is told how it goes.
    """

    first: Model
    tasks: Sequence[TaskRows]
    rule: Rule
    rehearsal: Rehearsal
    steps: RoundSteps
    seed: int
    keep_models: bool
    progress: Progress

    def settings(self, suites: Mapping[str, str]) -> dict[str, Any]:
        """The settings that determine the rounds, beside the first model and how it answers (JSON values).

        Args:
            suites: for each suite a digest of what is in it.
        """
        steps, given = self.steps, self.steps.replay
        known: dict[str, Any] = {"rows": steps.replay_rows} if given is None else {"input": _fingerprint(given)}
        several = {"rounds": self.rule.rounds, "earlier": self.rehearsal.way, "earlier_share": self.rehearsal.share}
        return {
            "tasks": {task.learnt.name: task.prompts.fingerprint for task in self.tasks},
            "suites": dict(suites),
            "new_suites": [name for task in self.tasks for name in task.learnt.suites],
            "eval_tokens": steps.measuring["max_tokens"],
            "patience": self.rule.patience,
            "keep": self.rule.keep,
            "replay": known,
            "training": {name: value for name, value in steps.training.items() if name not in _ELSEWHERE},
            "seed": self.seed,
            **(several if len(self.tasks) > 1 else {}),
        }

    def plan(self) -> "TrainingPlan":
        """What the training of a round of the first task would be, were every task answered as a human did.

        Raises:
            UsageError: something is wrong with the settings of the training.
        """
        rows = [*_as_humans(self.tasks[0].prompts)]
        replay = self.steps.replay or (rows[:1] if self.steps.replay_rows else None)
        training = self.steps.training
        return train(rows, self.first.name, replay=replay, dry_run=True, progress=SILENT, **training).plan

    def run(self, folder: RoundsFolder) -> History:
        """Make the rounds that are not done yet.

        Raises:
            UsageError: something is wrong with what a step was given.
            RunError: a step broke off; what was finished is kept.
            Stopped: a person stopped it.
        """
        history = self._begun(folder)
        while (at := history.standing()).task < len(self.tasks):
            replay = self._replay(folder)
            needed = {at.model, at.best}
            folder.settle(history.rounds, at.best, needed, keep_models=self.keep_models)
            done = self._round(folder, at, replay)
            history = History(history.tasks, self.rule, history.before, [*history.rounds, done])
            folder.write(history)
            self._tell(history)
        needed = {at.best, len(history.rounds)}  # more rounds, asked for later, begin with the last one
        folder.settle(history.rounds, at.best, needed, keep_models=self.keep_models)
        self._write_scores(folder, history)
        return history

    def _begun(self, folder: RoundsFolder) -> History:
        """What is done already; at least the first model is measured."""
        learnt = [task.learnt for task in self.tasks]
        if folder.done is not None:
            before, rounds = folder.done
            if len(self.tasks) == 1 and len(rounds) > self.rule.rounds:
                raise UsageError(f"`rounds` {self.rule.rounds}: {folder.path} has {len(rounds):,} already")
            if rounds:
                self.progress.say(f"continuing {folder.path}: {len(rounds):,} rounds are done")
            return History(learnt, self.rule, before, rounds)
        self.progress.say("measuring what the model can do before the first round")
        history = History(learnt, self.rule, self._measured(folder, None))
        folder.write(history)
        return history

    def _replay(self, folder: RoundsFolder) -> str | None:
        """The rows of replay from the first model, which it is asked for before the first round."""
        if self.steps.replay is not None or not self.steps.replay_rows:
            return self.steps.replay
        rows, tokens = self.steps.replay_rows, self.steps.answers["max_tokens"]
        place = folder.path / "replay"
        if (there := read_record(place)) is not None and there.finished is not None:
            return str(place)
        magpie(self.first, rows=rows, output=place, max_tokens=tokens, seed=self.seed, progress=self.progress)
        return str(place)

    def _round(self, folder: RoundsFolder, at: Standing, replay: str | None) -> Round:
        """One round: answer, train, measure."""
        number, task = at.number, self.tasks[at.task]
        of = f" of {task.learnt.name}" if len(self.tasks) > 1 else ""
        self.progress.say(f"round {number}{of}: {task.prompts.total:,} tasks are answered")
        place, seed, answers = folder.round(number), (self.seed + number) % SEEDS, self.steps.answers
        with self._model(folder, at.model) as model:
            earlier = self._earlier(folder, at, model)
            limit, progress = self.steps.limit, self.progress
            own = self_output(
                model, task.source, output=place / "answers", limit=limit, seed=seed, progress=progress, **answers
            )
        answered = _record(own)
        made = [answered, *(map(_record, earlier) if not at.of_task else ())]
        acceptance, seconds = _acceptance(answered), sum(one.seconds for one in made)
        if not answered.accepted:
            return Round(number, at.task, acceptance, 0, 0, seconds, None)
        rows = self._mixed(own, earlier, place / "mixed", seed)
        training = self.steps.training
        trained = train(
            rows, model.name, output=place / "model", replay=replay, seed=seed, progress=self.progress, **training
        )
        scores = self._measured(folder, number)
        measured = read_record(folder.scores / ANSWERS / f"round-{number}")
        seconds += trained.record.seconds + (measured.seconds if measured else 0.0)
        return Round(number, at.task, acceptance, trained.record.accepted, trained.steps, seconds, scores)

    def _model(self, folder: RoundsFolder, number: int) -> Model:
        """The model of a round; 0 is the first."""
        return self.first.retrained(folder.model(number)) if number else self.first

    def _measured(self, folder: RoundsFolder, number: int | None) -> dict[str, Any]:
        """The scores of a round's model, compared with the first; of the first itself where there is no number."""
        models = {FIRST: self.first}
        if number is not None:
            models[f"round-{number}"] = self._model(folder, number)
        found = evaluate(
            models=models, output=folder.scores, kl=number is not None, progress=self.progress, **self.steps.measuring
        )
        scores: dict[str, Any] = found.scores["models"][-1]
        return scores

    def _earlier(self, folder: RoundsFolder, at: Standing, model: Model) -> list[Dataset]:
        """What is repeated of earlier tasks: made before the first round of a task, by the latest model."""
        if not at.task or self.rehearsal.way == "none" or not self.rehearsal.share:
            return []
        place = folder.path / "earlier" / f"{at.number - at.of_task}"
        earlier = self.tasks[: at.task]
        wanted = math.ceil(self.rehearsal.share * self.tasks[at.task].prompts.total)
        each = math.ceil(wanted / len(earlier))
        tokens = self.steps.answers["max_tokens"]
        if self.rehearsal.way == "magpie":
            sets = [place / "magpie"]
            if not at.of_task:
                seed = (self.seed + at.number) % SEEDS
                magpie(model, rows=wanted, output=sets[0], max_tokens=tokens, seed=seed, progress=self.progress)
        else:
            suffix = ".jsonl" if self.rehearsal.way == "gold" else ""
            names = unlike([task.learnt.name.replace(".", "-") for task in earlier])  # which is no suffix of a file
            sets = [place / f"{name}{suffix}" for name in names]
            for task, output in zip(earlier, sets, strict=True) if not at.of_task else ():
                self._rehearsed(task, each, output, at, model)
        found = [Dataset(one) for one in sets]
        for made in found:
            if not len(made):
                self.progress.say(f"{made.path} has no rows: there was no answer to repeat of that task")
        return [made for made in found if len(made)]

    def _rehearsed(self, task: TaskRows, rows: int, output: Path, at: Standing, model: Model) -> None:
        """Some prompts of an earlier task with the latest model's right answers, or the human ones."""
        chance = Random(seed_of(self.seed, task.learnt.name, at.number))
        self.progress.say(f"{rows:,} tasks of {task.learnt.name} again")
        if self.rehearsal.way == "gold":
            output.parent.mkdir(parents=True, exist_ok=True)
            replace_text(output, "".join(_some(list(_human(task.prompts)), rows, chance)))
            return
        chosen = _some(range(task.prompts.total), rows, chance)
        stored = pa.Table.from_batches(open_source(task.source).batches()).take(chosen)
        seed = (self.seed + at.number) % SEEDS
        self_output(model, stored, output=output, seed=seed, progress=self.progress, **self.steps.answers)

    def _mixed(self, own: Dataset, earlier: Sequence[Dataset], output: Path, seed: int) -> Dataset:
        """The rows of a round: the task's, and among them those of earlier tasks that ask something else."""
        questions = {asked(row["messages"]) for row in own} if earlier else set()
        others = [one for one in earlier if any(asked(row["messages"]) not in questions for row in one)]
        for one in earlier:
            if one not in others:
                self.progress.say(f"{one.path} asks nothing but what the rows of this round do: it is left out")
        if not others:
            return own
        shares = [(one, self.rehearsal.share / len(others)) for one in others]
        return mix(own, shares, output=output, oversample=True, seed=seed, progress=self.progress)

    def _tell(self, history: History) -> None:
        last = history.standing().judged[-1]
        shares = {"accepted": last.round.acceptance, "new": last.new, "kept": (last.round.scores or {}).get("kept")}
        told = " · ".join(f"{name} {share:.1%}" for name, share in shares.items() if share is not None)
        ends = f"; it is the last of its task: {last.ends}" if last.ends else ""
        self.progress.say(f"round {last.round.number}: {told}{ends}")

    def _write_scores(self, folder: RoundsFolder, history: History) -> None:
        """Bring the scores of all rounds together in the evaluation, which compared one after the other."""
        place = folder.scores
        told = json.loads((place / "scores.json").read_text(encoding="utf-8"))
        models = [dict(history.before), *(one.scores for one in history.rounds if one.scores is not None)]
        if told["models"] != models:
            text = json.dumps(told | {"models": models}, indent=2, ensure_ascii=False)
            replace_text(place / "scores.json", f"{text}\n")
            Evaluation(place).plots()


def _record(made: Dataset) -> RunRecord:
    """The record of a data set that a step has made; of rows that were only written there is next to nothing."""
    return made.record or RunRecord("iterate", {})


def _acceptance(answers: RunRecord) -> float | None:
    """Share of the tasks that the model answered rightly itself, in its samples; None where nothing judged them."""
    if UNVERIFIED in answers.verdicts:
        return None
    fallen_back = sum(count for method, count in answers.methods.items() if method != "self-output")
    return 1 - (answers.rejected + fallen_back) / answers.next if answers.next else 0.0


def _some(among: Sequence[T], count: int, chance: Random) -> list[T]:
    """Some of them, in their order; all where there are no more."""
    places = sorted(chance.sample(range(len(among)), min(count, len(among))))
    return [among[place] for place in places]


def _fingerprint(source: str) -> str:
    """A digest of a source's rows."""
    return open_prompts(rows_or_texts(open_source(source))).fingerprint


def _as_humans(prompts: PromptSet) -> Iterator[dict[str, Any]]:
    """Conversations that stand for those of a round: with human answers, or the tasks' texts where there are none."""
    for row in prompts.rows("plan", {}, pa.schema([]))(0):
        if row.fault is None and row.messages:
            answer = {"role": "assistant", "content": row.reference or str(row.messages[-1].get("content") or "")}
            yield {"messages": [*row.messages, answer]}


def _human(prompts: PromptSet) -> Iterator[str]:
    """The rows of a task with their human answers, as JSON lines; those without one are left out."""
    for row in prompts.rows("gold", {}, pa.schema([]))(0):
        if row.fault is None and row.reference:
            answer = {"role": "assistant", "content": row.reference}
            told = {"id": row.id, "parent": row.parent, "method": "gold", "messages": [*row.messages, answer]}
            yield json.dumps(told, ensure_ascii=False) + "\n"
