"""The context in which filters are made: columns of the set, files to read, embedding models."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from filters.contamination import answer_column, question_column
from filters.names import near_or_all
from synth.chat.derive import format_for
from synth.chat.format import ChatFormat
from synth.curation.embeddings import Embedder, open_embedder
from synth.curation.frames import blocks_of
from synth.data.prompts import PromptSet, open_prompts
from synth.data.read import Rows, conversations, open_source
from synth.data.schema.benchmarks import benchmark_of
from synth.data.schema.turns import holds_text
from synth.engines.base import EngineOptions
from synth.engines.loading import load_tokenizer
from synth.engines.open import model_revision
from synth.errors import UsageError

_TOKENIZED_ROWS = 1024

Text = Literal["answer", "prompt", "text", "thoughts"]
"""Columns that may be measured and compared."""


@dataclass(slots=True)
class FilterContext:
    """The context in which filters are made.

    Attributes:
        columns: of the frame they will see.
        seed: of what is drawn.
        device: where models run.
        inputs: fingerprints of the files and revisions of the models that filters read, by name; filled as they are
            made.
        piped: whether standard input, which can be read once, is taken.
    """

    columns: Sequence[str]
    seed: int = 0
    device: str = "auto"
    inputs: dict[str, str | None] = field(default_factory=dict)
    piped: bool = False
    _embedders: dict[str, Embedder] = field(default_factory=dict)
    _vectors: dict[tuple[str, str], list[tuple[NDArray[np.int64], NDArray[np.float32]]]] = field(default_factory=dict)

    def column(self, name: str) -> str:
        """The name of a column, if there is one.

        Raises:
            UsageError: there is none.
        """
        if name not in self.columns:
            raise UsageError(f"there is no column {name}{near_or_all(name, self.columns)}")
        return name

    def open(self, source: str) -> PromptSet:
        """A data set of conversations.

        Raises:
            UsageError: it cannot be read, or is standard input and that is taken.
        """
        return self._conversations(source, self._source(source))

    def _conversations(self, source: str, rows: Rows) -> PromptSet:
        prompts = open_prompts(conversations(rows))
        self.inputs[source] = prompts.fingerprint
        return prompts

    def _source(self, source: str) -> Rows:
        if source == "-":
            if self.piped:
                raise UsageError("standard input is one set: only the input, or what it is compared with, can be -")
            self.piped = True
        return open_source(source)

    def embedding(self, model: str, of: Text) -> Callable[[pl.DataFrame], pl.Series]:
        """A function that embeds the texts of a frame: unit vectors, as a column `vector`.

        The model is loaded at the first call. Rows keep their vectors: the next filter, which sees some of them, need
        not make them again.
        """
        if ":" not in model:  # models of other libraries are recorded by their name in the step
            self.inputs[model] = model_revision(model)
        known = self._vectors.setdefault((model, of), [])

        def embed(frame: pl.DataFrame) -> pl.Series:
            rows = frame["row"].to_numpy()
            made = bisect_right(known, rows[0], key=lambda block: block[0][0]) - 1
            if made < 0 or rows[0] > known[made][0][-1]:
                made = len(known)
                known.append((rows, self.vectors(model, frame[of])))
            theirs, vectors = known[made]
            return pl.Series("vector", vectors[np.searchsorted(theirs, rows)])

        return embed

    def chat(self, model: str) -> ChatFormat:
        """A model's chat format.

        Raises:
            UsageError: there is no such model, or it has no chat template.
        """
        chat = format_for(model)
        self.inputs[model] = model_revision(model)
        return chat

    def token_counter(self, model: str) -> Callable[[list[str]], list[int]]:
        """A function that counts the tokens of texts, without those that a chat template puts around them.

        Raises:
            UsageError: there is no such model.
        """
        tokenizer = load_tokenizer(model)
        self.inputs[model] = model_revision(model)

        def count(texts: list[str]) -> list[int]:
            counts: list[int] = []
            for first in range(0, len(texts), _TOKENIZED_ROWS):  # all at once would take memory for all ids
                some = texts[first : first + _TOKENIZED_ROWS]
                ids = tokenizer(some, add_special_tokens=False, split_special_tokens=True)["input_ids"]
                counts += map(len, ids)
            return counts

        return count

    def vectors(self, model: str, texts: pl.Series) -> NDArray[np.float32]:
        """Unit vectors of texts that are not in the set."""
        return self._embedder(model)(texts.fill_null("").to_list())

    def _embedder(self, model: str) -> Embedder:
        """The model, loaded once."""
        if model not in self._embedders:
            self._embedders[model] = open_embedder(model, EngineOptions(device=self.device))
        return self._embedders[model]

    def open_benchmark(self, source: str) -> list[tuple[str | None, str | None]]:
        """A benchmark's questions and answers, item by item; any conversations will do."""
        prompts = open_prompts(self._source(source))
        if known := benchmark_of(prompts.source.schema, prompts.source.batches):
            self.inputs[source] = prompts.fingerprint
            return [known.item(record) for _, record in prompts.records()]
        texts = [column.name for column in prompts.source.schema if _is_text(column.type)]
        try:
            asked = question_column(texts)
        except ValueError:
            rows = self._conversations(source, prompts.source)
            return [pair for block in blocks_of(rows) for pair in block.frame().select("prompt", "answer").iter_rows()]
        self.inputs[source] = prompts.fingerprint
        answered = answer_column(name for name in texts if name != asked)
        items: list[tuple[str | None, str | None]] = []
        for batch in prompts.source.batches():
            answers = [None] * batch.num_rows if answered is None else map(_joined, batch[answered].to_pylist())
            items += zip(map(_joined, batch[asked].to_pylist()), answers, strict=True)
        return items


def _is_text(kind: pa.DataType) -> bool:
    """Strings, or lists of them, such as the turns of MT-Bench."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return holds_text(kind)


def _joined(text: str | list[str | None] | None) -> str | None:
    return "\n\n".join(filter(None, text)) if isinstance(text, list) else text
