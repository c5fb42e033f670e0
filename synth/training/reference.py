"""The model before training, which a loss compares the one in training with."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch

from synth.engines.hf.split import SplitModel
from synth.scoring.losses import divergences
from synth.training.batches import Batch
from synth.training.head import base_of, head_weights, return_from_head, through
from synth.values import Divergence

Compare = Callable[[torch.Tensor, slice, Divergence], torch.Tensor]
"""The divergences `[n]` at some of a batch's tokens, given the logits `[n, vocabulary]` of the model in training, and
which of the tokens they are of."""


class Reference(Protocol):
    """Whatever knows what the model before training predicts."""

    @abstractmethod
    def compare(self, batch: Batch, model: Any) -> Compare:
        """Prepare the comparison at the tokens of a batch, before it goes through the model in training itself."""


class FrozenModel:
    """The model before training, in memory beside the one in training."""

    def __init__(self, model: Any) -> None:
        """Take it, in eval mode and on its device."""
        self._model, self._split = model, return_from_head(model)

    def compare(self, batch: Batch, model: Any) -> Compare:
        """Put the batch through the model before training."""
        with torch.no_grad():
            states = through(self._model, batch, lambda states: states)
        return _comparing(self._split, states, nullcontext)


class AdapterOff:
    """The model in training, where that is an adapter, with the adapter switched off."""

    def __init__(self, adapted: Any) -> None:
        """Take the model of peft, without wrappers around it."""
        self._adapted, self._split = adapted, SplitModel(base_of(adapted))
        with torch.no_grad():
            state = self._split.states(input_ids=torch.ones((1, 1), dtype=torch.int64, device=adapted.device))[0]
        # All that is trained is the adapter's. Where the head has none of it, there is nothing to switch off.
        self._head_off = adapted.disable_adapter if head_weights(self._split, state)[0] else nullcontext

    def compare(self, batch: Batch, model: Any) -> Compare:
        """Put the batch through the model, or wrappers around it, with the adapter and dropout switched off."""
        model.eval()
        with torch.no_grad(), self._adapted.disable_adapter():
            states = through(model, batch, lambda states: states)
        model.train()
        return _comparing(self._split, states, self._head_off)


def _comparing(split: SplitModel, states: torch.Tensor, switched: Callable[[], AbstractContextManager[Any]]) -> Compare:
    def apart(logits: torch.Tensor, part: slice, kind: Divergence) -> torch.Tensor:
        with torch.no_grad(), switched():
            before = split.logits(states[part])
        return divergences(before, logits, kind)

    return apart
