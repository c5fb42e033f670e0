"""What a model says of given tokens: batches by length, target tokens only.

Sequences of like length go through the model's body together. Its head is applied only to the positions whose next
token is wanted, a few at a time, so that no tensor of sequence x vocabulary ever exists.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth.engines.hf.split import SplitModel
from synth.engines.length_batches import LengthBatches
from synth.errors import RequestError, RunError, UsageError

BATCH_TOKENS = {"cpu": 4_096, "accelerator": 16_384}
"""Tokens of one forward pass, padding included, at most (a longer sequence goes alone)."""
CHUNK_LOGITS = {"cpu": 1 << 22, "accelerator": 1 << 27}
"""Logits that exist at once: as many as a CPU's cache holds, or as keep an accelerator busy."""
SOFTMAX_LOGITS = {"cpu": 1 << 20, "accelerator": 1 << 25}
"""Logits of which log-probabilities and the like exist at once, beside those of the chunk."""
_MOST_LOGITS = 1 << 26
"""On a CPU there may be more, up to this, for a wide model: else it would read its head's weights again and again."""

_NO_WEIGHT = -200.0
"""A logit so far below the highest: exp(-200) is 0 in float32."""

Figures = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Figures `[figures, n]` of tokens `[n]` under float32 logits `[n, vocabulary]`, which it may overwrite."""


class Scorer:
    """Scores sequences with one model; used from one thread, under `torch.inference_mode`."""

    def __init__(self, model: Any) -> None:
        kind = "cpu" if model.device.type == "cpu" else "accelerator"
        self._device = model.device
        self._batches = LengthBatches(BATCH_TOKENS[kind])
        self._parts = BackboneAndHead(model, CHUNK_LOGITS[kind])

    def score(
        self, sequences: Sequence[Sequence[int] | NDArray[np.int32]], wanted: Sequence[NDArray[np.bool_]] | None = None
    ) -> list[NDArray[np.float32] | RequestError]:
        """Log-probability (nats) of each token given those before it, in the order given.

        A sequence that does not fit in memory even alone gets a RequestError in its place.

        Args:
            sequences: token ids, at least one a sequence.
            wanted: for each sequence which tokens are scored, shape `[its length]`; all by default. The others are
                NaN, and so is the first token, which nothing precedes.

        Raises:
            RunError: the model's outputs are not numbers.
        """
        found = self._run(sequences, wanted, logprobs)
        return [one if isinstance(one, RequestError) else one[0] for one in found]

    def predictions(
        self, sequences: Sequence[Sequence[int] | NDArray[np.int32]], wanted: Sequence[NDArray[np.bool_]] | None = None
    ) -> list[NDArray[np.float32] | RequestError]:
        """What `score` gives, and how the model's whole distribution was where each token stands: `[3, its length]`.

        The figures are those of the function `predictions`; arguments and errors are as for `score`.
        """
        return self._run(sequences, wanted, predictions)

    def _run(
        self,
        sequences: Sequence[Sequence[int] | NDArray[np.int32]],
        wanted: Sequence[NDArray[np.bool_]] | None,
        figures: Figures,
    ) -> list[NDArray[np.float32] | RequestError]:
        """Figures of the tokens of each sequence, `[figures, its length]`."""

        def forward(batch: list[int]) -> list[tuple[_Scored, int] | RequestError]:
            tokens = [sequences[index] for index in batch]
            scored = self._score(tokens, None if wanted is None else [wanted[index] for index in batch], figures)
            return [(scored, row) for row in range(len(batch))]

        found = self._batches.run(
            [len(tokens) for tokens in sequences],
            forward,
            too_long=lambda length: RequestError(f"out of memory on one sequence of {length} tokens"),
        )
        return [one if isinstance(one, RequestError) else one[0].rows[one[1]] for one in found]

    def _score(
        self,
        batch: list[Sequence[int] | NDArray[np.int32]],
        wanted: list[NDArray[np.bool_]] | None,
        figures: Figures,
    ) -> "_Scored":
        """Score sequences in one forward pass."""
        ids, chosen = padded(batch, wanted)
        chosen[:, 0] = False
        scores = self._parts.score(figures, on_device(ids, self._device), *np.nonzero(chosen))
        return _Scored(scores, chosen, [len(tokens) for tokens in batch])


@dataclass
class _Scored:
    """The scores of a batch, on the device until they are read: the next batch does not wait for them.

    Attributes:
        scores: figures of the tokens that are chosen, in their order: `[figures, tokens]`.
        chosen: `[rows, columns]`.
        lengths: of the rows.
    """

    scores: torch.Tensor
    chosen: NDArray[np.bool_]
    lengths: list[int]

    @cached_property
    def rows(self) -> list[NDArray[np.float32]]:
        """The figures of each sequence, `[figures, its length]`.

        Raises:
            RunError: some are not numbers.
        """
        found = self.scores.cpu().numpy()
        if np.isnan(found).any():
            raise RunError("the model is broken: its logits are not numbers (NaN)")
        scores = np.full((len(found), *self.chosen.shape), np.nan, np.float32)
        scores[:, self.chosen] = found
        return [scores[:, row, :length] for row, length in enumerate(self.lengths)]


def on_device(values: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Values on a device; a GPU is not waited for, which it would be for memory that is not pinned."""
    tensor = torch.from_numpy(np.ascontiguousarray(values))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


class BackboneAndHead:
    """A causal language model whose head is applied to a few hidden states at a time."""

    def __init__(self, model: Any, chunk_logits: int) -> None:
        """Split a model.

        Raises:
            UsageError: the model is not causal.
        """
        check_causal(model)
        self.device = model.device
        """The devices of the input tokens and of the logits."""
        config = model.config.get_text_config()
        least = min(config.hidden_size // 4, _MOST_LOGITS // config.vocab_size)
        self.chunk = max(1, least, chunk_logits // config.vocab_size)
        """How many states may have their logits in memory at once."""
        kind = "cpu" if self.device.type == "cpu" else "accelerator"
        self._at_once = max(1, SOFTMAX_LOGITS[kind] // config.vocab_size)
        self._split = SplitModel(model)

    def score(
        self, figures: Figures, ids: torch.Tensor, rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> torch.Tensor:
        """Figures `[figures, n]` of the n tokens `ids[rows, columns]`, on their device; every column is at least 1."""
        states = self.states(ids)
        row, column = on_device(rows, ids.device), on_device(columns, ids.device)
        count = len(figures(torch.zeros((0, 1)), torch.zeros(0, dtype=torch.int64)))
        # In one place from the start: small tensors that stay between large ones that go would tear holes in memory.
        scores = torch.empty((count, len(rows)), dtype=torch.float32, device=ids.device)
        for begin in range(0, len(rows), self.chunk):
            part = slice(begin, begin + self.chunk)
            logits = self.before(states, row[part], column[part])
            tokens, some = ids[row[part], column[part]], self._at_once
            for place, few, theirs in zip(
                scores[:, part].split(some, 1), logits.split(some), tokens.split(some), strict=True
            ):
                place.copy_(figures(few.float(), theirs))
        return scores

    def states(self, ids: torch.Tensor) -> torch.Tensor:
        """What `logits` takes, for each token of `ids` `[rows, columns]`: hidden states, or logits of the whole."""
        return self._split.states(input_ids=ids)

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits `[n, vocabulary]` of states `[n, width]`; ask for `chunk` of them at a time."""
        return self._split.logits(states)

    def before(self, states: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
        """Logits `[n, vocabulary]` that predict the n tokens at `[rows, columns]`, of `states` of a whole batch."""
        return self.logits(states[rows, columns - 1])


def padded(
    batch: Sequence[Sequence[int] | NDArray[np.int32]], wanted: Sequence[NDArray[np.bool_]] | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Sequences padded on the right, where causal attention never looks, and which tokens are wanted.

    Both are of the shape `[rows, columns]`.

    Args:
        batch: token ids.
        wanted: for each sequence which of its tokens are; all by default.
    """
    shape = len(batch), max(map(len, batch))
    ids, chosen = np.zeros(shape, np.int64), np.zeros(shape, bool)
    for row, tokens in enumerate(batch):
        ids[row, : len(tokens)] = tokens
        chosen[row, : len(tokens)] = True if wanted is None else wanted[row]
    return ids, chosen


def check_causal(model: Any) -> None:
    """Test that what follows a token (padding, for example) does not change what is predicted at it.

    Transformers loads some models, BERT's relatives, as causal language models that are causal only if so configured.

    Raises:
        UsageError: it does.
    """
    ids = torch.arange(1, 9, device=model.device)[None] * 31 % model.config.get_text_config().vocab_size
    training = model.training
    model.eval()
    with torch.inference_mode():
        alone = model(input_ids=ids[:, :4], use_cache=False).logits[0]
        ids[:, 4:] = 0
        followed = model(input_ids=ids, use_cache=False).logits[0, :4]
    model.train(training)
    if not alike(followed, alone, model.dtype):
        raise UsageError(
            f"{type(model).__name__} with this configuration is no causal language model: what follows a token changes "
            "what it predicts there, so its scores would be meaningless"
        )


def alike(computed: torch.Tensor, expected: torch.Tensor, dtype: torch.dtype) -> bool:
    """Whether logits agree up to rounding, or the model is broken and gives none.

    In half precision rounding may route a token to another expert, so only gross differences are reported there.
    """
    share = 1e-3 if dtype == torch.float32 else 0.25
    return bool(expected.isnan().any() or (computed - expected).abs().max() <= share * expected.abs().max())


def logprobs(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probabilities (nats) of tokens `[n]` under logits `[n, vocabulary]`; `[1, n]`.

    By torch's log-softmax, which reads the logits fewer times than the operations that it is made of: on a CPU it takes
    a third of their time.
    """
    return logits.log_softmax(-1).gather(1, tokens[:, None])[None, :, 0]


def predictions(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Log-probability, entropy, rank of tokens `[n]` under logits `[n, vocabulary]`, which it overwrites; `[3, n]`.

    The entropy (nats) is of the whole distribution; the rank is 1 where no token is likelier.
    """
    chosen = logits.gather(1, tokens[:, None])
    ranks = 1 + (logits > chosen).sum(-1, dtype=torch.int32)  # in 64 bits it takes more than twice as long
    highest = logits.amax(-1, keepdim=True)
    # Shifted, so that no number overflows; what is below has no weight in float32, and may be minus infinity.
    shifted = logits.sub_(highest).clamp_(min=_NO_WEIGHT)
    weights = shifted.exp()
    total = weights.sum(-1)
    entropies = total.log() - weights.mul_(shifted).sum(-1) / total
    return torch.stack([(chosen - highest)[:, 0] - total.log(), entropies, ranks.float()])
