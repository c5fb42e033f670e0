"""Score every token of a data set under a model.

One forward pass a conversation, nothing is generated (arXiv 2501.14315). While a block of rows is in the
model, the next is read and tokenised.
"""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.columns import lists_of
from synth.data.prompts import PromptSet
from synth.data.read import faults_of
from synth.data.row import PREDICTIONS, RENDERING, SCORES, batch_of, conversations_of, digest, records_of
from synth.engines.base import Usage
from synth.errors import RequestError, RunError
from synth.scoring.encoding import EncodedRow, RowEncoder, rendering, windows
from synth.scoring.masks import Tokens

LABELLED = "labels"
"""The part of a scorer's name for rows that were scored where their own labels are set; otherwise it is `train_on`."""

FIGURES = ("logprobs", *PREDICTIONS.names)
"""The columns of a token's scores, in the order of `Block.scores`."""

BLOCK_ROWS = 2_048
BLOCK_BYTES = 8 * 2**20
BLOCK_SECONDS = 5.0
"""A block of rows is what is read, scored and written in one go: no more than this, and about so long in the model.
Rows of like length go through it together, so the more the better, but a stop waits for a block's end."""


class TokenScorer(Protocol):
    """A model that gives log-probabilities of given tokens."""

    description: str
    max_length: int
    usage: Usage

    def score(
        self, sequences: Sequence[NDArray[np.int32]], wanted: Sequence[NDArray[np.bool_]]
    ) -> list[NDArray[np.float32] | RequestError]:
        """Log-probabilities (nats) of the wanted tokens of each sequence, NaN elsewhere; shape `[tokens]`.

        A scorer that was opened with `entropy` gives these, entropies and ranks; shape `[3, tokens]`.

        Raises:
            RunError: the model is broken, or cannot be reached.
        """
        ...

    def close(self) -> None:
        """Free the model."""
        ...


@dataclass(slots=True)
class Block:
    """Some rows in progress: `reasons[i]` says why row i is rejected, else `encoded[i]` holds its tokens.

    `scores[i]`, of shape `[1, tokens]`, are log-probabilities, NaN where a token is not scored; or with entropies and
    ranks `[3, tokens]`. The rows came from `taken` ones: a conversation that is trained on turn by turn is several.
    """

    rows: pa.RecordBatch
    encoded: list[EncodedRow | None]
    reasons: list[str | None]
    scores: list[NDArray[np.float32] | None]
    taken: int

    def tokens(self) -> Tokens:
        """The scored rows' tokens, end to end; the others have none."""
        sizes = [0 if scores is None else scores.shape[1] for scores in self.scores]
        scored = [scores for scores in self.scores if scores is not None]
        kept = [
            row.protected for row, scores in zip(self.encoded, self.scores, strict=True) if row and scores is not None
        ]
        scores = np.concatenate(scored, 1) if scored else np.zeros((3, 0), np.float32)
        protected = np.concatenate(kept) if kept else np.zeros(0, np.bool_)
        rows = np.repeat(np.arange(len(sizes)), sizes)
        free = np.isfinite(scores[0]) & ~protected
        return Tokens(rows, scores[0], free, self.rows["id"].to_pylist(), scores[1] if len(scores) > 1 else None)


@dataclass(slots=True)
class TokenScores:
    """Scores the rows of a data set, block by block.

    Attributes:
        prompts: the rows.
        encoder: turns them into tokens.
        scorer: the model; None where all rows are scored already.
        name: what the column `scorer` says. Rows that say so already keep their scores.
        text_column: of rows that are no conversations, the column with the plain text.
        texts_alone: score the text of every row, even of conversations.
        prepared: rows come with the tokens and labels that they are trained on.
        entropy: entropies and ranks are columns, too.
    """

    prompts: PromptSet
    encoder: RowEncoder
    scorer: TokenScorer | None
    name: str
    text_column: str | None = None
    texts_alone: bool = False
    prepared: bool = False
    entropy: bool = False
    stopping: bool = False
    rows_done: int = 0
    tokens_done: int = 0
    _pace: float = 0.0

    @property
    def schema(self) -> pa.Schema:
        """The columns of what comes out."""
        return self.prompts.schema(self._added, self._replaced)

    @property
    def _added(self) -> pa.Schema:
        return pa.schema([*SCORES, *PREDICTIONS]) if self.entropy else SCORES

    @property
    def _replaced(self) -> Sequence[str]:
        """The columns of earlier scores, which new ones replace; other people's columns of these names are kept."""
        if not scored_before(self.prompts):
            return SCORES.names if self.prepared else ()
        return [*SCORES.names, *(PREDICTIONS.names if _has(self.prompts, PREDICTIONS) else ())]

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """The rows from index `start` on, scored, in order.

        Raises:
            RunError: the model is broken, or cannot be reached.
        """
        source = self._encoded(start)
        with ThreadPoolExecutor(1, "tokenise") as reader:
            ahead: Future[Block | None] = reader.submit(next, source, None)
            while (block := ahead.result()) is not None and not self.stopping:
                ahead = reader.submit(next, source, None)
                self._score(block)
                yield block

    def _encoded(self, start: int) -> Iterator[Block]:
        """The rows as tokens, in blocks."""
        for source, completed in self.prompts.completed(self._added, start, self._replaced):
            at = 0
            while at < source.num_rows:
                count = self._block_rows(source)
                yield self._encode(source.slice(at, count), completed.slice(at, count))
                at += count

    def _block_rows(self, batch: pa.RecordBatch) -> int:
        fitting: int = BLOCK_BYTES * batch.num_rows // max(1, batch.nbytes)
        wanted = int(self._pace * BLOCK_SECONDS) if self._pace else BLOCK_ROWS // 8
        return max(1, min(fitting, max(16, wanted), BLOCK_ROWS))

    def _encode(self, source: pa.RecordBatch, completed: pa.RecordBatch) -> Block:
        texts = source[self.text_column].to_pylist() if self.text_column else [None] * source.num_rows
        stored = _stored_scores(source, self.name, self._added) if _has(self.prompts, self._added) else None
        answers, faults = completed["answer"].to_pylist(), faults_of(source)
        there = source.select([name for name in RENDERING.names if name in source.schema.names]).to_pylist()
        found: list[tuple[int, EncodedRow | None, str | None, NDArray[np.float32] | None]] = []
        for index, messages in enumerate(conversations_of(completed["messages"])):
            turns = None if self.texts_alone else messages
            rendered = there[index] if there else {}
            try:
                if (fault := faults[index]) is not None:
                    raise RequestError(fault)
                if stored is not None and (pair := stored[index]) is not None:
                    row, scores = self._scored_row(*pair, turns, answers[index], rendered)
                    found.append((index, row, None, scores))
                elif self.prepared:
                    ids, labels = (source[name][index].as_py() or [] for name in ("input_ids", "labels"))
                    found.append((index, self.encoder.tokens(ids, labels), None, None))
                elif not turns and self.text_column is not None:
                    found.append((index, self.encoder.text(texts[index] or ""), None, None))
                else:
                    rows = self.encoder.conversation(turns or [], answers[index], **rendering(rendered))
                    found += [(index, row, None, None) for row in rows]
            except RequestError as error:
                found.append((index, None, str(error), None))
        indices, encoded, reasons, scores_of = (list(column) for column in zip(*found, strict=True))
        rows_of = completed if len(found) == source.num_rows else _turn_by_turn(completed, indices, encoded)
        return Block(rows_of, encoded, reasons, scores_of, source.num_rows)

    def _scored_row(
        self,
        ids: NDArray[np.int32],
        scores: NDArray[np.float32],
        turns: Any,
        answer: str | None,
        rendered: dict[str, Any],
    ) -> tuple[EncodedRow, NDArray[np.float32]]:
        """A row that was scored before: only what is protected is worked out anew."""
        wanted = np.isfinite(scores[0])
        if not wanted.any():
            raise RequestError("no token to train on")
        protected = np.zeros(len(ids), np.bool_)
        if self.encoder.protect and turns:
            made = self.encoder.conversation(turns, answer, **rendering(rendered))
            again = next((row for row in made if np.array_equal(row.ids[: len(ids)], ids)), None)
            if again is None:
                raise RequestError(
                    "its tokens are not those of its messages: remove the column `scorer` to score it anew"
                )
            protected = again.protected[: len(ids)]
        elif "end-of-turn" in self.encoder.protect:
            protected = np.isin(ids, self.encoder.chat.end_ids) & wanted
        return EncodedRow(ids, wanted, protected), scores

    def _score(self, block: Block) -> None:
        """Fill in the scores of the rows that have none."""
        began = time.monotonic()
        sequences: list[NDArray[np.int32]] = []
        wanted: list[NDArray[np.bool_]] = []
        places: list[tuple[int, slice]] = []
        for index, row in enumerate(block.encoded):
            if row is None or block.scores[index] is not None:
                continue
            assert self.scorer is not None
            block.scores[index] = np.full((3 if self.entropy else 1, len(row.ids)), np.nan, np.float32)
            for start, end, first in windows(len(row.ids), self.scorer.max_length):
                part = row.wanted[start:end].copy()
                part[: first - start] = False
                if part.any():
                    sequences.append(row.ids[start:end])
                    wanted.append(part)
                    places.append((index, slice(start, end)))
        results = self.scorer.score(sequences, wanted) if self.scorer is not None and sequences else []
        for (index, place), part, scores in zip(places, wanted, results, strict=True):
            target = block.scores[index]
            if isinstance(scores, RequestError):
                block.reasons[index], block.scores[index] = f"request failed: {scores}", None
            elif target is not None:
                if np.isnan(scores[..., part]).any():
                    raise RunError("the model is broken: its log-probabilities are not numbers (NaN)")
                target[:, place][:, part] = scores[..., part]
                if np.isneginf(scores[..., part]).any():
                    block.reasons[index] = "a token has no probability at all under the model"
                    block.scores[index] = None
        self.rows_done += block.taken
        self.tokens_done += sum(map(len, sequences))
        if sequences:
            self._pace = block.taken / max(time.monotonic() - began, 1e-6)


_OF_THE_LAST = ("reference", "verdict", "answer", "samples", "logprob")
"""Columns that tell of a conversation's last answer."""


def _turn_by_turn(rows: pa.RecordBatch, indices: Sequence[int], encoded: Sequence[EncodedRow | None]) -> pa.RecordBatch:
    """Rows of which some are several: each of these ends with the turn that it is trained on last, and has its own id.

    The row that ends with the last turn of its conversation is the row itself; what is known of that turn is its alone.
    """
    records = records_of(rows.take(pa.array(indices)))
    for number, (index, row, record) in enumerate(zip(indices, encoded, records, strict=True)):
        if number + 1 < len(indices) and indices[number + 1] == index and row is not None and row.last is not None:
            turns = record["messages"][: row.last + 1]
            answers = sum(turn["role"] == "assistant" for turn in turns)
            record |= {"id": digest(record["id"], "turn", row.last), "parent": record["id"], "messages": turns}
            record |= {name: None for name in _OF_THE_LAST if name in record}
            record |= {"drawn": record["drawn"][:answers]} if record.get("drawn") else {}
    return batch_of(records, rows.schema)


def scored_before(prompts: PromptSet) -> bool:
    """Whether a source has the columns that scoring adds, with their types: then they are of ours."""
    return _has(prompts, SCORES)


def _has(prompts: PromptSet, columns: pa.Schema) -> bool:
    there = prompts.source.schema
    return all(item.name in there.names and there.field(item.name).type == item.type for item in columns)


def prepared_tokens(prompts: PromptSet) -> bool:
    """Whether rows that are no conversations come with the tokens and labels that they are trained on.

    Rows that were scored as plain texts do not: a mask may have left out of their labels what is to be scored.
    """
    schema = prompts.source.schema
    if not all(
        name in schema.names and lists_of(schema.field(name).type, pa.types.is_integer)
        for name in ("input_ids", "labels")
    ):
        return False
    if not scored_before(prompts):
        return True
    scorers = (batch["scorer"].drop_null() for batch in prompts.source.batches())
    first = next((names[0].as_py() for names in scorers if len(names)), "")
    return str(first).endswith(f" {LABELLED}")


def all_scored(prompts: PromptSet, name: str, *, entropy: bool) -> bool:
    """Whether every row of a source was scored before, as `name` says; with `entropy`, with entropies and ranks."""
    figures = PREDICTIONS.names if entropy else []
    return _has(prompts, pa.schema([*SCORES, *(PREDICTIONS if entropy else [])])) and all(
        batch["scorer"].unique().to_pylist() == [name] and not any(batch[figure].null_count for figure in figures)
        for batch in prompts.source.batches(prompts.limit)
        if batch.num_rows
    )


def keeps_entropies(prompts: PromptSet, name: str) -> bool:
    """Whether the rows of a source have entropies and ranks that stay true, as `name` scored them all."""
    return _has(prompts, PREDICTIONS) and all_scored(prompts, name, entropy=True)


def _stored_scores(
    source: pa.RecordBatch, name: str, columns: pa.Schema
) -> list[tuple[NDArray[np.int32], NDArray[np.float32]] | None]:
    """The tokens and scores (as in `Block`) that rows come with in columns, where `name` scored them."""
    ids = source["input_ids"]
    figures = [source[item.name] for item in columns if item.name in FIGURES]
    flat = [figure.values.to_numpy(zero_copy_only=False) for figure in figures]
    pairs: list[tuple[NDArray[np.int32], NDArray[np.float32]] | None] = []
    for index, scorer in enumerate(source["scorer"].to_pylist()):
        if scorer != name or not all(column[index].is_valid for column in (ids, *figures)):
            pairs.append(None)
            continue
        tokens = ids[index].values.to_numpy(zero_copy_only=False).astype(np.int32)
        ends = [(column.offsets[index].as_py(), column.offsets[index + 1].as_py()) for column in figures]
        whole = all(end - begin == len(tokens) for begin, end in ends)
        scores = [values[begin:end] for values, (begin, end) in zip(flat, ends, strict=True)] if whole else []
        pairs.append((tokens, np.array(scores, np.float32)) if whole else None)
    return pairs


def scorer_name(model: str, revision: str, train_on: str) -> str:
    """What the column `scorer` says."""
    return f"{model} {revision} {train_on}"


def scorer_model(name: str) -> str:
    """The model of a `scorer_name`; on a server, what the server's model was called."""
    return name.rsplit(" ", 2)[0].partition("@http")[0].removesuffix("@servers")
