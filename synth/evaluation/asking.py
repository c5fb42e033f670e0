"""Has models answer the items of an evaluation, one model after the other."""

import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Self

from synth.background import wait_for
from synth.data.output import Output
from synth.data.row import INDEX
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord
from synth.data.run.shard import Shard
from synth.data.stream import StreamSink
from synth.errors import Stopped
from synth.evaluation.job import EvaluationJob
from synth.evaluation.run import Verifiers, open_verifiers
from synth.generation.acceptance import Acceptance
from synth.generation.chat_model import ChatModel
from synth.generation.judge import Judge
from synth.generation.models import Model
from synth.generation.pipeline import drive
from synth.generation.runner import Run
from synth.progress import Progress, clock
from synth.stop import Stop


class Asking:
    """An evaluation under way. The judge and the verifiers are opened when a first item is asked, and then kept."""

    def __init__(self, job: EvaluationJob, models: Mapping[str, Model], progress: Progress, stop: Stop) -> None:
        self._job, self._models, self._progress, self._stop = job, models, progress, stop
        self._verifiers: Verifiers | None = None
        self._judge: Model | None = None
        self._stack = AsyncExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the verifiers' processes; a judge that was loaded here is freed."""
        wait_for(self._stack.aclose())
        if self._judge is not None:
            self._judge.close()

    def _opened(self) -> Verifiers:
        """The verifiers, tried on the first references."""
        if self._verifiers is None:
            job, judge = self._job, None
            if job.judges and job.judge is not None:
                if job.judge.running is None:
                    self._judge = job.judge
                here = max(job.roles(model).models_here() for model in self._models.values())
                judge = Judge(wait_for(job.judge.opened(self._progress, here)), job.judge_prompt)
            self._verifiers = wait_for(open_verifiers(self._stack, job.run.suites, judge))
        return self._verifiers

    def ask(self, name: str, model: Model, output: Output, before: Callable[[], object] = lambda: None) -> RunRecord:
        """Have a model answer what an output has not yet.

        A model that was not loaded before is freed at the end, unless it judges, too: the next one needs the room.

        Args:
            name: what it is called.
            model: the model.
            output: where the answers go.
            before: is called before the model is opened.

        Raises:
            UsageError: something else is there, or a verifier cannot be used.
            RunError: the model or a verifier broke off; what was answered is kept.
            Stopped: a person stopped it.
        """
        job, loaded = self._job, model.running is not None

        def make(place: Output) -> RunRecord:
            shard = job.shard(place)
            schema = job.run.schema if shard is None else job.run.schema.append(INDEX)
            with place.opened(job.record(model, place), schema) as sink:
                if sink.next < (job.run.total if shard is None else shard.size or 0):
                    verifiers = self._opened()
                    before()
                    chat_model = wait_for(model.opened(self._progress, job.roles(model).models_here()))
                    run = wait_for(self._ask(name, model, chat_model, verifiers, sink, shard))
                    if not run.complete:
                        raise Stopped(job.output.stopped())
            return sink.record

        try:
            return output.each(make)
        finally:
            if not loaded and not (self._judge is not None and self._judge.shares_weights(model)):
                model.close()

    async def _ask(
        self,
        name: str,
        model: Model,
        chat_model: ChatModel,
        verifiers: Verifiers,
        sink: StreamSink | RunDirectory,
        shard: Shard | None,
    ) -> Run:
        items = self._job.run
        run = Run(
            items.method(chat_model, verifiers),
            items.rows if shard is None else shard.rows(items.rows),
            sink,
            [chat_model.engine.usage],
            model.options.at_once,
            Acceptance(sink),
            items.total if shard is None else shard.size,
        )
        began = time.monotonic()
        await drive(run, f"eval {name}", self._progress, self._stop)
        if run.complete:
            seconds = max(time.monotonic() - began, 1e-6)
            self._progress.say(f"{name}: {clock(seconds)}, {run.completion_tokens / seconds:,.0f} tokens/s out")
        return run


def answers(
    model: Model, job: EvaluationJob, name: str, judge: Model | None, output: Output, progress: Progress
) -> RunRecord:
    """Have one model answer the items of an evaluation, as other processes are asked to.

    Args:
        model: the model.
        job: the evaluation, without its judge.
        name: what the model is called.
        judge: who judges where a suite asks for it.
        output: where the answers go.
        progress: is told how it goes.

    Raises:
        UsageError: something else is there, or a verifier cannot be used.
        RunError: the model or a verifier broke off; what was answered is kept.
        Stopped: a person stopped it.
    """
    with Asking(replace(job, judge=judge, output=output), {name: model}, progress, Stop()) as asking:
        return asking.ask(name, model, output)
