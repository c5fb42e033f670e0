"""A causal language model split into its body, which makes hidden states, and its head, which makes logits of them.

Logits are as wide as the vocabulary. Whoever applies the head to some states at a time needs the memory of those only.
"""

import inspect
from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutputWithPast


class SplitModel:
    """A model in two parts.

    The head is the model itself with its body replaced by one that passes given hidden states on, so whatever the
    model does with its logits (scales, caps them) is done. Whether the parts make the whole is not looked up but tried;
    where they do not, the model's logits take the place of hidden states.

    Attributes:
        splits: whether the parts make the whole.
    """

    def __init__(self, model: Any) -> None:
        """Split a causal language model of transformers, without wrappers around it.

        Its adapters may be in it; its `forward` is called as it is now, whatever takes its place later.
        """
        self._model, self._whole = model, model.forward
        self._keeps = "logits_to_keep" in inspect.signature(self._whole).parameters
        self.splits = getattr(model, model.base_model_prefix, None) is not None and self._parts_make_the_whole()

    def states(self, keep: torch.Tensor | None = None, **inputs: Any) -> torch.Tensor:
        """What `logits` takes, of each token or of the positions `keep` of every row.

        Args:
            keep: positions, shape `[K]`; None keeps all.
            inputs: of the model: `input_ids` of shape `[rows, tokens]` and what belongs to them.

        Returns:
            Shape `[rows, K or tokens, width]`; logits, as wide as the vocabulary, where the model does not split.
        """
        if self.splits:
            body = getattr(self._model, self._model.base_model_prefix)
            states: torch.Tensor = body(**inputs, use_cache=False).last_hidden_state
        elif keep is not None and self._keeps:
            kept: torch.Tensor = self._whole(**inputs, use_cache=False, logits_to_keep=keep).logits
            return kept
        else:
            states = self._whole(**inputs, use_cache=False).logits
        return states if keep is None else states[:, keep]

    def logits(self, states: torch.Tensor) -> torch.Tensor:
        """Logits `[n, vocabulary]` of states `[n, width]`."""
        return self._logits(states) if self.splits else states

    def _logits(self, hidden: torch.Tensor) -> torch.Tensor:
        model = self._model
        given, head = _copy(getattr(model, model.base_model_prefix)), _copy(model)
        given.forward = lambda *_, **__: _Hidden(last_hidden_state=hidden[None])
        head._modules = model._modules | {model.base_model_prefix: given}
        head.__dict__.pop("forward", None)  # one that was put in the place of the class's calls the model, not the copy
        nothing = torch.zeros((1, len(hidden)), dtype=torch.int64, device=hidden.device)
        # Not called as a module: hooks are for passes of the whole model. Squeezed, as an index's gradient is a copy.
        logits: torch.Tensor = head.forward(input_ids=nothing, use_cache=False).logits.squeeze(0)
        return logits

    def _parts_make_the_whole(self) -> bool:
        """Whether body and head give the model's own logits on a few tokens."""
        training = self._model.training
        self._model.eval()  # the same without dropout only
        try:
            return bool(self._agree())
        finally:
            self._model.train(training)

    @torch.inference_mode()  # type: ignore[untyped-decorator] # torch is untyped here
    def _agree(self) -> bool:
        ids = torch.arange(1, 9, device=self._model.device)[None]
        expected = self._whole(input_ids=ids, use_cache=False).logits[0].float()
        try:
            body = getattr(self._model, self._model.base_model_prefix)
            hidden = body(input_ids=ids, use_cache=False).last_hidden_state
            logits = self._logits(hidden[0]).float()
        except Exception:  # a model's own code may raise anything when it is split
            return False
        if expected.isnan().any():
            return True  # a broken model: whoever uses it will report it
        tolerance = 1e-4 if self._model.dtype == torch.float32 else 2e-2
        return logits.shape == expected.shape and bool(
            (logits - expected).abs().max() <= tolerance * expected.abs().max()
        )


def _copy(module: torch.nn.Module) -> Any:
    """A copy that shares all it has; without a call of the class, which FSDP has put another in the place of."""
    copied: Any = object.__new__(type(module))
    copied.__dict__.update(module.__dict__)
    return copied


class _Hidden(BaseModelOutputWithPast):  # type: ignore[misc]  # transformers is untyped here
    """A body's output of which only the last hidden states are known; whatever else a head looks for is None."""

    def __getattr__(self, name: str) -> None:
        """None for the outputs of some body that there are none of."""
        if name.startswith("_"):
            raise AttributeError(name)
