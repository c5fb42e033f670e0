"""A run in which a reward model scores every row of a data set."""

import time
from collections import Counter
from functools import cache

from synth.curation.rewards import COLUMNS, RewardModel, open_reward_model, rewarded
from synth.data.output import Output, closing_lines
from synth.data.prompts import PromptSet
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.data.run.versions import versions
from synth.data.stream import StreamSink
from synth.engines.loading import remote_code
from synth.errors import Stopped, UsageError
from synth.generation.models import Model
from synth.progress import Progress, clock
from synth.stop import Stop


def rate_rewards(
    model: Model, prompts: PromptSet, output: Output, missing: Counter[str], *, progress: Progress
) -> RunRecord:
    """Rate every row, or continue where an earlier call was stopped.

    Args:
        model: a reward model; it is loaded for this run alone.
        prompts: the rows.
        output: where they go.
        missing: counts, by column, rows without a number.
        progress: is told how it goes.

    Returns:
        What is known of the run, now that it is complete.

    Raises:
        UsageError: it is no reward model, or is to run elsewhere than in transformers.
        RunError: the run broke off; what was finished is kept.
        Stopped: a person stopped it.
    """
    if model.engine != "auto" and not model.runs_in.classifies:
        raise UsageError(f"`by` reward: {model.kind} runs no reward models; leave `engine` at auto")
    if model.options.adapter is not None:
        raise UsageError("`by` reward takes no `adapter`: merge it into the reward model (peft: merge_and_unload)")
    settings = {
        "by": "reward",
        "revision": model.record()["revision"],
        "dtype": model.options.dtype,
        "max_length": model.options.max_length,
        "input": prompts.fingerprint,
    }
    loaded = cache(lambda: _loaded(model, progress))

    def make(place: Output) -> RunRecord:
        record = RunRecord(
            "rate", settings, model.given, versions("transformers", "torch"), source=prompts.source.source
        )
        rows = prompts
        if place.shard is not None:
            shard = place.shard.over(prompts.total)
            record.shard, rows = shard.record(), prompts.part(shard)
        stop = Stop()
        with stop.on_signals(), place.opened(record, prompts.schema(COLUMNS)) as sink:
            if sink.next >= rows.total:
                progress.say(f"{place.called or 'done'} already holds {sink.record.accepted:,} rows")
                return sink.record
            reward_model = loaded()
            began, before = time.monotonic(), sink.next
            _rate(reward_model, rows, sink, missing, progress, stop)
            closing_lines(sink.record, sink.next, place, progress)
            seconds = max(time.monotonic() - began, 1e-6)
            progress.say(f"{clock(seconds)}: {(sink.next - before) / seconds:,.1f} rows/s")
            if sink.next < rows.total:
                raise Stopped(place.stopped())
            return sink.record

    return output.each(make)


def _rate(
    model: RewardModel,
    prompts: PromptSet,
    sink: StreamSink | RunDirectory,
    missing: Counter[str],
    progress: Progress,
    stop: Stop,
) -> None:
    """Rate rows block by block until there are no more, or a stop is requested; a second request abandons the block."""
    ends = False

    def answer() -> None:
        nonlocal ends
        if ends:
            raise KeyboardInterrupt
        ends = True
        progress.say("finishing the current rows; once more to abandon them")

    with stop.answered_by(answer), progress.meter("rate") as meter:
        for batch, rejected in rewarded(model, prompts, sink.next):
            missing["reward"] += batch["reward"].null_count
            sink.extend(batch, rejected)
            meter.show(sink.next, prompts.total, "")
            if ends:
                break


def _loaded(model: Model, progress: Progress) -> RewardModel:
    progress.say(f"loading {model.name}")
    with remote_code(allowed=model.trust_remote_code):
        loaded = open_reward_model(model.name, model.options)
    progress.say(loaded.description)
    return loaded
