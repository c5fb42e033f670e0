"""Turns scored tokens into rows with labels, and writes them."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.row import IGNORED, REASON
from synth.data.run.directory import RunDirectory
from synth.data.stream import StreamSink
from synth.scoring.masks import CorpusCuts, Mask, find_cuts, mask_corpus, mask_rows
from synth.scoring.token_scores import FIGURES, Block, TokenScores


def write_scored(
    scores: TokenScores,
    sink: RunDirectory | StreamSink,
    mask: Mask,
    cut: CorpusCuts | None = None,
    rejected: pa.RecordBatch | None = None,
    *,
    report: Callable[[], None],
) -> None:
    """Score, mask and write the rows that a sink does not have yet; its owner finishes the sink.

    All rows are there at the end unless `scores.stopping` was set.

    Args:
        scores: the rows.
        sink: where they go.
        mask: what is masked.
        cut: where the mask ends, if it is one over the whole corpus.
        rejected: rows that were rejected in a step before, with the reason; they come last.
        report: called after every block.

    Raises:
        RunError: the model or the disk failed; what has landed is kept.
    """
    schema, record = scores.schema, sink.record
    began, seconds, tokens = time.monotonic(), record.seconds, record.prompt_tokens
    if cut is not None and sink.next:  # the ties that the rows written earlier have used up
        earlier = replace(scores, prompts=replace(scores.prompts, limit=sink.next))
        for block in earlier.blocks():
            masked_block(block, mask, cut)

    def write(block: Block) -> None:
        accepted, rejected, sums = finished(block, masked_block(block, mask, cut), scores.name, schema)
        for name, value in sums.items():
            record.tokens[name] = record.tokens.get(name, 0) + value
        record.seconds = seconds + time.monotonic() - began
        record.prompt_tokens = tokens + scores.tokens_done
        sink.extend(accepted, rejected, block.taken)

    with ThreadPoolExecutor(1, "write") as writer:
        behind: Future[None] | None = None
        for block in scores.blocks(sink.next):
            if behind is not None:
                behind.result()
            behind = writer.submit(write, block)
            report()
        if behind is not None:
            behind.result()
    if rejected is not None and sink.next == scores.prompts.total:  # in one call: all of them land, or none
        sink.extend(pa.RecordBatch.from_pylist([], schema), rejected)


def corpus_cut(scores: TokenScores, mask: Mask) -> CorpusCuts:
    """Where a mask over all rows ends; they are scored before (`all_scored`)."""
    return find_cuts(mask, lambda: (block.tokens() for block in scores.blocks()))


def masked_block(block: Block, mask: Mask, cut: CorpusCuts | None) -> NDArray[np.bool_]:
    """Which tokens of a block are masked, end to end; with a `cut` those of a mask over the whole corpus."""
    tokens = block.tokens()
    return mask_rows(mask, tokens) if cut is None else mask_corpus(mask, cut, tokens)


def finished(
    block: Block, masked: NDArray[np.bool_], name: str, schema: pa.Schema
) -> tuple[pa.RecordBatch, pa.RecordBatch, dict[str, float]]:
    """A block as rows: those that are trained on, those that are not, each with its reason, and sums over the former.

    The sums are `tokens`, `scored`, `masked`, `nats` and `nats_left`: minus the log-probabilities of the scored tokens,
    and of those that are not masked; `untrained`: answers that are not scored (`EncodedRow.untrained`); and where
    there are entropies `entropy`, their sum in nats, and `likeliest`: scored tokens than which none was likelier.
    """
    sizes = [0 if scores is None else scores.shape[1] for scores in block.scores]
    ends = np.cumsum(sizes)
    reasons = list(block.reasons)
    labels: list[NDArray[np.int32] | None] = []
    entropy = "entropies" in schema.names
    sums = dict.fromkeys(("tokens", "scored", "masked", "nats", "nats_left", "untrained"), 0.0)
    sums |= dict.fromkeys(("entropy", "likeliest"), 0.0) if entropy else {}
    for index, (row, scores) in enumerate(zip(block.encoded, block.scores, strict=True)):
        if row is None or scores is None:
            labels.append(None)
            continue
        logprobs = scores[0]
        hidden = masked[ends[index] - sizes[index] : ends[index]]
        trained = np.isfinite(logprobs) & ~hidden
        labels.append(np.where(trained, row.ids, np.int32(IGNORED)))
        if not trained.any():
            reasons[index] = f"nothing left to train on: all {int(hidden.sum()):,} tokens are masked"
            continue
        sums["tokens"] += len(row.ids)
        sums["scored"] += int(np.isfinite(logprobs).sum())
        sums["masked"] += int(hidden.sum())
        sums["nats"] -= float(np.nansum(logprobs, dtype=np.float64))
        sums["nats_left"] -= float(logprobs[trained].sum(dtype=np.float64))
        sums["untrained"] += len(row.untrained)
        if entropy:
            sums["entropy"] += float(np.nansum(scores[1], dtype=np.float64))
            sums["likeliest"] += int((scores[2] == 1).sum())
    added = {
        "input_ids": _lists([row.ids if row is not None else None for row in block.encoded], pa.int32()),
        "labels": _lists(labels, pa.int32()),
        "scorer": pa.array([None if scores is None else name for scores in block.scores], pa.string()),
    }
    for at, figure in enumerate(FIGURES[: 3 if entropy else 1]):
        values = [None if scores is None else scores[at] for scores in block.scores]
        added[figure] = _lists(values, schema.field(figure).type.value_type)
    columns = [added.get(item.name) for item in schema]
    whole = pa.record_batch(
        [block.rows[item.name] if column is None else column for item, column in zip(schema, columns, strict=True)],
        schema=schema,
    )
    why = pa.array(reasons, pa.string())
    return (
        whole.filter(why.is_null()),
        pa.record_batch([*whole.columns, why], schema=schema.append(REASON)).filter(why.is_valid()),
        sums,
    )


def _lists(rows: Sequence[NDArray[Any] | None], kind: pa.DataType) -> pa.ListArray:
    """One list a row, null where there is none; NaN becomes null."""
    there = [row for row in rows if row is not None]
    values = np.concatenate(there) if there else np.zeros(0, kind.to_pandas_dtype())
    offsets = np.cumsum([0, *(0 if row is None else len(row) for row in rows)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets),
        pa.array(values, from_pandas=True).cast(kind),
        mask=pa.array([row is None for row in rows]),
    )
