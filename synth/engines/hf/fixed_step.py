"""A step of decoding whose tensors keep their shapes and places, so that a GPU can replay it as one CUDA graph.

Launching the operations of a small model, one by one, takes a GPU's host longer than the GPU takes to do them; a
graph is launched at once. What it computes is what `Decoder` computes otherwise, over more: rows are made up to a power
of two, all columns of the cache are seen, and a mask hides what is not there.

    column      0 ........................ C        first = where a row begins; column = where this step writes
    row 0       . . k k k k k k k k + . . .
    row 1       . . . . . . k k k k + . . .
    no row      . . . . . . . . . . + . . .        sees its own column alone: no NaN, and nobody reads it

Nothing here needs a GPU but the graph: on a CPU the same step runs operation by operation.
"""

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Cache
from transformers.cache_utils import DynamicLayer

from synth.engines.device import out_of_memory
from synth.engines.hf.forward import alike, on_device
from synth.engines.hf.kv_batch import KVBatch, NextLogits
from synth.progress import Progress
from synth.quiet import debugging

_CAPTURES = threading.Lock()
"""CUDA allows one capture at a time in a process; each engine has a thread of its own."""


class FixedLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer's keys and values, `[rows, heads, columns, size]`, of which a step writes one column."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, column: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self._column = keys, values, column
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the column of this step and return all columns; the mask hides those that are not there."""
        self.keys.index_copy_(2, self._column, key_states)
        self.values.index_copy_(2, self._column, value_states)
        return self.keys, self.values


class FixedStep:
    """The step for a number of rows over the buffers of a cache, and its graph."""

    def __init__(self, forward: NextLogits, cache: Cache, rows: int, dtype: torch.dtype) -> None:
        """Set it up for the first `rows` rows of the buffers of `cache`."""
        self._forward, self._dtype = forward, dtype
        buffer = cache.layers[0].keys
        self._columns = torch.arange(buffer.shape[2], device=buffer.device)
        self._given = torch.zeros(rows + 1, 2, dtype=torch.int64, device=buffer.device)
        """Of each row its token and its first column; last the column that is written."""
        layers = [FixedLayer(layer.keys[:rows], layer.values[:rows], self._given[rows, :1]) for layer in cache.layers]
        self._cache = Cache(layers=layers)
        self._graph: Any = None
        self._logits: torch.Tensor | None = None

    def __call__(self, tokens: NDArray[np.int64], first: NDArray[np.int64], column: int) -> torch.Tensor:
        """Logits of the rows' next tokens, `[len(tokens), vocabulary]`, until the next of these buffers' steps.

        Args:
            tokens: each row's last token.
            first: each row's first column.
            column: where this step writes.
        """
        given = np.full((len(self._given), 2), column, np.int64)
        given[: len(tokens), 0], given[len(tokens) :, 0] = tokens, 0
        given[: len(first), 1] = first
        given[-1, 0] = column
        self._given.copy_(on_device(given, self._given.device), non_blocking=True)
        if self._graph is not None:
            self._graph.replay()
        else:
            self._logits = self._run()
        return self._logits[: len(tokens)]  # type: ignore[index]  # set by now

    def capture(self, stream: Any, pool: Any) -> None:
        """Make a graph of the step; what it computes is what the last call did, which it may repeat.

        Args:
            stream: where it is captured, which nothing else uses: where a capture fails, what it leaves stays there.
            pool: the memory of the graphs of these buffers. They run one after another, and share it.
        """
        with _CAPTURES, torch.cuda.device(self._given.device):
            before = torch.cuda.current_stream()
            try:
                stream.wait_stream(before)
                with torch.cuda.stream(stream):
                    self._run()  # whatever is set up lazily is set up before
                before.wait_stream(stream)
                graph = torch.cuda.CUDAGraph()
                # Other threads may use the GPU meanwhile, for other models.
                with torch.cuda.graph(graph, pool=pool, stream=stream, capture_error_mode="thread_local"):
                    logits = self._run()
            finally:  # a capture that fails as it ends leaves the thread on its stream
                torch.cuda.set_stream(before)
        self._graph, self._logits = graph, logits

    def _run(self) -> torch.Tensor:
        tokens, first, column = self._given[:-1, :1], self._given[:-1, 1:], self._given[-1, 0]
        seen = (self._columns >= first) & (self._columns <= column)
        mask = torch.zeros(seen.shape, dtype=self._dtype, device=seen.device)
        mask = mask.masked_fill(~seen, torch.finfo(self._dtype).min)[:, None, None]
        return self._forward(tokens, column - first, mask, self._cache)


class FixedSteps:
    """The steps for the numbers of rows that occur; they last until the cache's buffers move.

    Attributes:
        graphs: whether each is made a CUDA graph.
        trusted: whether the step has given the logits of the usual one; None until it was tried, at the first step.
        why: why it is not trusted; None where it is, or was not tried.
    """

    def __init__(self, forward: NextLogits, dtype: torch.dtype, *, graphs: bool) -> None:
        self._forward, self._dtype = forward, dtype
        self._steps: dict[int, FixedStep] = {}
        self._place: tuple[Any, Any] | None = None
        """The stream and the memory pool of the captures."""
        self.graphs = graphs
        self.trusted: bool | None = None
        self.why: str | None = None

    def forget(self) -> None:
        """Drop the steps, as the buffers move or are freed."""
        self._steps.clear()
        self._place = None

    def logits(self, kv: KVBatch, tokens: NDArray[np.int64], usual: Callable[[], torch.Tensor]) -> torch.Tensor:
        """Logits of the rows' next tokens; the usual ones where a fixed step does not work for this model.

        Args:
            kv: the cache, with room for the column that is written.
            tokens: each row's last token.
            usual: computes the logits as otherwise; it writes the same column.
        """
        if self.trusted is False:
            return usual()
        expected = usual() if self.trusted is None else None
        try:
            found = self._step(kv, len(tokens))(tokens, kv.first, kv.window.end)
            if expected is None or alike(found, expected, self._dtype):
                self.trusted = True
                return found
            why = "its logits are others than those of the usual step"
        except Exception as error:  # a model's own code, or the capture of its graph, may raise anything
            if out_of_memory(error):
                raise
            why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        self._distrust(why)
        return usual()  # once more where it was tried, as the other has written this column, too

    def _distrust(self, why: str) -> None:
        self.trusted, self.why = False, why
        self.forget()
        if debugging():
            Progress().say(f"decoding goes on with steps of changing shapes, which take longer on a GPU: {why}")

    def _step(self, kv: KVBatch, count: int) -> FixedStep:
        """The step for so many rows: the next power of two, or all rows of the buffers."""
        buffer = kv.cache.layers[0].keys
        rows = min(1 << (count - 1).bit_length(), buffer.shape[0])
        if rows not in self._steps:
            step = FixedStep(self._forward, kv.cache, rows, self._dtype)
            if self.graphs:
                step(np.zeros(0, np.int64), np.zeros(0, np.int64), kv.window.end)
                self._place = self._place or (torch.cuda.Stream(buffer.device), torch.cuda.graph_pool_handle())
                step.capture(*self._place)
            self._steps[rows] = step
        return self._steps[rows]
