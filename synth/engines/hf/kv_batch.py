"""The key-value cache of a batch that rows join and leave while it is running.

Rows are kept dense: row i of the batch is row i of every buffer. All rows end at the same column, so a decoding step
writes one column for everyone; a shorter row starts further to the right, and what lies left of its first column is
masked:

    column      start ............ end
    row 0       k k k k k k k k k k |
    row 1       . . . . k k k k k k |      first[1] = start + 4
    row 2       . . . . . . . k k k |

A row that joins is copied in once; a row that leaves is overwritten by the last one. The columns that nobody uses any
more fall off the left side of the window without a copy.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicLayer

from synth.errors import UsageError

_SLACK = 64
"""Columns allocated ahead, at least: every reallocation copies the whole window."""


@dataclass(slots=True)
class Window:
    """The part of the buffers in use: rows `[0, rows)`, columns `[start, end)`."""

    rows: int = 0
    start: int = 0
    end: int = 0


class WindowLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped here
    """One layer's keys and values, `[rows, heads, columns, size]`, of which attention sees the window."""

    def __init__(self, window: Window, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.window = window
        self.keys = keys
        self.values = values
        self.dtype, self.device = keys.dtype, keys.device
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write one column behind the window and return what attention sees: the window and that column."""
        w = self.window
        self.keys[: w.rows, :, w.end : w.end + 1] = key_states
        self.values[: w.rows, :, w.end : w.end + 1] = value_states
        return self.keys[: w.rows, :, w.start : w.end + 1], self.values[: w.rows, :, w.start : w.end + 1]

    def get_seq_length(self) -> int:
        """Width of the window: transformers derives mask and query positions from it."""
        return self.window.end - self.window.start


class KVBatch:
    """The cache of a running batch.

    Attributes:
        cache: what the model is given (`cache_argument`) to decode one token per row.
        window: rows and columns in use.
    """

    def __init__(self, template: DynamicCache, max_rows: int, moving: Callable[[], None]) -> None:
        """Start empty.

        Args:
            template: any filled cache of the model; layers have its shapes and dtypes.
            max_rows: rows at most.
            moving: is called before the buffers are allocated anew.
        """
        self._moving = moving
        self.window = Window()
        self.cache = Cache(
            layers=[
                WindowLayer(self.window, layer.keys[:0, :, :0], layer.values[:0, :, :0]) for layer in template.layers
            ]
        )
        self._max_rows = max_rows
        self._first = np.zeros(max_rows, np.int64)

    @property
    def first(self) -> NDArray[np.int64]:
        """The first column of each row."""
        return self._first[: self.window.rows]

    def append(self, prefilled: DynamicCache, lengths: NDArray[np.int64], source: NDArray[np.int64]) -> None:
        """Add rows behind the last: new row i is a copy of row `source[i]` of a left-padded prefill.

        Args:
            prefilled: the cache after the prefill, full length in every layer.
            lengths: tokens without padding of each new row, shape `[new rows]`.
            source: shape `[new rows]`.
        """
        w, new, width = self.window, len(source), prefilled.get_seq_length()
        rows_there, _, columns_there, _ = self.cache.layers[0].keys.shape
        if w.rows == 0:
            w.start = w.end = min(width, columns_there)
        if w.rows + new > rows_there or w.end < width:
            rows = max(w.rows + new, min(2 * rows_there, self._max_rows))
            self._reallocate(rows, before=max(0, width - (w.end - w.start)))
        index = torch.from_numpy(source).to(self.cache.layers[0].keys.device)
        here = (slice(w.rows, w.rows + new), slice(None), slice(w.end - width, w.end))
        for layer, filled in zip(self.cache.layers, prefilled.layers, strict=True):
            layer.keys[here] = filled.keys.index_select(0, index)
            layer.values[here] = filled.values.index_select(0, index)
        self._first[w.rows : w.rows + new] = w.end - lengths
        w.rows += new
        w.start = int(self._first[: w.rows].min())

    def remove(self, leaving: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Remove rows. Rows from the end move into the holes, so that the batch stays dense.

        Returns:
            `(holes, tails)`: row `tails[i]` is now row `holes[i]`; rows from `window.rows` on are gone.
        """
        w = self.window
        rows = w.rows - len(leaving)
        holes = leaving[leaving < rows]
        tails = np.setdiff1d(np.arange(rows, w.rows), leaving)
        if len(holes):
            device = self.cache.layers[0].keys.device
            to, of = torch.from_numpy(holes).to(device), torch.from_numpy(tails).to(device)
            for layer in self.cache.layers:
                for buffer in (layer.keys, layer.values):
                    buffer[to, :, w.start : w.end] = buffer[of, :, w.start : w.end]
            self._first[holes] = self._first[tails]
        w.rows = rows
        if rows:
            w.start = int(self._first[:rows].min())
        return holes, tails

    def make_room(self) -> None:
        """Make room for one more column."""
        if self.window.end == self.cache.layers[0].keys.shape[2]:
            self._reallocate(self.cache.layers[0].keys.shape[0], before=0)

    def next_column(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What a step sees that writes the next column, for which there is room.

        Returns:
            Position of each row's next token, `[rows, 1]`, and the attention mask over window and new column,
            `[rows, end - start + 1]`, on the cache's device.
        """
        w = self.window
        first = torch.from_numpy(self.first[:, None]).to(self.cache.layers[0].keys.device)
        columns = torch.arange(w.start, w.end + 1, device=first.device)
        return w.end - first, columns >= first

    def advance(self) -> None:
        """Take the column that the model has just written into the window."""
        self.window.end += 1

    def _reallocate(self, rows: int, before: int) -> None:
        """Move the window into new buffers, `before` free columns on its left and some slack on its right."""
        self._moving()
        w = self.window
        width = w.end - w.start
        columns = before + width + max(_SLACK, (before + width) // 4)
        for layer in self.cache.layers:
            for name in ("keys", "values"):
                old = getattr(layer, name)
                # Zeros, not garbage: attention multiplies masked columns by a weight of zero, and 0 * NaN is NaN.
                new = old.new_zeros(rows, old.shape[1], columns, old.shape[3])
                new[: w.rows, :, before : before + width] = old[: w.rows, :, w.start : w.end]
                setattr(layer, name, new)
        self._first[: w.rows] += before - w.start
        w.start, w.end = before, before + width


class NextLogits:
    """A model, asked for what follows the last of some tokens."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._cache_argument = cache_argument(model)
        self._accepted = inspect.signature(model.forward).parameters.keys() & {"position_ids", "logits_to_keep"}

    def __call__(self, ids: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, cache: Any) -> torch.Tensor:
        """Logits of the last position, float32, `[rows, vocabulary]`, where the sampler works.

        Args:
            ids: tokens, `[rows, columns]`.
            positions: theirs in their rows.
            mask: which columns of the cache and of these are seen, `[rows, columns]`; or what is added to scores,
                `[rows, 1, columns, columns of the cache]`.
            cache: of the model, which these tokens join.
        """
        extra = {"position_ids": positions, "logits_to_keep": 1}
        logits = self._model(
            input_ids=ids,
            attention_mask=mask,
            use_cache=True,
            **{self._cache_argument: cache},
            **{name: extra[name] for name in self._accepted},
        ).logits[:, -1]
        # The sampler needs float64, which MPS lacks.
        found: torch.Tensor = logits.cpu().float() if logits.device.type == "mps" else logits.float()
        return found


def probe_cache(model: Any) -> DynamicCache:
    """Run one token through `model` and return its cache, having checked that rows of such a cache can be mixed.

    Every layer must keep plain keys and values, `[rows, heads, tokens, size]`. Sliding-window layers qualify: they
    are kept in full, and the model's own mask hides what lies outside the window.

    Raises:
        UsageError: the model keeps another kind of state (Mamba, linear attention, hybrids, …).
    """
    refusal = UsageError(
        f"{type(model).__name__} keeps a state other than keys and values for each token, which the transformers "
        "engine cannot batch; use `engine` vllm"
    )
    kinds = {layer.__class__.__name__ for layer in DynamicCache(config=model.config).layers}
    if not kinds <= {"DynamicLayer", "DynamicSlidingWindowLayer"}:
        raise refusal
    cache = DynamicCache()
    token = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    try:
        with torch.inference_mode():
            model(input_ids=token, use_cache=True, **{cache_argument(model): cache})
    except (TypeError, ValueError, AttributeError) as error:
        raise refusal from error
    if not cache.layers or any(
        layer.keys is None or layer.keys.dim() != 4 or layer.keys.shape[2] != 1 for layer in cache.layers
    ):
        raise refusal
    return cache


def sees_all(model: Any) -> bool:
    """Whether every layer attends to the whole cache, not to a window of it that slides."""
    return all(layer.__class__.__name__ == "DynamicLayer" for layer in DynamicCache(config=model.config).layers)


def cache_argument(model: Any) -> str:
    """What the model's forward calls the cache: `cache` in newer releases of transformers, else `past_key_values`."""
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
