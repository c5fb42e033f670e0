"""Scoring the tokens of a data set, as one run: rows written with their labels, or a preview of what masks would do."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from synth.chat.format import ChatFormat
from synth.data.output import Output, closing_lines
from synth.data.prompts import open_prompts
from synth.data.read import open_rows
from synth.data.run.card import token_line, untrained_line
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord, read_record
from synth.data.run.shards import read_shards
from synth.data.stream import StreamSink
from synth.engines.server_work import ServerWork
from synth.errors import Stopped, UsageError
from synth.progress import Meter, Progress, clock
from synth.scoring.job import ScoringJob, ScoringModel
from synth.scoring.labels import corpus_cut, write_scored
from synth.scoring.masks import CorpusCuts, Mask
from synth.scoring.thresholds import CONFLICTS, PERPLEXITIES, SHARES, Preview, preview
from synth.scoring.token_scores import (
    Block,
    TokenScorer,
    all_scored,
)
from synth.stop import Stop


def write_scores(job: ScoringJob, output: Output, progress: Progress) -> RunRecord:
    """Score the rows, mask tokens, and write rows with their labels; or continue where an earlier call was stopped.

    Args:
        job: what is scored.
        output: where the rows go.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the settings or the input; no model was loaded.
        RunError: the run broke off; what has landed is kept.
        Stopped: a person stopped it.
    """
    mask, begun = job.settings.mask, job.part(output.shard)
    output.refuse_early(lambda: begun.record(mask))
    with ExitStack() as stack:
        model = _Loaded(job.model, progress, stack)
        return output.each(lambda place: _write_scores(_Work(job.part(place.shard), progress, stack, model), place))


def _write_scores(work: "_Work", output: Output) -> RunRecord:
    """Write the rows of one output; see `write_scores`."""
    mask = work.job.settings.mask
    with output.opened(work.job.record(mask), work.scores.schema) as sink:
        if work.is_done(sink, output):
            return sink.record
        staged = work.score_all(output) if mask.needs_corpus else None
        work.write(sink, output, mask, staged)
    if staged is not None:
        shutil.rmtree(staged.folder)
    return sink.record


def preview_masks(job: ScoringJob, progress: Progress) -> Preview:
    """Score the rows and compute what masks would do; if stopped, for the rows so far.

    Args:
        job: what is scored; its mask is among those that are tried.
        progress: is told how it goes.

    Raises:
        UsageError: something is wrong with the input; no model was loaded.
        RunError: the model is broken, or cannot be reached.
    """
    mask = job.settings.mask
    masks = [Mask(above=value) for value in PERPLEXITIES] + [Mask(hardest=value) for value in SHARES]
    if job.entropy:
        masks += [Mask(conflicts=value) for value in CONFLICTS]
    if mask.masks and mask not in masks:
        masks.append(mask)
    with ExitStack() as stack:
        return _Work(job, progress, stack, _Loaded(job.model, progress, stack)).preview(masks)


@dataclass(frozen=True, slots=True)
class _Staged:
    """All rows scored, before the first is masked: the run in `folder`, and where the mask over all of them ends."""

    folder: Path
    cut: CorpusCuts
    rejected: pa.RecordBatch | None
    untrained: float


class _Loaded:
    """The model that scores: loaded when it is first needed, and freed with `stack`."""

    def __init__(self, model: ScoringModel, progress: Progress, stack: ExitStack) -> None:
        self._model, self._progress, self._stack = model, progress, stack
        self._scorer: TokenScorer | None = None

    def scorer(self, chat: ChatFormat, entropy: bool) -> TokenScorer:
        """The model, for the tokens of a chat format; see `ScoringModel.open`."""
        if self._scorer is None:
            self._progress.say(f"loading {self._model.title}")
            began = time.monotonic()
            self._scorer = self._model.open(chat, entropy)
            self._stack.callback(self._scorer.close)
            self._progress.say(f"{self._scorer.description}, ready in {clock(time.monotonic() - began)}")
        return self._scorer


class _Work:
    """A run in progress."""

    def __init__(self, job: ScoringJob, progress: Progress, stack: ExitStack, model: _Loaded) -> None:
        self.job, self.scores = job, job.scores()
        self._progress, self._stack, self._model = progress, stack, model
        self._servers = ServerWork([])

    def preview(self, masks: list[Mask]) -> Preview:
        """What each of the masks would do."""
        self._load()
        reasons: list[str] = []
        untrained = 0

        def tokens(show: Callable[[], None]) -> Iterator[Any]:
            nonlocal untrained
            for block in self.scores.blocks():
                show()
                reasons.extend(reason for reason in block.reasons if reason)
                untrained += _untrained(block)
                yield block.tokens()

        with self._watched(0) as show:
            effects = preview(tokens(show), masks)
        first = f" (the first: {reasons[0]})" if reasons else ""
        self._progress.say(f"{len(reasons):,} rows would be rejected{first}")
        if untrained:
            self._progress.say(untrained_line(untrained))
        return effects

    def score_all(self, output: Output) -> _Staged:
        """Score all rows into a directory beside the output, which a run that was stopped goes on with."""
        if output.path is None:
            folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()), "scores")
        else:
            folder = output.beside(".scores")
        stage = Output(str(folder), restart=output.restart)
        with stage.opened(self.job.record(Mask()), self.scores.schema) as sink:
            if not self.is_done(sink, stage):
                self.write(sink, stage, Mask(), again=output)
        if self.scores.stopping:  # requested during its last rows
            raise Stopped(output.stopped())
        prompts = open_prompts(open_rows(str(folder)))
        if not prompts.total:
            raise UsageError(f"no row of {self.job.prompts.source.source} can be scored; {folder}/rejected says why")
        self.scores = replace(self.scores, prompts=prompts, scorer=None, rows_done=0, tokens_done=0)
        cut = corpus_cut(replace(self.scores), self.job.settings.mask)  # rows that it reads are not done yet
        return _Staged(folder, cut, _rejected(folder), sink.record.tokens.get("untrained", 0.0))

    def write(
        self,
        sink: RunDirectory | StreamSink,
        output: Output,
        mask: Mask,
        staged: _Staged | None = None,
        again: Output | None = None,
    ) -> None:
        """Score, mask and write the rows that a sink has not yet.

        Args:
            sink: where the rows go.
            output: whose sink it is.
            mask: what is masked.
            staged: the first of two steps, where this is the second.
            again: the output of the second step, where this is the first.
        """
        if staged is not None and staged.untrained:  # the second step sees none: they are scored no more
            sink.record.tokens["untrained"] = staged.untrained
        before = sink.next
        if before:
            self._progress.say(f"continuing {output.called}: {before:,} rows are done")
        self._load()
        began, scores = time.monotonic(), self.scores
        cut, rejected = (staged.cut, staged.rejected) if staged else (None, None)
        served = sink.record.servers
        with self._watched(before) as show:
            write_scored(scores, sink, mask, cut, rejected, report=show)
        sink.record.servers = self._servers.record(served)
        if sink.next < scores.prompts.total:
            raise Stopped((again or output).stopped())
        closing_lines(sink.record, sink.next, output, self._progress)
        if again is None and sink.record.tokens.get("scored"):
            self._progress.say(token_line(sink.record.tokens))
        seconds = max(time.monotonic() - began, 1e-6)
        rates = f"{scores.rows_done / seconds:,.1f} rows/s; {scores.tokens_done / seconds:,.0f} tokens/s"
        self._progress.say(f"{clock(seconds)}: {rates}")

    def is_done(self, sink: RunDirectory | StreamSink, output: Output) -> bool:
        """Whether a finished run is there already; then it is left as it was."""
        if not sink.next or sink.next < self.job.prompts.part(self.job.shard).total:
            return False
        self._progress.say(f"{output.called} already holds {sink.record.accepted:,} rows")
        return True

    def _load(self) -> None:
        """Load the model, unless that is done, or all rows are scored already."""
        scores = self.scores
        if scores.scorer is not None:
            return
        if all_scored(scores.prompts, scores.name, entropy=scores.entropy):
            self._progress.say("scored before by the same model: nothing is loaded")
            return
        scores.scorer = self._model.scorer(scores.encoder.chat, scores.entropy)
        scores.encoder = replace(scores.encoder, window=scores.scorer.max_length)
        self._servers = ServerWork([scores.scorer.usage])

    @contextmanager
    def _watched(self, before: int) -> Iterator[Callable[[], None]]:
        """Shows progress while rows are scored, whenever the returned function is called, and handles requests to stop.

        The first request finishes the current block of rows, the second abandons it.
        """
        scores, began, stop = self.scores, time.monotonic(), Stop()

        def answer() -> None:
            if scores.stopping:
                raise KeyboardInterrupt
            scores.stopping = True
            self._progress.say("finishing the current rows; once more to abandon them")

        with stop.on_signals(), stop.answered_by(answer), self._progress.meter("score-tokens") as meter:
            self._show(meter, before, began)
            yield lambda: self._show(meter, before, began)

    def _show(self, meter: Meter, before: int, began: float) -> None:
        scores = self.scores
        seconds = max(time.monotonic() - began, 1e-6)
        done, total = before + scores.rows_done, scores.prompts.total
        if not scores.rows_done:
            meter.show(done, total, "")
            return
        left = (total - done) * seconds / scores.rows_done
        rates = f"{scores.rows_done / seconds:,.1f} rows/s · {scores.tokens_done / seconds:,.0f} tokens/s"
        meter.show(done, total, " · ".join([f"{clock(left)} left", rates, *self._servers.line(seconds)]))


def _untrained(block: Block) -> int:
    return sum(len(row.untrained) for row in block.encoded if row is not None)


def _rejected(folder: Path) -> pa.RecordBatch | None:
    """The rejected rows of a run that is finished."""
    record = read_record(folder)
    batches = list(read_shards(folder / "rejected", record.rejected_shards)) if record else []
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0] if batches else None
