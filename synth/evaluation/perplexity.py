"""Perplexity of texts under a model: of whole documents, or of the assistant's turns in conversations."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synth.chat.format import ChatFormat
from synth.data.files.names import short_name
from synth.data.read import conversations, open_source
from synth.errors import RequestError, RunError, UsageError
from synth.evaluation.names import split_name
from synth.scoring.encoding import RowEncoder, windows
from synth.scoring.token_scores import TokenScorer
from synth.training.rows import TrainingRows, read_training_rows

BLOCK_ROWS = 256
"""Rows that are scored at once."""


@dataclass(frozen=True, slots=True)
class Text:
    """A file's rows as one model's tokens."""

    name: str
    rows: TrainingRows


@dataclass(frozen=True, slots=True)
class Perplexity:
    """The perplexity of a text under a model.

    Attributes:
        value: exp of the mean negative log-probability of the wanted tokens; NaN where none could be scored.
        tokens: how many those are.
        left_out: rows that are not in it, by reason.
    """

    value: float
    tokens: int
    left_out: Counter[str]


def open_texts(sources: Sequence[str], column: str | None, chat: ChatFormat) -> list[Text]:
    """Read files of conversations, of scored tokens, or, with a `column`, of plain texts: FILE or NAME=FILE.

    Raises:
        UsageError: one cannot be read, nothing of it can be scored, or two bear one name.
    """
    texts = [_open(source, column, chat) for source in sources]
    names = [text.name for text in texts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two texts are called {twice}: give one another name, as in `texts` other={twice}.jsonl")
    return texts


def _open(source: str, column: str | None, chat: ChatFormat) -> Text:
    name, file = split_name(source)
    raw = open_source(file)
    plain = column is not None or "input_ids" in raw.schema.names
    rows = read_training_rows(
        raw if plain else conversations(raw), RowEncoder(chat), len(chat.tokenizer), text_column=column
    )
    return Text(name or short_name(file), rows)


def perplexity(text: Text, scorer: TokenScorer) -> Perplexity:
    """Score a text as `synth score-tokens` does: whole, in overlapping windows where a row is longer than the model's.

    Raises:
        RunError: the model is broken, or cannot be reached.
    """
    rows = text.rows
    left_out = Counter(reason.split(":", 1)[0] for _, reason in rows.rejected)
    total, tokens = 0.0, 0
    for first in range(0, len(rows), BLOCK_ROWS):
        parts = [
            (row, rows.starts[row] + start, rows.starts[row] + end, scored - start)
            for row in range(first, min(first + BLOCK_ROWS, len(rows)))
            for start, end, scored in windows(int(rows.sizes[row]), scorer.max_length)
        ]
        wanted = [rows.weights[start:end] > 0 for _, start, end, _ in parts]
        for mask, (_, _, _, scored) in zip(wanted, parts, strict=True):
            mask[: max(scored, 1)] = False  # scored in the window before, or preceded by nothing
        scored_parts = scorer.score([rows.tokens[start:end] for _, start, end, _ in parts], wanted)
        refused = {
            row: error for (row, *_), error in zip(parts, scored_parts, strict=True) if isinstance(error, RequestError)
        }
        left_out.update(str(error).split(":", 1)[0] for error in refused.values())
        for (row, *_), mask, scores in zip(parts, wanted, scored_parts, strict=True):
            if row not in refused and not isinstance(scores, RequestError):
                total += float(np.sum(scores[mask], dtype=np.float64))
                tokens += int(mask.sum())
    if math.isnan(total):
        raise RunError("the model is broken: its log-probabilities are not numbers (NaN)")
    return Perplexity(math.exp(min(-total / tokens, 700.0)) if tokens else math.nan, tokens, left_out)
