"""Losses and gradients of chunks of hidden states are those of all logits at once."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import peft
import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy, kl_div

from synth.training import head
from synth.training.head import return_from_head, summed
from tests.synth.engines.tiny import CONFIGS, VOCABULARY, tiny_model

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
SCALED = {
    "granite, logits divided": transformers.GraniteConfig(**SMALL, logits_scaling=4.0),
    "cohere, logits multiplied": transformers.CohereConfig(**SMALL, logit_scale=0.25),
    "qwen3": transformers.Qwen3Config(**SMALL, head_dim=16),
}
Gradients = dict[str, torch.Tensor]


def made(name: str) -> Any:
    if name in CONFIGS:
        return tiny_model(name)
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(SCALED[name]).eval()


def nll(weights: torch.Tensor, targets: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor | slice], torch.Tensor]:
    return lambda logits, part: (cross_entropy(logits.float(), targets[part], reduction="none") * weights[part]).sum()


def gradients(model: Any, loss: torch.Tensor) -> Gradients:
    model.zero_grad()
    loss.backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def compare(found: Gradients, wanted: Gradients, share: float = 2e-6) -> None:
    assert found.keys() == wanted.keys()
    most = max(float(gradient.abs().max()) for gradient in wanted.values())
    for name, gradient in wanted.items():
        assert float((found[name] - gradient).abs().max()) <= share * most, name


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head, "CHUNK_LOGITS", {"cpu": 7 * VOCABULARY})


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tokens, the positions whose logits are wanted, and targets and weights of those."""
    torch.manual_seed(1)
    ids = torch.randint(0, VOCABULARY, (2, 30))
    keep = torch.randperm(30)[:17].sort().values
    return ids, keep, torch.randint(0, VOCABULARY, (34,)), torch.rand(34)


@pytest.mark.parametrize("name", [*CONFIGS, *SCALED])
def test_every_kind_of_head(name: str) -> None:
    """A weighted NLL and the divergence from another model at once, whose logits come of its states likewise."""
    model, other = made(name), made(name)
    with torch.no_grad():
        for weight in other.parameters():
            weight.mul_(1.1)
    ids, keep, targets, weights = inputs()
    task = nll(weights, targets)

    def loss(logits: torch.Tensor, before: torch.Tensor, part: slice) -> torch.Tensor:
        apart = kl_div(logits.log_softmax(-1), before.log_softmax(-1), reduction="sum", log_target=True)
        return task(logits, part) + 3 * apart

    whole = model(input_ids=ids, use_cache=False).logits[:, keep].flatten(0, 1)
    before = other(input_ids=ids, use_cache=False).logits[:, keep].flatten(0, 1).detach()
    expected = loss(whole, before, slice(None))
    wanted = gradients(model, expected)

    mine, theirs = return_from_head(model), return_from_head(other)
    assert mine.splits
    with torch.no_grad():
        kept = other(input_ids=ids, keep=keep, then=lambda states: states.flatten(0, 1))
    found = model(
        input_ids=ids,
        keep=keep,
        then=lambda states: summed(
            mine,
            states.flatten(0, 1),
            lambda logits, part: loss(logits, theirs.logits(kept[part]).detach(), part),
        ),
    )
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    compare(gradients(model, found), wanted)
    plain = model(input_ids=ids, use_cache=False).logits[:, keep].flatten(0, 1)
    assert torch.equal(plain, whole), "without `then` the model is as it was"


@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(r=4, target_modules=["q_proj", "lm_head"], init_lora_weights=False),
        peft.LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["lm_head"]),
        peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False),
    ],
)
def test_adapters(config: Any) -> None:
    """On the head or not; and the model as it is with its adapter off."""
    base = tiny_model()
    with torch.no_grad():
        before = base(input_ids=inputs()[0], use_cache=False).logits.flatten(0, 1)
    model = peft.get_peft_model(base, config)
    ids, _, _, _ = inputs()
    task = nll(torch.rand(60), torch.randint(0, VOCABULARY, (60,)))
    expected = task(model(input_ids=ids, use_cache=False).logits.flatten(0, 1), slice(None))
    wanted = gradients(model, expected)
    split = return_from_head(model.get_base_model())
    found = model(input_ids=ids, then=lambda states: summed(split, states.flatten(0, 1), task))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    compare(gradients(model, found), wanted)
    with torch.no_grad(), model.disable_adapter():
        states = model(input_ids=ids, then=lambda states: states.flatten(0, 1))
        torch.testing.assert_close(split.logits(states), before, atol=1e-5, rtol=1e-5)


def test_frozen_weights_have_no_gradients() -> None:
    model = tiny_model()
    model.lm_head.requires_grad_(False)
    ids, keep, targets, weights = inputs()
    split, task = return_from_head(model), nll(weights, targets)
    loss = model(input_ids=ids, keep=keep, then=lambda states: summed(split, states.flatten(0, 1), task))
    found = gradients(model, loss)
    assert "lm_head.weight" not in found and float(found["model.layers.0.mlp.up_proj.weight"].abs().max()) > 0


def test_a_model_that_does_not_split_is_used_whole() -> None:
    model = tiny_model()
    body = type(model.model)

    class Peculiar(body):  # type: ignore[misc, valid-type]
        def forward(self, *arguments: object, **named: object) -> object:
            output = super().forward(*arguments, **named)
            if "position_ids" not in named:  # asked by itself, not by the model around it
                output.last_hidden_state = output.last_hidden_state * 2
            return output

    ids, keep, targets, weights = inputs()
    task = nll(weights, targets)
    model.model.__class__ = Peculiar
    expected = task(model(input_ids=ids, use_cache=False).logits[:, keep].flatten(0, 1), slice(None))
    wanted = gradients(model, expected)
    split = return_from_head(model)
    assert not split.splits
    found = model(input_ids=ids, keep=keep, then=lambda states: summed(split, states.flatten(0, 1), task))
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)
    compare(gradients(model, found), wanted)


@pytest.mark.parametrize("whole", [False, True])
def test_half_precision(whole: bool) -> None:
    """In mixed precision, and in weights of half precision, whose gradients are summed in full."""
    model = tiny_model().to(torch.bfloat16 if whole else torch.float32)
    ids, keep, targets, weights = inputs()
    task = nll(weights, targets)
    mixed = nullcontext() if whole else torch.autocast("cpu", torch.bfloat16)
    with mixed:
        expected = task(model(input_ids=ids, use_cache=False).logits[:, keep].flatten(0, 1), slice(None))
    wanted = gradients(model, expected)
    split = return_from_head(model)
    with torch.autocast("cpu", torch.bfloat16, enabled=not whole):
        found = model(input_ids=ids, keep=keep, then=lambda states: summed(split, states.flatten(0, 1), task))
    assert found.item() == pytest.approx(expected.item(), rel=1e-3)
    found_gradients = gradients(model, found)
    assert all(gradient.dtype == model.dtype for gradient in found_gradients.values())
    compare(found_gradients, wanted, share=0.02)


MEMORY = """
import resource, torch, transformers
from torch.nn.functional import cross_entropy, kl_div
from synth.training import head
from synth.training.head import return_from_head, summed
head.CHUNK_LOGITS["cpu"] = 1 << 22
torch.manual_seed(0)
torch.set_num_threads(1)
config = transformers.LlamaConfig(vocab_size=150_000, hidden_size=8, intermediate_size=32, num_hidden_layers=1,
    num_attention_heads=1, num_key_value_heads=1, tie_word_embeddings=True)
model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
split = return_from_head(model)
ids = torch.randint(0, 150_000, (1, 512))
def of(logits, part):
    return cross_entropy(logits, ids[0, part], reduction="sum")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
model(input_ids=ids, then=lambda states: summed(split, states[0], of)).backward()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20)
"""


def test_no_tensor_of_tokens_times_vocabulary_exists() -> None:
    """Forwards or backwards: the logits of these 512 tokens take 0.29 GiB, and as much again for each use of them."""
    done = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    gibibytes = float(done.stdout)
    assert gibibytes < 0.2, f"{gibibytes:.2f} GiB"
