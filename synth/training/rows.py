"""Rows to train on, as tokens with labels and loss weights.

Three forms come in: tokens with labels (what `synth score-tokens` writes, and what other tools prepare; used as they
are, and without labels trained on whole where that is asked for), conversations (encoded here, trained on what the
assistant says), and plain texts (trained on every token).
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.columns import lists_of
from synth.data.read import Rows, conversations
from synth.data.row import FAULT, IGNORED, RENDERING, UNVERIFIED, records_of
from synth.data.run.card import untrained_line
from synth.data.schema.turns import holds_text
from synth.errors import RequestError, UsageError
from synth.scoring.encoding import EncodedRow, RowEncoder, rendering

CHECKED = 50
"""Tokenised rows whose messages are tokenised again, to check that the tokens are this tokenizer's."""


@dataclass(slots=True)
class TrainingRows:
    """Rows end to end: row i is `tokens[starts[i]:starts[i + 1]]`, and so for the other arrays.

    Attributes:
        names: the rows' ids.
        sources: the set each row is of (the column `source` of `synth mix`), "" where nothing is said.
        starts: shape `[rows + 1]`.
        tokens: token ids, shape `[tokens]`.
        labels: what is to be predicted at each token, or `IGNORED`; shape `[tokens]`.
        weights: of each token's loss, 0 where it is not trained on; shape `[tokens]`.
        rejected: (id, reason) of the rows that cannot be trained on.
        untrained: (id, what) of the answers that are not trained on, in rows of which others are: the chat template
            does not write them as they stand.
        unverified: how many rows have an answer that nothing has judged (`UNVERIFIED`).
        replayed: how many of the rows, the last ones, are replay as an objective of its own. Those that are yet to be
            drawn (`synth.training.fresh`) have sizes, but no tokens.
    """

    names: list[str]
    sources: list[str]
    starts: NDArray[np.int64]
    tokens: NDArray[np.int32]
    labels: NDArray[np.int32]
    weights: NDArray[np.float32]
    rejected: list[tuple[str, str]] = field(default_factory=list)
    untrained: list[tuple[str, str]] = field(default_factory=list)
    unverified: int = 0
    replayed: int = 0

    def __len__(self) -> int:
        return len(self.names)

    @property
    def tasks(self) -> int:
        """How many rows are the task's; those after them are replay."""
        return len(self.names) - self.replayed

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Tokens of each row; shape `[rows]`."""
        return np.diff(self.starts)

    @property
    def room(self) -> NDArray[np.int64]:
        """Tokens that each row takes in a batch of its own; shape `[rows]`."""
        return self.sizes

    @property
    def drawn(self) -> int:
        """How often each row is in a step: once, but where a model answers it several times."""
        return 1

    @property
    def trained(self) -> int:
        """Tokens with loss."""
        return int(np.count_nonzero(self.weights))

    @property
    def trained_of_each(self) -> NDArray[np.int64]:
        """Tokens with loss of each row; shape `[rows]`."""
        counts = np.zeros(len(self), np.int64)
        there = self.starts[:-1] < len(self.tokens)
        counts[there] = np.add.reduceat((self.weights != 0).astype(np.int64), self.starts[:-1][there])
        return counts

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows cannot be trained on, by the part of the reason before a colon, the commonest first."""
        return dict(Counter(reason.split(":", 1)[0] for _, reason in self.rejected).most_common())

    @property
    def note(self) -> str | None:
        """What to tell a person of the answers that are not trained on; None where all are."""
        if not self.untrained:
            return None
        name, what = self.untrained[0]
        return f"{untrained_line(len(self.untrained))}; the first: {name}, {what}"


@dataclass(slots=True)
class _Row:
    tokens: NDArray[np.int32]
    labels: NDArray[np.int32]
    weights: NDArray[np.float32] | None = None


def read_training_rows(
    rows: Rows,
    encoder: RowEncoder,
    vocabulary: int,
    *,
    text_column: str | None = None,
    only_texts: bool = True,
    limit: int | None = None,
    unnamed: str = "row",
    every_of: Collection[str] = (),
) -> TrainingRows:
    """Read all rows.

    Args:
        rows: the source; its columns decide the form: `input_ids` (with `labels`, and `weights` if there are any), or
            the `text_column` and `messages`.
        encoder: of the model to be trained; its window and its rule for overlong rows hold for every form.
        vocabulary: token ids that the model knows.
        text_column: the column with plain texts, or None.
        only_texts: whether every row is one where there is such a column; else those are that have no messages.
        limit: rows to take; None takes all.
        unnamed: what rows without an id are called, before their number.
        every_of: sources of rows for which `encoder.every` holds.

    Raises:
        UsageError: the tokens are another tokenizer's, a column has another type than it should, or nothing is left.
    """
    _check_text_column(rows, text_column)
    tokenised = "input_ids" in rows.schema.names
    if tokenised:
        _check_types(rows)
        _check_tokenizer(rows, encoder)
    kept: list[_Row] = []
    names: list[str] = []
    sources: list[str] = []
    rejected: list[tuple[str, str]] = []
    untrained: list[tuple[str, str]] = []
    unverified = 0
    of_task, of_every = encoder, replace(encoder, every=True)
    for index, record in enumerate(_records(rows, limit)):
        encoder = of_every if record.get("source") in every_of else of_task
        name = str(record.get("id") or f"{unnamed} {index}")
        try:
            if (fault := record.get(FAULT)) is not None:
                raise RequestError(fault)
            if tokenised:
                found = [_tokenised(record, encoder, vocabulary)]
            elif text_column is not None and (only_texts or not record["messages"]):
                found = [_encoded(encoder.text(record[text_column] or ""))]
            else:
                encoded = encoder.conversation(record["messages"] or [], record.get("answer"), **rendering(record))
                untrained.extend((name, what) for row in encoded for what in row.untrained)
                found = [_encoded(row) for row in encoded]
            if any(row.tokens.max(initial=0) >= vocabulary for row in found):
                raise RequestError(f"a token id is outside the model's vocabulary of {vocabulary:,}")
        except RequestError as error:
            rejected.append((name, str(error)))
            continue
        kept += found
        names += [name] * len(found)
        unverified += record.get("verdict") == UNVERIFIED
        sources += [record.get("source") or ""] * len(found)
    if not kept:
        raise UsageError(f"{rows.source} has nothing to train on{_first_reason(rejected)}")
    if tokenised:
        _check_labels(rows.source, kept)
    return TrainingRows(names, sources, *_joined(kept), rejected, untrained, unverified)


def _joined(
    rows: Sequence[_Row],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
    """Rows end to end: `starts`, `tokens`, `labels` and `weights` of `TrainingRows`."""
    weights = []
    for row in rows:
        own = np.ones(len(row.tokens), np.float32) if row.weights is None else row.weights
        own[row.labels == IGNORED] = 0
        weights.append(own)
    return (
        np.cumsum([0, *(len(row.tokens) for row in rows)]),
        np.concatenate([row.tokens for row in rows]),
        np.concatenate([row.labels for row in rows]),
        np.concatenate(weights),
    )


def _check_text_column(rows: Rows, name: str | None) -> None:
    texts = [item.name for item in rows.schema if holds_text(item.type)]
    if name is not None and name not in texts:
        there = ", ".join(texts) or "none"
        raise UsageError(f"`text_column`: {rows.source} has no column of texts {name!r}; there are: {there}")


def _records(rows: Rows, limit: int | None) -> Iterator[dict[str, Any]]:
    wanted = {"id", "source", "input_ids", "labels", "weights", "messages", "answer", "verdict", *RENDERING.names}
    names = [name for name in rows.schema.names if name in wanted or holds_text(rows.schema.field(name).type)]
    for batch in rows.judged(limit):
        yield from records_of(batch.select([name for name in (*names, FAULT) if name in batch.schema.names]))


def _encoded(row: EncodedRow) -> _Row:
    return _Row(row.ids, np.where(row.wanted, row.ids, np.int32(IGNORED)))


def _tokenised(record: dict[str, Any], encoder: RowEncoder, vocabulary: int) -> _Row:
    """A row as its columns say; nothing precedes its first token, so that one is never predicted."""
    if not record["input_ids"]:
        raise RequestError("no tokens")
    tokens = _integers(record, "input_ids")
    if record.get("labels") is not None:
        labels = _integers(record, "labels")
    elif encoder.train_on == "all" or encoder.every:
        labels = tokens.copy()
    else:
        raise RequestError("no labels: `train_on` all trains on every token of such a row")
    weights = None if record.get("weights") is None else np.array(record["weights"], np.float32)
    for name, values in (("labels", labels), ("weights", weights)):
        if values is not None and len(values) != len(tokens):
            raise RequestError(f"{len(values):,} {name} for {len(tokens):,} tokens")
    for name, values in (("input_ids", tokens), ("labels", labels[labels != IGNORED])):
        if len(values) and not 0 <= values.min() <= values.max() < vocabulary:
            raise UsageError(
                f"{name} of row {record.get('id')} go from {values.min():,} to {values.max():,}; the model knows "
                f"{vocabulary:,} tokens: they are of another tokenizer. Encode the messages again: synth mix … --as "
                "messages"
            )
    if weights is not None and not (np.isfinite(weights).all() and (weights >= 0).all()):
        raise RequestError("weights that are negative or not numbers")
    if encoder.window is not None and len(tokens) > encoder.window:
        if encoder.overlong == "drop":
            raise RequestError(f"overlong: {len(tokens):,} tokens, the window holds {encoder.window:,}")
        cut = slice(0, encoder.window)
        tokens, labels, weights = tokens[cut], labels[cut], None if weights is None else weights[cut]
    labels[0] = IGNORED
    trained = (labels != IGNORED)[slice(None) if weights is None else weights > 0].any()
    if not trained and not (encoder.every and len(tokens) > 1):
        raise RequestError("no token to train on")
    return _Row(tokens.astype(np.int32), labels.astype(np.int32), weights)


def _integers(record: dict[str, Any], name: str) -> NDArray[np.int64]:
    if None in record[name]:
        raise RequestError(f"{name} with null in them")
    try:
        return np.array(record[name], np.int64)
    except OverflowError as error:
        raise RequestError(f"{name} that are no token ids") from error


def _check_types(rows: Rows) -> None:
    for name in ("input_ids", "labels", "weights"):
        if name not in rows.schema.names:
            continue
        kind = rows.schema.field(name).type
        if pa.types.is_null(kind):
            continue  # each row is rejected
        tests = (pa.types.is_integer, pa.types.is_floating) if name == "weights" else (pa.types.is_integer,)
        if not lists_of(kind, *tests):
            wanted = "numbers" if name == "weights" else "whole numbers"
            raise UsageError(f"column {name} of {rows.source} is {kind}; it must hold lists of {wanted}")


def _check_tokenizer(rows: Rows, encoder: RowEncoder) -> None:
    """Tokenise some messages again and compare.

    Raises:
        UsageError: the tokens differ from those in the data.
    """
    if "messages" not in rows.schema.names:
        return
    try:
        told = conversations(rows)
    except UsageError:  # the messages are not a conversation, and are not trained on
        return
    for record in _records(told, CHECKED):
        if record.get(FAULT) is not None:
            continue
        try:
            own = encoder.tokens_of(record["messages"] or [], **rendering(record))
        except RequestError:
            continue
        given: Sequence[int] = record["input_ids"] or []
        if not any(list(given) == ids[: len(given)] for ids in own):
            raise UsageError(
                f"the tokens of row {record.get('id')} are not those of the model's tokenizer and chat template: score "
                "the rows with the model that is to be trained (synth score-tokens --model …), or train on their "
                "messages (synth mix … --as messages)"
            )


def _check_labels(source: str, rows: Sequence[_Row]) -> None:
    """Check that labels are aligned with the tokens they name, as in transformers and TRL, where the loss shifts them.

    Some may differ on purpose; where most do, they are another tokenizer's, or shifted already.

    Raises:
        UsageError: most labels differ from their tokens.
    """
    trained = differ = shifted = 0
    for row in rows:
        wanted = row.labels != IGNORED
        trained += int(wanted.sum())
        differ += int((row.labels != row.tokens)[wanted].sum())
        shifted += int((row.labels[:-1] == row.tokens[1:])[wanted[:-1]].sum())
    if 2 * differ > trained:
        what = "they are shifted by one." if 2 * shifted > trained else "are they of another tokenizer?"
        raise UsageError(
            f"{differ:,} of {trained:,} labels of {source} are not the token at their place: {what} A label stands at "
            "the token that it names, and is that token's id, or -100 for no loss"
        )


def _first_reason(rejected: Sequence[tuple[str, str]]) -> str:
    if not rejected:
        return ""
    name, reason = rejected[0]
    return f": of {len(rejected):,} rows none can be trained on; {name}: {reason}"
