"""What `synth score-tokens` does: check, open, score, sum up."""

import math
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import click
import pyarrow as pa

from cli.cast import Casting, engine_settings, tasks_of
from cli.generate import claimed_stdout, closing_lines
from cli.progress import Meter, clock, how_to_go_on, say
from synth.chat.format import format_for_texts
from synth.data.output import StreamSink, open_output, refuse_early
from synth.data.plain import TEXT, has_texts, only_texts
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import Rows, open_rows, open_source
from synth.data.row import BASE
from synth.data.run.card import token_line, untrained_line
from synth.data.run.directory import RunDirectory
from synth.data.run.record import RunRecord, read_record
from synth.data.run.shards import read_shards
from synth.data.run.versions import versions
from synth.data.schema.turns import holds_text
from synth.engines.loading import load_tokenizer
from synth.engines.open import model_revision
from synth.errors import UsageError
from synth.scoring.encoding import Protection, RowEncoder
from synth.scoring.labels import corpus_cut, write_scored
from synth.scoring.masks import Cut, Mask
from synth.scoring.scorer import open_scorer
from synth.scoring.thresholds import EDGES, PERPLEXITIES, SHARES, Preview, preview
from synth.scoring.token_scores import LABELLED, TokenScores, all_scored, prepared_tokens, scorer_name


def score(given: dict[str, Any]) -> None:
    """Run the command with its options.

    Raises:
        UsageError: something is wrong with the settings or the input; no model was loaded.
        RunError: the run broke off; what has landed is kept.
        click.exceptions.Exit: status 1 where the run was stopped.
    """
    mask = _mask(given)
    protect = _protections(given["protect"])
    if given["engine"] == "vllm":
        raise UsageError(
            "--engine vllm: vLLM in process scores too slowly and holds logits of a whole prompt; leave it at auto, or "
            "give the address of a server"
        )
    tasks = _tasks(given)
    column = given["text_column"] or (TEXT if has_texts(tasks.source.schema) else None)
    plain = given["text_column"] is not None or only_texts(tasks.source)
    prepared = given["text_column"] is None and plain and prepared_tokens(tasks)
    casting = Casting(
        {"model": given["model"]}, given | {"engine": "transformers" if given["engine"] == "auto" else given["engine"]}
    )
    scorer = given["scorer"] or given["model"]
    if "answer" in protect and "answer" not in tasks.source.schema.names:
        raise UsageError("--protect answer needs the column `answer`, which `synth verify` writes")
    address = f"@{given['engine']}" if given["engine"].startswith("http") else ""
    scored = LABELLED if prepared else "all" if plain else given["train_on"]
    name = scorer_name(f"{scorer}{address}", model_revision(scorer), scored)
    settings = casting.settings() | {
        "scorer": name,
        "text_column": given["text_column"],
        "overlong": given["overlong"],
        "input": tasks.fingerprint,
    }

    def record(mask: Mask) -> RunRecord:
        masking: dict[str, Any] = {}
        if mask.masks:
            masking = {"mask": mask.which, "mask_above": mask.above, "mask_hardest": mask.hardest}
            masking |= {"mask_over": mask.over, "seed": mask.seed, "protect": sorted(protect)}
        source = tasks.source.source
        return RunRecord(
            "score-tokens", settings | masking, given["model"], versions("transformers", "torch"), source=source
        )

    if not given["preview"]:
        refuse_early(given["output"], lambda: record(mask), restart=given["restart"])
    words = {name: given[name] for name in ("prefix", "stop")}
    chat = format_for_texts(given["model"], **words) if plain else casting.named().chat_model.chat
    if given["scorer"]:
        _same_tokenizer(chat.tokenizer, given["model"], given["scorer"])
    encoder = RowEncoder(chat, given["train_on"], protect, given["overlong"])
    with ExitStack() as stack:
        stream = stack.enter_context(claimed_stdout())
        scores = TokenScores(tasks, encoder, None, name, column, given["text_column"] is not None, prepared)
        work = _Work(given, scores, record, stream, stack)
        if given["preview"]:
            work.preview(mask)
        elif mask.needs_corpus:
            work.score_then_mask(mask)
        else:
            work.write(given["output"], mask)


class _Work:
    """Scoring, to be shown, or written once or twice; the model is loaded when it is first needed."""

    def __init__(
        self,
        given: dict[str, Any],
        scores: TokenScores,
        record: Callable[[Mask], RunRecord],
        stream: BinaryIO,
        stack: ExitStack,
    ) -> None:
        self._given = given
        self._scores = scores
        self._record = record
        self._source = scores.tasks.source.source
        self._total = scores.tasks.total
        self._stream = stream
        self._stack = stack
        self._quiet: bool = given["quiet"]
        self._untrained = 0.0  # answers that a first step found to be context only

    def preview(self, mask: Mask) -> None:
        """Print the threshold table."""
        self._load()
        scores = self._scores
        masks = [Mask(above=value) for value in PERPLEXITIES] + [Mask(hardest=value) for value in SHARES]
        if mask.masks and mask not in masks:
            masks.append(mask)
        with Meter("score-tokens", quiet=self._quiet) as meter, stoppable(scores, self._quiet):
            began = time.monotonic()
            reasons: list[str] = []
            untrained = 0

            def blocks() -> Iterator[Any]:
                nonlocal untrained
                for block in scores.blocks():
                    _report(meter, scores, 0, began)
                    reasons.extend(reason for reason in block.reasons if reason)
                    untrained += sum(len(row.untrained) for row in block.encoded if row is not None)
                    yield block.tokens()

            found = preview(blocks(), masks)
        for line in preview_lines(found):
            self._stream.write(line.encode() + b"\n")
        self._stream.flush()
        first = f" (the first: {reasons[0]})" if reasons else ""
        say(f"{len(reasons):,} rows would be rejected{first}", self._quiet)
        if untrained:
            say(untrained_line(untrained), self._quiet)

    def score_then_mask(self, mask: Mask) -> None:
        """Score all rows first, into a directory beside the output; then mask them, knowing them all."""
        output = self._given["output"]
        if output in (None, "-"):
            stage = Path(self._stack.enter_context(tempfile.TemporaryDirectory()), "scores")
        else:
            stage = Path(f"{str(output).rstrip('/')}.scores")
        sink = self._sink(output, mask)  # refuses now what would be refused after the scoring
        if self._is_done(sink, output):
            return
        sink.pause()
        self.write(str(stage), Mask(), part=True)
        tasks = open_prompts(open_rows(str(stage)))
        if not tasks.total:
            raise UsageError(f"no row of {self._source} can be scored; {stage}/rejected says why")
        self._scores = replace(self._scores, tasks=tasks, scorer=None, rows_done=0, tokens_done=0)
        scored = read_record(stage)
        self._untrained = scored.tokens.get("untrained", 0.0) if scored else 0.0
        self.write(output, mask, corpus_cut(self._scores, mask), _rejected(stage))
        shutil.rmtree(stage)

    def write(
        self,
        output: str | None,
        mask: Mask,
        cut: Cut | None = None,
        rejected: pa.RecordBatch | None = None,
        *,
        part: bool = False,
    ) -> None:
        """Score, mask and write; `part` is the first of two steps, `rejected` what it left over for the second."""
        sink = self._sink(output, mask)
        if self._is_done(sink, output):
            return
        if self._untrained:
            sink.record.tokens["untrained"] = self._untrained
        before = sink.next
        if before:
            say(f"going on with {output}: {before:,} rows are done", self._quiet)
        try:
            self._load()
        except BaseException:
            sink.pause()
            raise
        began, scores = time.monotonic(), self._scores
        with Meter("score-tokens", quiet=self._quiet) as meter, stoppable(scores, self._quiet):
            _report(meter, scores, before, began)
            write_scored(scores, sink, mask, cut, rejected, report=lambda: _report(meter, scores, before, began))
        if sink.next < scores.tasks.total:
            again = "" if isinstance(sink, StreamSink) else f"; {how_to_go_on(restart=self._given['restart'])}"
            say(f"stopped{again}", self._quiet)
            raise click.exceptions.Exit(1)
        closing_lines(sink.record, sink.next, output, self._quiet)
        if not part and sink.record.tokens.get("scored"):
            say(token_line(sink.record.tokens), self._quiet)
        seconds = max(time.monotonic() - began, 1e-6)
        rates = f"{scores.rows_done / seconds:,.1f} rows/s; {scores.tokens_done / seconds:,.0f} tokens/s"
        say(f"{clock(seconds)}: {rates}", self._quiet)

    def _is_done(self, sink: RunDirectory | StreamSink, output: str | None) -> bool:
        """Whether a finished run is there already; then it is left as it was."""
        if not sink.next or sink.next < self._total:
            return False
        sink.finish()
        say(f"{output} already holds {sink.record.accepted:,} rows", self._quiet)
        return True

    def _sink(self, output: str | None, mask: Mask) -> RunDirectory | StreamSink:
        record, schema = self._record(mask), self._scores.schema
        return open_output(output, self._stream, record, schema, restart=self._given["restart"])

    def _load(self) -> None:
        """Load the model, unless that is done, or all rows are scored already."""
        given, scores, encoder = self._given, self._scores, self._scores.encoder
        if scores.scorer is not None:
            return
        if all_scored(scores.tasks, scores.name):
            say("scored before by the same model: nothing is loaded", self._quiet)
            return
        name = given["scorer"] or given["model"]
        say(f"loading {name}", self._quiet)
        began = time.monotonic()
        scores.scorer = open_scorer(given["engine"], name, encoder.chat.tokenizer, engine_settings(given))
        self._stack.callback(scores.scorer.close)
        scores.encoder = replace(encoder, window=scores.scorer.max_length)
        say(f"{scores.scorer.description}, ready in {clock(time.monotonic() - began)}", self._quiet)


def _rejected(folder: Path) -> pa.RecordBatch | None:
    """The rejected rows of a run that is finished."""
    record = read_record(folder)
    batches = list(read_shards(folder / "rejected", record.rejected_shards)) if record else []
    return pa.Table.from_batches(batches).combine_chunks().to_batches()[0] if batches else None


def _mask(given: dict[str, Any]) -> Mask:
    if given["mask_easiest"] and given["mask_random"]:
        raise UsageError("--mask-easiest and --mask-random are two controls: give one of them")
    which = "easiest" if given["mask_easiest"] else "random" if given["mask_random"] else "hardest"
    over = given["mask_over"]
    return Mask(given["mask_above"], given["mask_hardest"], which, over, given["seed"])  # type: ignore[arg-type]


def _protections(text: str) -> frozenset[Protection]:
    names = frozenset(filter(None, (part.strip() for part in text.split(","))))
    if unknown := names - {"end-of-turn", "answer"}:
        raise UsageError(f"--protect {', '.join(sorted(unknown))} is unknown; take end-of-turn, answer, or both")
    return cast(frozenset[Protection], names)


def _tasks(given: dict[str, Any]) -> PromptSet:
    column = given["text_column"]
    if column is None:
        return tasks_of(given, texts=True)
    rows: Rows = open_source(given["source"])
    if column not in rows.schema.names:
        raise UsageError(f"{rows.source} has no column {column!r}; there are: {', '.join(rows.schema.names)}")
    if column in BASE.names or not holds_text(rows.schema.field(column).type):
        raise UsageError(f"column {column!r} of {rows.source} holds no plain texts")
    tasks = open_prompts(rows, given["limit"])
    if not tasks.total:
        raise UsageError(f"{rows.source} has no rows")
    return tasks


def _same_tokenizer(tokenizer: Any, model: str, scorer: str) -> None:
    if load_tokenizer(scorer).get_vocab() != tokenizer.get_vocab():
        raise UsageError(f"--scorer {scorer} has another tokenizer than {model}: what it scores are other tokens")


@contextmanager
def stoppable(scores: TokenScores, quiet: bool) -> Iterator[None]:
    """Ctrl-C (and SIGTERM) finish the block of rows at hand; a second one breaks off."""

    def stop(number: int, _: object) -> None:
        if scores.stopping:
            signal.signal(number, signal.SIG_DFL)
            raise KeyboardInterrupt
        scores.stopping = True
        say("finishing the rows at hand; once more to break off", quiet)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(meter: Meter, scores: TokenScores, before: int, began: float) -> None:
    seconds = max(time.monotonic() - began, 1e-6)
    done, total = before + scores.rows_done, scores.tasks.total
    if not scores.rows_done:
        meter.show(done, total, "")
        return
    left = (total - done) * seconds / scores.rows_done
    rates = f"{scores.rows_done / seconds:,.1f} rows/s · {scores.tokens_done / seconds:,.0f} tokens/s"
    meter.show(done, total, f"{clock(left)} left · {rates}")


def preview_lines(found: Preview) -> list[str]:
    """The threshold table and the histogram, for a terminal."""
    lines = [f"{found.rows:,} rows, {found.tokens:,} scored tokens", ""]
    lines.append(f"{'mask':<24}{'masked':>12}{'share':>9}{'perplexity left':>18}{'rows emptied':>14}")
    for effect in found.effects:
        left = "–" if math.isnan(effect.perplexity) else f"{effect.perplexity:,.2f}"
        lines.append(
            f"{_mask_name(effect.mask):<24}{effect.masked:>12,}{effect.share:>9.1%}{left:>18}{effect.emptied:>14,}"
        )
    lines += ["", f"{'perplexity of a token':<24}{'tokens':>12}{'share':>9}"]
    most = max(found.histogram, default=0)
    for low, high, count in zip(EDGES, EDGES[1:], found.histogram, strict=False):
        name = f"{low:g} – {high:g}" if math.isfinite(high) else f"above {low:g}"
        bar = "█" * round(40 * count / max(1, most))
        lines.append(f"{name:<24}{count:>12,}{count / max(1, found.tokens):>9.1%}  {bar}".rstrip())
    return lines


def _mask_name(mask: Mask) -> str:
    amount = f"above {mask.above:g}" if mask.above is not None else f"hardest {mask.hardest:.0%}"
    return amount if mask.which == "hardest" else f"{amount}, {mask.which}"
