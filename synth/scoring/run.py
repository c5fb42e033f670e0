"""Scoring the tokens of a data set, as one run: rows written with their labels, or a preview of what masks would do."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa

from synth.chat.format import ChatFormat
from synth.data.output import Output, StreamSink, closing_lines
from synth.data.plain import TEXT, has_texts, only_texts
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import open_rows
from synth.data.run.card import token_line, untrained_line
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord, read_record
from synth.data.run.shard import Shard
from synth.data.run.shards import read_shards
from synth.data.run.versions import versions
from synth.engines.server_work import ServerWork
from synth.errors import Stopped, UsageError
from synth.progress import Meter, Progress, clock
from synth.scoring.encoding import Protection, RowEncoder
from synth.scoring.labels import corpus_cut, write_scored
from synth.scoring.masks import CorpusCuts, Mask
from synth.scoring.thresholds import CONFLICTS, PERPLEXITIES, SHARES, Preview, preview
from synth.scoring.token_scores import (
    LABELLED,
    Block,
    TokenScorer,
    TokenScores,
    all_scored,
    keeps_entropies,
    prepared_tokens,
    scorer_name,
)
from synth.stop import Stop
from synth.values import Overlong, TrainOn


@dataclass(frozen=True, slots=True)
class ScoringSettings:
    """Which tokens of each row are scored, and which are masked.

    Attributes:
        mask: the mask.
        train_on: what of a conversation is scored and trained on.
        text_column: the column with plain texts, where it is not `text`.
        protect: tokens that are never masked.
        overlong: what becomes of rows longer than the window.
        entropy: entropies and ranks are columns, too.
    """

    mask: Mask
    train_on: TrainOn = "assistant"
    text_column: str | None = None
    protect: frozenset[Protection] = frozenset()
    overlong: Overlong = "drop"
    entropy: bool = False

    def __post_init__(self) -> None:
        """Refuse unknown values.

        Raises:
            UsageError: there is no such value.
        """
        for name, kind in (("train_on", TrainOn), ("overlong", Overlong)):
            if getattr(self, name) not in get_args(kind):
                raise UsageError(f"`{name}` {getattr(self, name)} is unknown; take {', '.join(get_args(kind))}")
        if unknown := self.protect - set(get_args(Protection)):
            raise UsageError(f"`protect` {', '.join(sorted(unknown))} is unknown; take end-of-turn, answer, or both")


@dataclass(frozen=True, slots=True)
class ScoringModel:
    """The model that is to be trained, and the one that scores, which may be another; neither is loaded yet.

    Attributes:
        given: the name of the one that is trained.
        settings: what `run.json` says of it.
        scorer: the name of the one that scores.
        title: what people are told that it is, its adapter included.
        revision: of its weights.
        chat: reads the chat format of the one that is trained; of a base model there is one for plain texts alone, for
            which the argument is true. Raises UsageError.
        open: loads the one that scores, for the tokens of that chat format; entropies are wanted, too, where the second
            argument is true. Raises UsageError.
    """

    given: str
    settings: dict[str, Any]
    scorer: str
    title: str
    revision: str
    chat: Callable[[bool], ChatFormat]
    open: Callable[[ChatFormat, bool], TokenScorer]


class ScoringJob:
    """A data set that is to be scored."""

    def __init__(self, prompts: PromptSet, settings: ScoringSettings, model: ScoringModel) -> None:
        """Determine the kind of the rows, which may read the whole data set.

        Args:
            prompts: the rows: conversations, plain texts, or tokens that were prepared for training.
            settings: what of them is scored.
            model: the models.

        Raises:
            UsageError: a column is missing, or a part of the source is damaged.
        """
        schema, column = prompts.source.schema, settings.text_column
        if "answer" in settings.protect and "answer" not in schema.names:
            raise UsageError("`protect` answer needs the column `answer`, which `synth verify` writes")
        self.prompts, self.settings, self.model = prompts, settings, model
        self.shard: Shard | None = None
        self._column = column or (TEXT if has_texts(schema) else None)
        self._plain = column is not None or only_texts(prompts.source)
        self._prepared = column is None and self._plain and prepared_tokens(prompts)
        scored = LABELLED if self._prepared else "all" if self._plain else settings.train_on
        self.name = scorer_name(model.scorer, model.revision, scored)
        """What the column `scorer` will say."""
        self.entropy = settings.entropy or keeps_entropies(prompts, self.name)
        """Whether entropies and ranks are columns: they are wanted, or all rows have them from before."""

    def record(self, mask: Mask) -> RunRecord:
        """The record of a run with that mask that has no rows yet."""
        settings = self.model.settings | {
            "scorer": self.name,
            "text_column": self.settings.text_column,
            "overlong": self.settings.overlong,
            "input": self.prompts.fingerprint,
        }
        if mask.masks:
            settings |= {"mask": mask.which, "mask_above": mask.above, "mask_hardest": mask.hardest}
            settings |= {"mask_over": mask.over, "seed": mask.seed, "protect": sorted(self.settings.protect)}
            settings |= {} if mask.conflicts is None else {"mask_confident_conflicts": mask.conflicts}
        if self.entropy:
            settings["entropy"] = True
        source = self.prompts.source.source
        return RunRecord(
            "score-tokens",
            settings,
            self.model.given,
            versions("transformers", "torch"),
            source=source,
            shard=self.shard.record() if self.shard else None,
        )

    def scores(self) -> TokenScores:
        """The rows, to be scored by a model that is not loaded yet.

        Raises:
            UsageError: the model's chat format cannot be read, or the one that scores has another tokenizer.
        """
        settings, chat = self.settings, self.model.chat(self._plain)
        encoder = RowEncoder(chat, settings.train_on, settings.protect, settings.overlong)
        texts_alone = settings.text_column is not None
        prompts = self.prompts.part(self.shard)
        return TokenScores(prompts, encoder, None, self.name, self._column, texts_alone, self._prepared, self.entropy)


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
    mask = job.settings.mask
    if output.shard is not None:
        if mask.needs_corpus:
            raise UsageError(
                "`mask_over` corpus counts over all rows, which no shard has: score in shards without masks, join "
                "them, and mask the joined rows, for which no model is loaded"
            )
        job.shard = output.shard.over(job.prompts.total)
    output.refuse_early(lambda: job.record(mask))
    with ExitStack() as stack:
        work = _Work(job, progress, stack)
        with output.opened(job.record(mask), work.scores.schema) as sink:
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
        return _Work(job, progress, stack).preview(masks)


@dataclass(frozen=True, slots=True)
class _Staged:
    """All rows scored, before the first is masked: the run in `folder`, and where the mask over all of them ends."""

    folder: Path
    cut: CorpusCuts
    rejected: pa.RecordBatch | None
    untrained: float


class _Work:
    """A run in progress: the model is loaded when it is first needed, and freed with `stack`."""

    def __init__(self, job: ScoringJob, progress: Progress, stack: ExitStack) -> None:
        self.scores = job.scores()
        self._job, self._progress, self._stack = job, progress, stack
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
        with stage.opened(self._job.record(Mask()), self.scores.schema) as sink:
            if not self.is_done(sink, stage):
                self.write(sink, stage, Mask(), again=output)
        if self.scores.stopping:  # requested during its last rows
            raise Stopped(output.stopped())
        prompts = open_prompts(open_rows(str(folder)))
        if not prompts.total:
            raise UsageError(f"no row of {self._job.prompts.source.source} can be scored; {folder}/rejected says why")
        self.scores = replace(self.scores, prompts=prompts, scorer=None, rows_done=0, tokens_done=0)
        cut = corpus_cut(replace(self.scores), self._job.settings.mask)  # rows that it reads are not done yet
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
        if not sink.next or sink.next < self._job.prompts.part(self._job.shard).total:
            return False
        self._progress.say(f"{output.called} already holds {sink.record.accepted:,} rows")
        return True

    def _load(self) -> None:
        """Load the model, unless that is done, or all rows are scored already."""
        scores, model = self.scores, self._job.model
        if scores.scorer is not None:
            return
        if all_scored(scores.prompts, scores.name, entropy=scores.entropy):
            self._progress.say("scored before by the same model: nothing is loaded")
            return
        self._progress.say(f"loading {model.title}")
        began = time.monotonic()
        scores.scorer = model.open(scores.encoder.chat, scores.entropy)
        self._stack.callback(scores.scorer.close)
        scores.encoder = replace(scores.encoder, window=scores.scorer.max_length)
        self._servers = ServerWork([scores.scorer.usage])
        self._progress.say(f"{scores.scorer.description}, ready in {clock(time.monotonic() - began)}")

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
