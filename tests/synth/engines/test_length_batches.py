"""Batches by length: results in the order given, halved where memory runs out, for each of their users."""

from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from synth.chat.template import Template
from synth.curation.embeddings import mean_states
from synth.curation.rewards import RewardModel
from synth.engines.hf.forward import Scorer
from synth.engines.length_batches import LengthBatches
from synth.errors import RequestError, RunError
from synth.scoring.divergence import forward_divergences

LENGTHS = [3, 9, 1, 4, 7, 2, 2, 5]


def limited(most: int, tried: list[list[int]]) -> Any:
    """A forward pass in whose memory `most` tokens have room, padding included."""

    def forward(batch: list[int]) -> list[str]:
        tried.append(batch)
        if len(batch) * max(LENGTHS[index] for index in batch) > most:
            raise torch.OutOfMemoryError("no room")
        return [f"{index}: {LENGTHS[index]}" for index in batch]

    return forward


@pytest.mark.parametrize("most", [9, 12, 100])
def test_results_in_the_order_given_whatever_memory_there_is(most: int) -> None:
    tried: list[list[int]] = []
    batches = LengthBatches(30)
    assert batches.run(LENGTHS, limited(most, tried)) == [f"{i}: {length}" for i, length in enumerate(LENGTHS)]
    assert all(batch == sorted(batch, key=lambda i: LENGTHS[i]) for batch in tried) and 1 in tried[0]
    assert (batches.budget < 30) == (most < 30)
    tried.clear()
    batches.run(LENGTHS, limited(most, tried))
    assert sum(len(batch) for batch in tried) == len(LENGTHS), "what memory holds is known by now"
    assert LengthBatches(8).run([], limited(most, tried)) == []


def test_one_that_does_not_fit_alone() -> None:
    with pytest.raises(RunError, match="one sequence of 9 tokens") as wrong:
        LengthBatches(30).run(LENGTHS, limited(8, []))
    assert wrong.value.field == "max_length"
    made = LengthBatches(30).run(LENGTHS, limited(8, []), too_long=lambda length: f"too long: {length}")
    assert made[1] == "too long: 9" and made[4] == "4: 7"


def test_other_errors_are_not_taken_for_it() -> None:
    def forward(_: list[int]) -> list[str]:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        LengthBatches(30).run(LENGTHS, forward)


def test_every_user_goes_on_with_half(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    models = [LlamaForCausalLM(LlamaConfig(vocab_size=64, **sizes)).eval() for _ in range(2)]
    sequences = [np.arange(1, 1 + length, dtype=np.int32) for length in (4, 12, 8, 8, 3, 12)]
    wanted = [np.arange(len(tokens)) > 0 for tokens in sequences]
    rewarder = RewardModel(_Classifier(), Template.__new__(Template), None)

    def results() -> list[Any]:
        with torch.inference_mode():
            scores = [np.asarray(one)[1:] for one in Scorer(models[0]).score(sequences)]
        states = mean_states(models[0], [tokens.tolist() for tokens in sequences])
        apart = forward_divergences(*models, sequences, wanted)
        return [*scores, states, apart, rewarder.rewards([tokens.tolist() for tokens in sequences])]

    expected, ran_out = results(), []
    for module in [*(model.model for model in models), rewarder.model]:
        whole = module.forward

        def forward(input_ids: Any, *, whole: Any = whole, **more: Any) -> Any:
            if input_ids.numel() > 24:
                ran_out.append(input_ids.shape)
                raise torch.OutOfMemoryError("no room")
            return whole(input_ids=input_ids, **more)

        monkeypatch.setattr(module, "forward", forward)
    for one, other in zip(results(), expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert len(ran_out) >= 4
    too_long = [np.arange(30, dtype=np.int32), sequences[0]]
    with torch.inference_mode():
        refused, scored = Scorer(models[0]).score(too_long)
    assert isinstance(refused, RequestError) and isinstance(scored, np.ndarray)
    for run in (
        lambda: mean_states(models[0], [tokens.tolist() for tokens in too_long]),
        lambda: forward_divergences(*models, too_long, [np.arange(len(tokens)) > 0 for tokens in too_long]),
        lambda: rewarder.rewards([tokens.tolist() for tokens in too_long]),
    ):
        with pytest.raises(RunError, match="one sequence of 30 tokens"):
            run()


class _Classifier(torch.nn.Module):  # type: ignore[misc] # torch is untyped here
    """Stands for a reward model: the mean of a conversation's tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.config = LlamaConfig(pad_token_id=0)
        self.device = torch.device("cpu")

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        means = (input_ids * attention_mask).sum(1, keepdim=True) / attention_mask.sum(1, keepdim=True)
        return type("Output", (), {"logits": means})
