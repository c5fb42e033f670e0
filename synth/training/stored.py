"""What the model before training predicts, computed once and stored, so that it need not be in memory.

Of each token where a divergence counts: the K tokens likeliest in its place, their log-probabilities, and that of all
others together. The divergence is then one of distributions over K + 1 outcomes, which is never more than that over the
whole vocabulary, and less by what happens among the others: little, where they have little probability before training
and after it. With forward KL and JS that is a matter of K; with reverse KL the model may come to like one of the
others, and only their sum would tell. tests/benchmarks/bench_reference.py measures what is lacking.
"""

import hashlib
import os
import shutil
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import log_softmax

from synth.engines.hf.split import SplitModel
from synth.errors import RunError, UsageError
from synth.scoring.losses import coarse_divergences
from synth.training.batches import Batch, Collator
from synth.training.head import rows_at_once, through
from synth.training.reference import Compare
from synth.values import Divergence

_OPENED = 128
"""Parts that are held open, each with a descriptor or a mapping of memory."""


class StoredReference:
    """Predictions in files, those of some rows in each, written whole or not at all.

    Attributes:
        folder: where they are; its name is made of all that decides them, so that no other run's are taken for these.
        parts: the rows of each file, which go through the model together: of like length, longest first.
        positions: how many predictions there are.
        size: of all files, in bytes.
    """

    def __init__(
        self,
        folder: Path,
        collator: Collator,
        used: NDArray[np.int64],
        *,
        top_k: int,
        tokens: int,
        vocabulary: int,
        model: str,
    ) -> None:
        """Plan the files; none is written yet.

        Args:
            folder: that of a run's stored predictions.
            collator: makes batches of its rows, and knows at which tokens a divergence counts.
            used: the rows that are trained on.
            top_k: how many tokens are kept of each prediction; at most all but one.
            tokens: that go through the model together.
            vocabulary: tokens that the model knows.
            model: what tells it from any other model.
        """
        assert collator.compared is not None
        self._top_k = top_k = min(top_k, vocabulary - 1)
        kind = np.uint16 if vocabulary <= 1 << 16 else np.uint32
        self._type = np.dtype([("tokens", kind, (top_k,)), ("logs", np.float16, (top_k,)), ("rest", np.float32)])
        self._collator, self._vocabulary = collator, vocabulary
        self._counts = np.add.reduceat(collator.compared.astype(np.int64), collator.rows.starts[:-1])
        self.parts = _parts(collator, used[self._counts[used] > 0], tokens)
        self.positions = int(self._counts[used].sum())
        self.size = self.positions * self._type.itemsize
        self._part, self._start = np.zeros((2, len(self._counts)), np.int64)
        for part, rows in enumerate(self.parts):
            self._part[rows] = part
            self._start[rows] = np.cumsum(self._counts[rows]) - self._counts[rows]
        digest = hashlib.blake2b(repr((model, self._type)).encode(), digest_size=12)
        for values in (collator.rows.starts, collator.rows.tokens, collator.compared, *self.parts):
            digest.update(np.ascontiguousarray(values).data)
        self.folder = folder / digest.hexdigest()
        self._opened: OrderedDict[int, NDArray[Any]] = OrderedDict()  # the parts last read

    def _file(self, part: int) -> Path:
        return self.folder / f"{part:06d}.npy"

    def missing(self) -> list[int]:
        """The parts whose files are not there, or not whole."""
        return [part for part in range(len(self.parts)) if self._open(part) is None]

    def _open(self, part: int) -> NDArray[Any] | None:
        try:
            found: NDArray[Any] = np.load(self._file(part), mmap_mode="r")
        except (OSError, ValueError):
            return None
        whole = found.dtype == self._type and len(found) == self._counts[self.parts[part]].sum()
        return found if whole else None

    def check_space(self) -> None:
        """Refuse what the disk cannot hold.

        Raises:
            UsageError: it is too much.
        """
        free = shutil.disk_usage(next(path for path in self.folder.parents if path.exists())).free
        if self.size > free:
            raise UsageError(
                f"`reference_top_k`: {self.positions:,} predictions take {self.size / 2**30:,.1f} GiB, and "
                f"{self.folder.parent} has room for {free / 2**30:,.1f}: lower it, or take fewer rows"
            )

    def compute(self, part: int, model: Any, split: SplitModel, device: torch.device) -> None:
        """Write the predictions of a part.

        Args:
            part: which.
            model: the model before training, in eval mode, as `return_from_head` has changed it.
            split: its parts.
            device: that of the model.

        Raises:
            RunError: they are not numbers.
        """
        batch = self._collator(self.parts[part].tolist())
        batch = {name: value.to(device) if torch.is_tensor(value) else value for name, value in batch.items()}
        states = through(model, batch, lambda states: states[: batch["compared"]])
        found = np.empty(len(states), self._type)
        at_once = rows_at_once(states, self._vocabulary)
        for begin in range(0, len(states), at_once):
            some = slice(begin, begin + at_once)
            logs = log_softmax(split.logits(states[some]).float(), -1)
            likeliest = logs.topk(self._top_k, -1)
            rest = logs.scatter(-1, likeliest.indices, -torch.inf).logsumexp(-1)
            found["tokens"][some] = likeliest.indices.cpu()
            found["logs"][some], found["rest"][some] = likeliest.values.cpu(), rest.cpu()
        if np.isnan(found["rest"]).any():
            raise RunError("the model is broken: its logits are not numbers (NaN)")
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = self._file(part).with_suffix(".tmp")
        with open(unfinished, "wb") as file:
            np.save(file, found)
        os.replace(unfinished, self._file(part))

    def likeliest(self, rows: Sequence[int]) -> dict[str, NDArray[Any]]:
        """What a batch says of the predictions in rows that are all the task's or all replay, longest first.

        Returns:
            Tokens, shape `[compared, K]`, and their log-probabilities and that of all others, `[compared, K + 1]`.

        Raises:
            RunError: a file has gone.
        """
        found = [self._of_row(row) for row in rows if self._counts[row]]
        records = np.concatenate(found) if found else np.empty(0, self._type)
        logs = np.concatenate([records["logs"].astype(np.float32), records["rest"][:, None]], 1)
        return {"likeliest": records["tokens"].astype(np.int64), "likeliest_logs": logs}

    def _of_row(self, row: int) -> NDArray[Any]:
        part = int(self._part[row])
        records = self._opened.pop(part, None)
        if records is None:  # not again for every row: that would take longer than to read it
            records = self._open(part)
        if records is None:
            raise RunError(f"{self._file(part)} has gone: run this again, and it is computed once more")
        self._opened[part] = records
        if len(self._opened) > _OPENED:
            self._opened.popitem(last=False)
        return records[self._start[row] : self._start[row] + self._counts[row]]

    def compare(self, batch: Batch, model: Any) -> Compare:
        """Compare with what is stored; the batch has it already."""

        def apart(logits: torch.Tensor, part: slice, kind: Divergence) -> torch.Tensor:
            return coarse_divergences(batch["likeliest"][part], batch["likeliest_logs"][part], logits, kind)

        return apart


def _parts(collator: Collator, rows: NDArray[np.int64], tokens: int) -> list[NDArray[np.int64]]:
    """Rows of like length together, as many as make so many tokens, and none of the task with one of replay."""
    sizes, first_replay = collator.rows.sizes, collator.rows.tasks
    parts: list[list[int]] = []
    for row in rows[np.lexsort((rows, -sizes[rows], rows >= first_replay))].tolist():
        if parts and (parts[-1][0] >= first_replay) == (row >= first_replay):
            several = [*parts[-1], row]
            if (sizes[several[0]] * len(several) if not collator.packed else sizes[several].sum()) <= tokens:
                parts[-1].append(row)
                continue
        parts.append([row])
    return [np.array(part) for part in parts]
