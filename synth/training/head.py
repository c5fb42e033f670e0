"""The model's head, applied to some hidden states at a time, for a loss and its gradients.

With a vocabulary of 150,000 the logits of a batch of 8,192 tokens take 2.3 GiB in half precision, and what a loss makes
of them several times that. Here the logits of a chunk of tokens become its loss and the loss its gradients, with
respect to hidden states and to the head's weights, before the next chunk begins: nothing of tokens × vocabulary exists,
and nothing is computed twice. It is what Liger's fused cross-entropy does, which needs Triton and a GPU, knows models
by their names, and has neither weights of tokens nor a divergence from another model; here autograd goes through
whatever head there is, with its caps, scales and adapters.

All of it happens within the model's own forward pass, so that wrappers (DDP, FSDP, peft, mixed precision) have the
head's weights in place, and see the loss as the model's output.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

from synth.engines.hf.split import SplitModel
from synth.training.attention import lay_out
from synth.training.batches import Batch

CHUNK_LOGITS = {"cpu": 1 << 25, "accelerator": 1 << 27}
"""Logits that exist at once, in float32 of 128 and 512 MiB; a loss takes a few times that."""


def return_from_head(model: Any) -> SplitModel:
    """Let `model(…, then=f)` return `f(states)` of its hidden states; without `then` it is as it was.

    Args:
        model: a causal language model of transformers; it may have adapters in it, and be wrapped afterwards. `keep`
            goes with `then`, as to `SplitModel.states`.

    Returns:
        Its parts, for `f`.
    """
    split, whole = SplitModel(model), model.forward

    @wraps(whole)
    def forward(*values: Any, then: Callable[[torch.Tensor], Any] | None = None, **inputs: Any) -> Any:
        if then is None:
            return whole(*values, **inputs)
        return then(split.states(**{name: value for name, value in inputs.items() if value is not None}))

    model.forward = forward
    return split


def base_of(model: Any) -> Any:
    """The model of transformers in one of peft, or the model itself."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def through(model: Any, batch: Batch, then: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Put a batch through a model, or wrappers around it, whose forward pass `return_from_head` has changed.

    Args:
        model: the model.
        batch: as the collator makes it.
        then: is given the states of the batch's targets, shape `[N, width]`.

    Returns:
        What `then` does.
    """
    given = {name: batch[name] for name in ("input_ids", "position_ids", "attention_mask", "keep") if name in batch}
    if "position_ids" in batch:  # packed
        lay_out(batch["lengths"].tolist(), batch["input_ids"].device)

    def of_targets(states: torch.Tensor) -> torch.Tensor:
        flat = states.flatten(0, 1)
        return then(flat[batch["at"]] if "at" in batch else flat)

    found: torch.Tensor = model(**given, then=of_targets)
    return found


def summed(
    split: SplitModel, states: torch.Tensor, loss: Callable[[torch.Tensor, slice], torch.Tensor]
) -> torch.Tensor:
    """The sum of the losses of chunks of tokens, whose gradients are computed along with it.

    Args:
        split: the model whose states they are.
        states: shape `[N, width]`.
        loss: is given the logits of a chunk, shape `[n, vocabulary]`, and where in the N tokens it lies; returns the
            sum of its losses.
    """
    weights, vocabulary = head_weights(split, states)

    def of_chunk(some: torch.Tensor, part: slice) -> torch.Tensor:
        return loss(split.logits(some), part)

    total: torch.Tensor = _Sum.apply(of_chunk, rows_at_once(states, vocabulary), states, *weights)
    return total


def rows_at_once(states: torch.Tensor, vocabulary: int) -> int:
    """How many states have their logits in memory at once."""
    return max(1, CHUNK_LOGITS["cpu" if states.device.type == "cpu" else "accelerator"] // vocabulary)


class _Sum(torch.autograd.Function):  # type: ignore[misc] # torch is untyped here
    """A sum over chunks of states that computes its gradients, with respect to them and to weights, as it goes."""

    @staticmethod
    def forward(
        ctx: Any,
        of_chunk: Callable[[torch.Tensor, slice], torch.Tensor],
        rows: int,
        states: torch.Tensor,
        *weights: torch.Tensor,
    ) -> torch.Tensor:
        total = torch.zeros((), device=states.device)
        slopes = torch.zeros_like(states)
        sums: list[torch.Tensor | None] = [None] * len(weights)
        for begin in range(0, len(states), rows):
            part = slice(begin, begin + rows)
            with torch.enable_grad():
                some = states[part].detach().requires_grad_()
                value = of_chunk(some, part)
            total += value.detach()
            slopes[part], *found = torch.autograd.grad(value, [some, *weights])
            sums = [_added(before, more) for before, more in zip(sums, found, strict=True)]
        ctx.gradients = (
            slopes,
            *(
                torch.zeros_like(of) if sum_ is None else sum_.to(of.dtype)
                for sum_, of in zip(sums, weights, strict=True)
            ),
        )
        return total

    @staticmethod
    def backward(ctx: Any, above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, ()  # not held any longer, so that they become `.grad` without a copy
        return None, None, *(gradient.mul_(above) for gradient in gradients)


def _added(total: torch.Tensor | None, more: torch.Tensor) -> torch.Tensor:
    """The sum so far, in float32 from the second chunk on."""
    return more if total is None else total.float().add_(more)


def head_weights(split: SplitModel, states: torch.Tensor) -> tuple[list[torch.Tensor], int]:
    """The trained weights that logits are computed from, wherever wrappers and adapters keep them; the vocabulary."""
    with torch.enable_grad():
        first = split.logits(states[:1].detach())
    found: list[torch.Tensor] = []
    nodes, seen = [first.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        nodes += [before for before, _ in node.next_functions]
    return found, first.shape[-1]
