"""The steps of every generating command: check, open, run, summarise."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from synth.background import wait_for
from synth.data.output import Output, closing_lines
from synth.data.row import ANSWERED, BASE, INDEX, RENDERING, Row, with_parts
from synth.data.run.record import RunRecord
from synth.data.run.shard import Shard
from synth.data.run.versions import versions
from synth.engines.base import EngineOptions
from synth.errors import RunError, Stopped
from synth.generation.acceptance import ANYTHING, Acceptance, Rules
from synth.generation.asking import by_row
from synth.generation.chat_model import renders
from synth.generation.roles import OpenRoles, Roles
from synth.generation.runner import Method, Run, Sink
from synth.generation.verification import Verifier, check_references, open_verifier
from synth.progress import Meter, Progress, clock
from synth.stop import Stop

if TYPE_CHECKING:
    from synth.data.prompts import PromptSet

FIRST = 200
"""References that are checked before a model is loaded."""


Rows = Callable[[int], Iterator[Row]]
"""Rows from any index on."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one generating command does, beside running models.

    Attributes:
        command: its name.
        settings: those that determine its rows, beside the roles (JSON values).
        method: makes the method for the roles; raises UsageError for settings that cannot work.
        rows: makes, from all settings and the model's name, the rows to complete, from an index on.
        schema: the columns of what comes out.
        target: accepted rows wanted, or None.
        prompts: the input rows, or None where there are none.
        rules: what rows are taken by.
        check_references: whether the references of `prompts` are looked at before a model is loaded.
        started: is told of the run before its first row.
        answers: whether the model answers rows (`ChatModel.put`), so that they say what was drawn and how it was asked.
        also_read: files and directories that are read, where the source of `prompts` is not the name of one.
    """

    command: str
    settings: dict[str, Any]
    method: Callable[[OpenRoles], Method]
    rows: Callable[[dict[str, Any], str], Rows]
    schema: pa.Schema = BASE
    target: int | None = None
    prompts: "PromptSet | None" = None
    rules: Rules = ANYTHING
    check_references: bool = True
    started: Callable[[Run], None] = lambda _: None
    also_read: Sequence[str] = ()
    answers: bool = True

    @property
    def total(self) -> int | None:
        """How many rows there are to work on, where that is known."""
        return self.prompts.total if self.prompts else None


def prompt_job(
    command: str,
    prompts: "PromptSet",
    added: pa.Schema,
    settings: dict[str, Any],
    method: Callable[[OpenRoles], Method],
) -> Job:
    """A job that completes the rows of a data set one by one.

    Args:
        command: its name, and that of its method.
        prompts: the rows.
        added: the columns that the method adds.
        settings: those that determine the rows, beside the roles and the input.
        method: as in `Job`.
    """
    return Job(
        command,
        settings | {"input": prompts.fingerprint},
        method,
        rows=lambda recorded, _: prompts.rows(command, recorded, added),
        schema=prompts.schema(added),
        prompts=prompts,
    )


def generate(
    job: Job,
    roles: Roles,
    output: Output,
    *,
    progress: Progress = Progress(),  # noqa: B008 (it is frozen)
) -> RunRecord:
    """Run a job to its end, or continue it where an earlier call was stopped.

    Args:
        job: what is done.
        roles: the models and the verifier. Models stay open: their owner closes them.
        output: where the rows go.
        progress: is told how it goes.

    Returns:
        What is known of the run, now that it is complete.

    Raises:
        UsageError: something is wrong with the settings; no model was loaded.
        RunError: the run broke off, or fell short of its target; what was finished is kept.
        Stopped: a person stopped it.
    """
    making = _Making(job, roles, progress)
    output.refuse_early(lambda: making.record(output))
    method_of(job, roles, roles.unopened())  # wrong settings are found before a model is loaded
    try:
        return output.each(making.make)
    finally:
        wait_for(making.close())


@dataclass
class _Making:
    """A job under way, with what is prepared once for all outputs of its rows.

    Attributes:
        job: what is done.
        roles: the models and the verifier.
        progress: is told how it goes.
        verifier: in worker processes, opened when it is first needed; None before, or where there is none.
    """

    job: Job
    roles: Roles
    progress: Progress
    verifier: Verifier | None = None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """All that determines the rows."""
        return self.roles.record() | self.job.settings

    def shard(self, output: Output) -> Shard | None:
        """The part of the rows that goes to an output; None is all."""
        job = self.job
        return output.shard and output.shard.over(job.total if job.target is None else None, job.rules.kinds)

    def record(self, output: Output) -> RunRecord:
        """The record of a run to an output that has no rows yet."""
        job, roles, shard = self.job, self.roles, self.shard(output)
        return RunRecord(
            job.command,
            self.settings,
            roles.models["model"].title if "model" in roles.models else None,
            versions(*roles.packages()),
            source=job.prompts.source.source if job.prompts else None,
            asked=job.target,
            total=None if output.first is None else job.total,
            devices=roles.devices(),
            shard=shard.record() | job.rules.record() if shard else None,
        )

    def make(self, output: Output) -> RunRecord:
        """Make the rows of one output; see `generate`."""
        job, first, shard, progress = self.job, output.first, self.shard(output), self.progress
        schema = schema_of(job, self.roles)
        columns = schema.append(INDEX) if shard else schema
        with output.opened(self.record(output), columns, also_read=job.also_read, previews=True) as sink:
            record = sink.record
            target = shard.goal(job.target) if shard else job.target
            if first is not None:
                job, target = replace(job, rows=_only(first, job.rows)), None
            acceptance = Acceptance(sink, target, job.rules, counts_only=shard is not None)
            total = shard.size if shard else job.total
            if acceptance.reached or sink.next == total:
                more = "; give a larger `rows` for more" if job.target is not None else ""
                progress.say(f"{output.called or 'done'} already holds {record.accepted:,} rows{more}")
                return record
            if done := sink.next + len(sink.ahead):
                progress.say(f"continuing {output.called}: {done:,} attempts are done")
            stop = Stop()
            with stop.on_signals():
                run = wait_for(self._run(job, sink, acceptance, shard, stop))
            if first is None:
                summary(run, output, progress)
            if run.stopping and not run.complete:
                raise Stopped(output.stopped())
        if acceptance.gave_up:
            raise RunError(str(record.note))
        return record

    async def _run(self, job: Job, sink: Sink, acceptance: Acceptance, shard: Shard | None, stop: Stop) -> Run:
        await self._open_verifier()
        roles = self.roles
        opened = await roles.opened(self.verifier, self.progress)
        main = roles.models.get("model")
        first = next(iter(roles.models.values()), None)
        rows = job.rows(sink.record.settings, main.title if main else "")
        usages = list({id(one.engine): one.engine.usage for one in opened.chat_models.values()}.values())
        concurrency = (first.options if first else EngineOptions()).at_once
        total = job.total
        if shard is not None:
            rows, total = shard.rows(rows), shard.size
        run = Run(method_of(job, roles, opened), rows, sink, usages, concurrency, acceptance, total)
        job.started(run)
        await drive(run, job.command, self.progress, stop)
        return run

    async def _open_verifier(self) -> None:
        """Start the verifier's processes, and check the first references with it, before a model is loaded."""
        job, settings = self.job, self.roles.verifier
        if settings is None or self.roles.has_judge or self.verifier is not None:
            return
        self.verifier = await open_verifier(settings)
        if job.prompts is not None and job.check_references:
            report = await check_references(self.verifier, islice(job.prompts.tasks(), FIRST))
            self.progress.say(report.told(self.verifier.name))

    async def close(self) -> None:
        """End the verifier's processes, if there are any."""
        if self.verifier is not None:
            await self.verifier.close()


def _only(first: int, rows: Callable[[dict[str, Any], str], Rows]) -> Callable[[dict[str, Any], str], Rows]:
    """The first of a job's rows."""

    def begun(settings: dict[str, Any], model: str) -> Rows:
        whole = rows(settings, model)
        return lambda start: islice(whole(start), max(0, first - start))

    return begun


def method_of(job: Job, roles: Roles, opened: OpenRoles) -> Method:
    """The job's method, which asks the model of each row as that row is to be asked.

    Raises:
        UsageError: settings cannot work, or the model's chat template has no such mode.
    """
    if "model" not in opened.chat_models or not job.answers:
        return job.method(opened)
    return by_row(
        roles.models["model"].asking,
        int(job.settings.get("seed", 0)),
        opened.chat_model,
        lambda chat_model: job.method(opened.with_model(chat_model)),
    )


def schema_of(job: Job, roles: Roles) -> pa.Schema:
    """The columns of what comes out: also what was drawn, and how rows are asked, where the model's format says it."""
    model = roles.models.get("model")
    if model is None or not job.answers or "messages" not in job.schema.names:
        return job.schema
    said = renders(model.chat) or "tools" in job.schema.names
    known = with_parts(job.schema) if said else job.schema
    added = [item for item in RENDERING if item.name in (ANSWERED if said else ("drawn",))]
    return pa.schema([*known, *(item for item in added if item.name not in known.names)])


async def drive(run: Run, title: str, progress: Progress, stop: Stop) -> None:
    """Run to the end and show progress. A first request to stop finishes the rows in flight, a second abandons them.

    Raises:
        RunError: see `Run.go`.
    """
    loop = asyncio.get_running_loop()

    def answer() -> None:
        if not run.stopping:
            progress.say(f"finishing {run.in_flight} rows in flight; once more to abandon them")
        loop.call_soon_threadsafe(run.stop)

    with stop.answered_by(answer), progress.meter(title) as meter:
        watch = asyncio.ensure_future(_watch(run, meter))
        try:
            await run.go()
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch


async def _watch(run: Run, meter: Meter) -> None:
    rates = _Rates(run)
    while True:
        goal, done = rates.goal()
        meter.show(done, goal, rates.text())
        await asyncio.sleep(0.25)


class _Rates:
    """Rates since the start of this process: rows and tokens a second, and the time left."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.began = time.monotonic()
        self.usable, self.finished = run.usable, run.finished

    def text(self) -> str:
        run, record = self.run, self.run.sink.record
        seconds = max(time.monotonic() - self.began, 1e-6)
        rows = (run.usable - self.usable) / seconds
        into = run.prompt_tokens / seconds
        out = run.completion_tokens / seconds
        goal, done = self.goal()
        pace = (done - (self.usable if run.acceptance.target is not None else self.finished)) / seconds
        servers = run.servers.line(seconds)
        left = [f"{clock((goal - done) / pace)} left"] if goal and pace > 0 else []
        return " · ".join(
            [
                *left,
                f"{rows:,.1f} rows/s",
                f"{record.rejected:,} rejected",
                f"tokens/s {into:,.0f} in, {out:,.0f} out",
                *servers,
            ]
        )

    def goal(self) -> tuple[int | None, int]:
        """The goal of the run (accepted rows, or all rows), and how much of it is done."""
        if self.run.acceptance.target is not None:
            return self.run.acceptance.target, min(self.run.usable, self.run.acceptance.target)
        return self.run.total, self.run.finished


def summary(run: Run, output: Output, progress: Progress) -> None:
    """The closing lines: rows, reasons, and the rates of this process."""
    record = run.sink.record
    closing_lines(record, run.sink.next, output, progress)
    if run.surplus and not run.stopping:
        progress.say(f"  {run.surplus:,} more rows were begun and not needed")
    seconds = max(run.seconds, 1e-6)
    into, out = run.prompt_tokens, run.completion_tokens
    tokens = f"; tokens {into:,} in ({into / seconds:,.0f}/s), {out:,} out ({out / seconds:,.0f}/s)"
    progress.say(f"{clock(seconds)}: {run.made / seconds:,.1f} rows/s{tokens if run.usages else ''}")
    if record.cost is not None:
        progress.say(f"cost: {record.cost:,.6g}")
