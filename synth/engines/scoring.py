"""Log-probabilities of given tokens under a model: batches by length, target tokens only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth.engines.device import out_of_memory
from synth.errors import RequestError, RunError

_BATCH_TOKENS = 8192
"""Tokens of one forward pass, padding included, at most (a longer sequence goes alone)."""
_BATCH_LOGITS = 1 << 26
"""Logits that one forward pass makes at most: a vocabulary of 128,000 leaves room for 512 tokens."""
_CHUNK_LOGITS = 1 << 22
"""Logits that are turned to float32 and normalised at once."""


class Scorer:
    """Scores sequences with one model; used from one thread, under `torch.inference_mode`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._budget = min(_BATCH_TOKENS, _BATCH_LOGITS // model.config.get_text_config().vocab_size)

    def score(self, sequences: Sequence[list[int]]) -> list[NDArray[np.float32] | RequestError]:
        """Log-probability (nats) of each token given those before it, NaN for the first, in the order given.

        A sequence that does not fit in memory even alone gets a RequestError in its place.

        Raises:
            RunError: the model gives no numbers.
        """
        scores: dict[int, NDArray[np.float32] | RequestError] = {}
        left = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        while left:
            count = 1
            while count < len(left) and (count + 1) * len(sequences[left[count]]) <= self._budget:
                count += 1
            batch = [sequences[i] for i in left[:count]]
            try:
                found: Sequence[NDArray[np.float32] | RequestError] = self._score(batch)
            except (RuntimeError, MemoryError) as error:
                if not out_of_memory(error):
                    raise
                if count > 1:
                    self._budget = count * len(batch[-1]) // 2
                    continue
                found = [RequestError(f"out of memory on one sequence of {len(batch[0])} tokens")]
            scores.update(zip(left[:count], found, strict=True))
            left = left[count:]
        return [scores[i] for i in range(len(sequences))]

    def _score(self, batch: list[list[int]]) -> list[NDArray[np.float32]]:
        """Score sequences in one forward pass, padded on the right, where causal attention never looks."""
        width = max(map(len, batch))
        ids = np.zeros((len(batch), width), np.int64)
        for row, tokens in zip(ids, batch, strict=True):
            row[: len(tokens)] = tokens
        inputs = torch.from_numpy(ids).to(self._model.device)
        logits = self._model(input_ids=inputs, use_cache=False).logits
        scores = torch.full(inputs.shape, float("nan"), dtype=torch.float32)
        step = max(1, _CHUNK_LOGITS // (len(batch) * logits.shape[-1]))
        for begin in range(0, width - 1, step):
            end = min(begin + step, width - 1)
            chunk = logits[:, begin:end].float()
            target = inputs[:, begin + 1 : end + 1, None]
            scores[:, begin + 1 : end + 1] = chunk.gather(-1, target)[..., 0] - chunk.logsumexp(-1)
        found = [row[: len(tokens)] for row, tokens in zip(scores.numpy(), batch, strict=True)]
        if any(np.isnan(score[1:]).any() for score in found):
            raise RunError("the model is broken: its logits are not numbers (NaN)")
        return found
