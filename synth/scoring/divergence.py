"""The forward KL divergence between a model before and after training, on given answers.

KL(reference ‖ tuned), in nats a token, over the whole vocabulary at every token of answers that the reference model
gave to the new task's prompts. It predicts forgetting (arXiv 2509.04259, which samples the
answers; with greedy ones it is lower, and the same from run to run).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth.engines.hf.forward import BATCH_TOKENS, CHUNK_LOGITS, BackboneAndHead, on_device, padded
from synth.engines.length_batches import LengthBatches
from synth.scoring.losses import divergences


@torch.inference_mode()  # type: ignore[untyped-decorator] # torch is untyped here
def forward_divergences(
    reference: Any, tuned: Any, sequences: Sequence[NDArray[np.int32]], wanted: Sequence[NDArray[np.bool_]]
) -> list[float]:
    """The mean divergence (nats a token) over the wanted tokens of each sequence, in the order given.

    Args:
        reference: the model before training, in eval mode.
        tuned: the model after it, on the same device and with the same vocabulary.
        sequences: token ids of prompts with answers.
        wanted: which of them are the answer's, of the same shapes; at least one each, and never the first.

    Raises:
        RunError: one sequence does not fit in memory.
    """
    kind = "cpu" if tuned.device.type == "cpu" else "accelerator"
    both = [BackboneAndHead(model, CHUNK_LOGITS[kind] // 2) for model in (reference, tuned)]

    def forward(batch: list[int]) -> list[float]:
        return _batch_means(both, [sequences[index] for index in batch], [wanted[index] for index in batch])

    return LengthBatches(BATCH_TOKENS[kind]).run([len(tokens) for tokens in sequences], forward)


def _batch_means(
    both: Sequence[BackboneAndHead], sequences: Sequence[NDArray[np.int32]], wanted: Sequence[NDArray[np.bool_]]
) -> list[float]:
    """Mean divergences of sequences in one forward pass of each model."""
    ids, chosen = padded(sequences, wanted)
    device = both[1].device
    rows, columns = (on_device(part, device) for part in np.nonzero(chosen))
    states = [parts.states(on_device(ids, device)) for parts in both]
    values = torch.empty(len(rows), dtype=torch.float32, device=device)
    for begin in range(0, len(rows), both[0].chunk):
        part = slice(begin, begin + both[0].chunk)
        before, now = (
            parts.before(state, rows[part], columns[part]) for parts, state in zip(both, states, strict=True)
        )
        values[part] = divergences(before, now)
    ends = np.cumsum(chosen.sum(1))
    return [float(part.mean()) for part in np.split(values.cpu().numpy(), ends[:-1])]
