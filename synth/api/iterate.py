"""`synth.iterate`: rounds in which a model answers tasks, learns its right answers, and answers again."""

import inspect
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any

from filters.names import did_you_mean
from filters.verdict import VerifierSettings
from filters.verifiers.registry import entry_of
from synth.api.iteration import Iteration
from synth.api.loop import Loop, Rehearsal, RoundSteps, TaskRows
from synth.api.models import used
from synth.api.places import Source, several, source_at
from synth.api.roles import VerifierChoice, roles_for
from synth.api.self_output import refuse_verifier
from synth.api.train import train
from synth.data.destination import check_directory
from synth.data.files.memory import temporary
from synth.data.files.names import short_name, unlike
from synth.data.run.record import RunRecord, without
from synth.data.run.versions import versions
from synth.data.store.address import is_address, shown
from synth.engines.base import Sampling
from synth.errors import Stopped, UsageError
from synth.evaluation.names import split_name
from synth.evaluation.rounds import LearntTask, Rule
from synth.evaluation.rounds_card import rounds_card
from synth.evaluation.rounds_folder import RoundsFolder, is_left_by_a_loop
from synth.evaluation.suites import Suite, open_suites
from synth.generation.inputs import NO_VERIFIER, read_prompts
from synth.generation.models import Model, ModelName
from synth.methods.self_output import SelfOutputSettings
from synth.progress import Progress
from synth.training.fresh import is_fresh
from synth.values import (
    Count,
    CountFromZero,
    EarlierTasks,
    Limit,
    Positive,
    ReplayLoss,
    Rows,
    Samples,
    Seed,
    Share,
    Steps,
    Temperature,
    Tokens,
    TopP,
    Window,
    checked,
)

_ITS = "it is a setting of the loop itself"
_ROUNDS = "each round sets it itself"
_MEASURED = "rounds are measured when they are done: `suites`, `new_suites`, `keep`"
_SFT = "rounds learn right answers"
OWN = {
    **dict.fromkeys(("source", "model", "output", "replay_sources", "dry_run", "progress", "limit"), _ROUNDS),
    **dict.fromkeys(("text_column", "prompt_column", "reference_column", "prefix", "stop"), _ROUNDS),
    **dict.fromkeys(("replay", "replay_loss", "steps", "epochs", "learning_rate", "tokens_per_batch", "lora"), _ITS),
    **dict.fromkeys(("seed", "device", "trust_remote_code", "restart"), _ITS),
    **dict.fromkeys(("suites", "new_suites", "eval_every", "eval_limit", "eval_tokens", "keep"), _MEASURED),
    **dict.fromkeys(("method", "beta", "teacher", "temperature", "max_tokens", "time_limit"), _SFT),
    **dict.fromkeys(("reward", "reward_weights", "generations", "rollout_engine"), _SFT),
}
"""Settings of `synth.train` that are not passed on, and why."""


@checked
def iterate(
    model: Model | ModelName,
    source: Source | None = None,
    *,
    tasks: str | Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    rounds: Count = 3,
    patience: Count = 1,
    keep: Share | None = None,
    suites: str | Sequence[str] = (),
    new_suites: str | Sequence[str] = (),
    eval_limit: Rows | None = None,
    eval_tokens: Tokens = 1024,
    verifier: VerifierChoice = None,
    samples: Samples = 8,
    select: str = "first",
    fallback: str | Sequence[str] = ("drop",),
    temperature: Temperature = 0.7,
    top_p: TopP = 0.95,
    max_tokens: Tokens = 2048,
    replay: Source | None = None,
    replay_rows: CountFromZero = 1000,
    replay_loss: ReplayLoss = "nll",
    earlier: EarlierTasks = "own",
    earlier_share: Share = 0.1,
    steps: Steps | None = None,
    epochs: Positive = 1.0,
    learning_rate: Positive | None = None,
    tokens_per_batch: Window = 8192,
    lora: Count | None = None,
    train_args: Mapping[str, Any] = MappingProxyType({}),
    seed: Seed = 0,
    prompt_column: str | None = None,
    reference_column: str | None = None,
    limit: Limit | None = None,
    keep_models: bool = False,
    dry_run: bool = False,
    restart: bool = False,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> Iteration:
    """Let a model answer tasks, train it on what is right, and again: iterative self-output (arXiv 2510.18874).

    Each round the current model answers the tasks anew, its right answers are what it is trained on next, beside replay
    from the first model, and it is measured. A round is taken where its model is better at the new task than any
    before. Of several `tasks`, learnt one after the other, earlier ones are repeated: by default the latest model's own
    right answers to some of their prompts (On-Policy Replay, arXiv 2605.29495). An interrupted loop in the output is
    continued, with the same rounds; a larger `rounds` extends one of a single task.

    Args:
        model: the first model, by name or from `synth.load`, which says how its answers are drawn.
        source: the tasks.
        tasks: or several sets of tasks, learnt in this order, each by rounds of its own; `new_suites` are as many.
        output: the directory for rounds, models and scores; needed but for `dry_run`.
        rounds: of a set of tasks, at most.
        patience: rounds in a row that gain nothing, after which they end.
        keep: they end, too, with a model that has less than this share of what `suites` measures of the first, which is
            not taken.
        suites: old abilities to measure: suites as for `synth.evaluate`.
        new_suites: suites of the new task, which say what a round gains.
        eval_limit: items taken of each suite.
        eval_tokens: most tokens of an answer to a suite.
        verifier: what judges answers to tasks; by default what all rows name, as known benchmarks do.
        samples: answers drawn for each task in each round, at most.
        select: which right answer is taken, as for `synth.self_output`.
        fallback: what is tried for tasks with no right answer, as for `synth.self_output`.
        temperature: of the answers.
        top_p: of the answers.
        max_tokens: most tokens of an answer.
        replay: rows of replay from the first model, an objective of its own in every training; by default
            `replay_rows` that it is asked for at the start, as by `synth.magpie`.
        replay_rows: how many; 0 is none.
        replay_loss: the loss on them, as for `synth.train`; a divergence is one from the model that the round begins
            with.
        earlier: what of earlier tasks is mixed into a later one: own, the latest model's right answers to some of their
            prompts; gold, the human answers; magpie, what the latest model asks itself and answers; or none.
        earlier_share: rows of all earlier tasks together, for each row of the later one.
        steps: optimizer steps of a round; by default `epochs` says how many.
        epochs: passes over a round's rows.
        learning_rate: the highest learning rate; 1e-5 by default, for adapters 2e-4.
        tokens_per_batch: tokens of a batch.
        lora: rank of low-rank adapters, merged at the end of each round.
        train_args: further settings of `synth.train`, by their names there.
        seed: decides every draw of the loop; each round draws others.
        prompt_column: the column with the prompt, if it is not recognised.
        reference_column: the column with the human answer, likewise.
        limit: rows of each set of tasks to take.
        keep_models: keep the weights of all rounds, not only those of the best and of the last.
        dry_run: make no round, and show what one would be trained on at most.
        restart: throw away what an earlier loop left in the output.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings, the tasks or a suite; no model was loaded.
        RunError: a step broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    place = _place(output, dry_run=dry_run)
    _refuse_read_once([*several(suites), *several(new_suites)], replay)
    opened = _suites(several(suites), several(new_suites), eval_limit, keep)
    with ExitStack() as stack:
        first = _first(stack.enter_context(used(model)))
        reading: dict[str, Any] = {"prompt_column": prompt_column, "reference_column": reference_column}
        found = _tasks(_sources(source, tasks), opened, stack, progress, limit=limit, **reading)
        rehearsal = Rehearsal(earlier, earlier_share)
        rehearsal.check(found)
        _tell_known(found, opened, progress)
        if place is not None and restart:
            _refuse_thrown_away(place, [first.name, *(task.source for task in found), replay])
        sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p)
        drawn = SelfOutputSettings(samples=samples, select=select, fallback=several(fallback), sampling=sampling)
        judged = _judged(first, found, verifier, drawn)
        answers: dict[str, Any] = {"verifier": verifier, "samples": samples, "select": select}
        answers |= {"fallback": drawn.fallback, "temperature": temperature, "top_p": top_p, "max_tokens": max_tokens}
        training = _training(first, train_args, replay_loss if replay is not None or replay_rows else None)
        training |= {"steps": steps, "epochs": epochs, "learning_rate": learning_rate}
        training |= {"tokens_per_batch": tokens_per_batch, "lora": lora}
        asked: dict[str, Any] = {"limit": eval_limit, "max_tokens": eval_tokens}
        loop = Loop(
            first,
            found,
            Rule(rounds, patience, keep),
            rehearsal,
            RoundSteps(
                answers | reading,
                limit,
                training,
                asked | {"suites": several(suites), "new": several(new_suites)},
                None if replay is None else stack.enter_context(source_at(replay)),
                replay_rows,
            ),
            seed,
            keep_models,
            progress,
        )
        settings = judged | loop.settings({suite.name: suite.fingerprint for suite in opened})
        plan = loop.plan()
        if place is None:
            return Iteration(plan, first.name)
        record = RunRecord(
            "iterate",
            settings,
            first.title,
            versions("transformers", "torch", *first.runs_in.packages),
            source=", ".join(task.prompts.source.source for task in found),
            asked=rounds,
        )
        with RoundsFolder(place, record, restart=restart) as folder:
            try:
                history = loop.run(folder)
            except (Stopped, KeyboardInterrupt) as stopped:
                if not folder.begun:
                    raise Stopped("stopped; what an earlier loop left is still there") from stopped
                again = ", without `restart`," if restart else ""
                raise Stopped(f"stopped; run this again{again} to continue") from stopped
            folder.finish(history.rounds, rounds_card(folder.record, history))
        return Iteration(plan, first.name, history, place)


def _place(output: str | os.PathLike[str] | None, *, dry_run: bool) -> Path | None:
    if dry_run:
        return None
    if output is None:
        raise UsageError("say where rounds go: `output` DIR (or `dry_run`)")
    if is_address(os.fspath(output)):
        raise UsageError(f"`output` {shown(os.fspath(output))}: rounds are made on this machine; copy what is to stay")
    check_directory(os.fspath(output), "a loop of rounds")
    return Path(output)


def _refuse_read_once(suites: Sequence[str], replay: Source | None) -> None:
    """Refuse what every round would read, or draw, anew.

    Raises:
        UsageError: there is some.
    """
    if any(split_name(suite)[1] == "-" for suite in suites) or (isinstance(replay, str) and replay == "-"):
        raise UsageError("every round reads suites and replay again: give a file in place of standard input")
    if is_fresh(replay):
        raise UsageError(
            "`replay` fresh would be drawn from the model that a round begins with, not from the first: give a set "
            "(./fresh is one of that name), or `replay_rows`"
        )


def _refuse_thrown_away(place: Path, given: Sequence[Source | None]) -> None:
    """Refuse to throw away what the loop itself is given.

    Raises:
        UsageError: some of it is of the earlier loop in the output.
    """
    for path in given:
        if isinstance(path, str | os.PathLike) and is_left_by_a_loop(place, path):
            raise UsageError(
                f"{os.fspath(path)} is of the loop in {place}, which `restart` throws away: choose another `output`"
            )


def _sources(source: Source | None, tasks: str | Sequence[str]) -> list[Source]:
    """The sets of tasks.

    Raises:
        UsageError: there is none, or they are given in both ways.
    """
    named = several(tasks)
    if (source is None) == (not named):
        raise UsageError("say what is learnt: one set of tasks, or several, as `tasks`")
    sources: list[Source] = [*named] if source is None else [source]
    if any(isinstance(one, str) and one == "-" for one in sources):
        raise UsageError("every round reads the tasks again: give a file in place of standard input")
    return sources


def _suites(old: Sequence[str], new: Sequence[str], limit: int | None, keep: float | None) -> list[Suite]:
    """The suites, which are read once to check them.

    Raises:
        UsageError: one cannot be read, or there are none of a kind that is needed.
    """
    if not new:
        raise UsageError("`new_suites` say what a round gains, and whether another is made: give one")
    if keep is not None and not old:
        raise UsageError("`keep` is a share up to 100% of what `suites` measures: give both")
    opened = open_suites(old, new, None, VerifierSettings(""), limit)
    for suite in opened:
        if any(entry_of(item.verifier.name).asks_model for item in suite.items):
            raise UsageError(f"suite {suite.name} needs a model that judges, which rounds do not have: leave it out")
    return opened


def _first(model: Model) -> Model:
    """The first model, where it can be trained.

    Raises:
        UsageError: it is on a server, or has an adapter.
    """
    if not model.runs_in.here:
        raise UsageError("`engine`: each round has new weights, which a server does not take: vllm or transformers")
    if model.options.adapter is not None:
        raise UsageError("`adapter`: rounds train the whole model: merge it first (peft: merge_and_unload)")
    return model


def _tasks(
    sources: Sequence[Source],
    suites: Sequence[Suite],
    stack: ExitStack,
    progress: Progress,
    **reading: Any,
) -> list[TaskRows]:
    """The sets of tasks, each with what measures it: of several each has one suite, of one alone it has all.

    Raises:
        UsageError: one cannot be read, or there are not as many suites.
    """
    new = [suite.name for suite in suites if suite.new]
    if len(sources) > 1 and len(new) != len(sources):
        raise UsageError(
            f"`new_suites`: {len(sources):,} sets of tasks need as many suites, in the same order, not {len(new):,}"
        )
    of_each = [(name,) for name in new] if len(sources) > 1 else [tuple(new)]
    paths = [stack.enter_context(source_at(one)) for one in sources]
    names = unlike(["tasks" if temporary(path) else short_name(path) for path in paths])
    return [
        TaskRows(LearntTask(name, its), path, read_prompts(path, progress, **reading))
        for name, its, path in zip(names, of_each, paths, strict=True)
    ]


def _tell_known(tasks: Sequence[TaskRows], suites: Sequence[Suite], progress: Progress) -> None:
    for task in tasks:
        for suite in (one for one in suites if one.name in task.learnt.suites):
            if known := task.known(suite.items):
                many = f"{known:,} of its {len(suite.items):,} items"
                progress.say(f"{suite.name}: the model is trained on {many}, which then tell nothing of new ones")


def _judged(
    model: Model, tasks: Sequence[TaskRows], verifier: VerifierChoice, drawn: SelfOutputSettings
) -> dict[str, Any]:
    """How tasks are answered and judged, for `run.json`; checked before any model is loaded.

    Raises:
        UsageError: something is wrong with it, or nothing judges the answers to some tasks.
    """
    settings = without(drawn.record(), "seed")
    for task in tasks:
        with roles_for(model, task.prompts, verifier, unverified=True) as roles:
            refuse_verifier(roles.verifier, drawn)
            settings |= roles.record() | ({} if roles.verifier else {"verifier": NO_VERIFIER})
    model.unopened()
    return settings


def _training(model: Model, given: Mapping[str, Any], replay_loss: ReplayLoss | None) -> dict[str, Any]:
    """The settings of the training that follow from others, and those that are passed on.

    Raises:
        UsageError: there is no such setting, or it is not passed on.
    """
    known = inspect.signature(train).parameters
    for name in given:
        if name in OWN:
            raise UsageError(f"`train_args` {name}: {OWN[name]}")
        if name not in known:
            near = did_you_mean(name, (one for one in known if one not in OWN))
            raise UsageError(f"`train_args` {name}: training has no such setting{near}")
    found: dict[str, Any] = {"prefix": model.prefix, "stop": model.stop, "device": model.options.device}
    found |= {"trust_remote_code": model.trust_remote_code, **_json_values(given)}
    return found if replay_loss is None else found | {"replay_loss": replay_loss}


def _json_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the record of a loop can hold them.

    Raises:
        UsageError: it cannot hold one.
    """
    found = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}
    for name, value in found.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise UsageError(f"`train_args` {name} is recorded as JSON, which has no {value!r}") from error
    return found
