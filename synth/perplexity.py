"""Perplexity of texts under a model: of documents whole, of conversations what the assistant says."""

import asyncio
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from synth.chat import ChatFormat
from synth.engines.base import Engine
from synth.errors import RequestError
from synth.read import conversations, open_source
from synth.suites import split_name
from synth.token_encoding import RowEncoder
from synth.training.rows import TrainingRows, read_training_rows


@dataclass(frozen=True, slots=True)
class Text:
    """A file's rows as one model's tokens."""

    name: str
    rows: TrainingRows


def open_text(file: str, column: str | None, chat: ChatFormat) -> Text:
    """Read FILE or NAME=FILE of conversations, of scored tokens, or, with a `column`, of plain texts.

    Raises:
        UsageError: it cannot be read, or nothing of it can be scored.
    """
    name, file = split_name(file)
    raw = open_source(file)
    plain = column is not None or "input_ids" in raw.schema.names
    rows = read_training_rows(
        raw if plain else conversations(raw), RowEncoder(chat), len(chat.tokenizer), text_column=column
    )
    return Text(name or Path(file).name.split(".")[0], rows)


async def perplexity(text: Text, engine: Engine) -> float:
    """Perplexity, exp of the mean negative log-probability of the wanted tokens; NaN where none can be scored.

    A row longer than the model's window is cut there.
    """
    rows = text.rows

    async def score(start: int, end: int) -> tuple[float, int]:
        wanted = rows.weights[start:end] > 0
        wanted[0] = False
        try:
            found = await engine.logprobs(rows.tokens[start:end].tolist())
        except RequestError:
            return 0.0, 0
        return float(np.sum(found[wanted], dtype=np.float64)), int(wanted.sum())

    ends = [min(end, start + engine.max_length) for start, end in zip(rows.starts, rows.starts[1:], strict=False)]
    sums = await asyncio.gather(*(score(start, end) for start, end in zip(rows.starts, ends, strict=False)))
    tokens = sum(count for _, count in sums)
    return math.exp(-sum(total for total, _ in sums) / tokens) if tokens else math.nan
