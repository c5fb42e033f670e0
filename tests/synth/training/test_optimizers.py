"""Weights in bfloat16, and moments in 8 bits, beside float32: the same losses, on the sample model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from synth.stop import Stop
from synth.training import run as run_module
from synth.training.optimizers import optimizer_for
from synth.training.settings import TrainingSettings
from synth.values import OptimizerName
from tests.synth.training.conftest import Train, weights

pytestmark = pytest.mark.usefixtures("memory_libraries")

SLOW = TrainingSettings(steps=12, learning_rate=4e-5, schedule="constant", warmup=0.0, tokens_per_batch=400)
"""A usual rate: an update is less than half the distance to the next bfloat16 number."""


def losses(run: Train, name: str, settings: TrainingSettings) -> torch.Tensor:
    """The loss of each step; in all runs of as many tokens a step, steps take the same rows."""
    return torch.tensor([entry["loss"] for entry in run(name, settings)[1].log])


def test_in_bfloat16_the_loss_falls_as_in_float32(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    precise = losses(run, "float32", replace(SLOW, dtype="float32"))
    untrained = losses(run, "untrained", replace(SLOW, dtype="float32", learning_rate=1e-12))
    learnt = untrained - precise
    assert learnt[-1] > 0.1
    tried: tuple[tuple[OptimizerName, int], ...] = (("adamw", 12), ("adamw-8bit", 4))
    for optimizer, steps in tried:  # of 8 bits few: uncompiled, they take a second each
        found = losses(run, optimizer, replace(SLOW, steps=steps, weights="bfloat16", optimizer=optimizer))
        assert (found - precise[:steps]).abs().max() < 0.05 * learnt[steps - 1], optimizer
    monkeypatch.setattr(run_module, "optimizer_for", lambda *_: None)  # torch's own, which rounds to the nearest
    nearest = losses(run, "nearest", replace(SLOW, weights="bfloat16"))
    assert nearest[-1] - precise[-1] > 0.5 * learnt[-1]


@pytest.mark.parametrize("optimizer", ["adamw", "adamw-8bit"])
def test_stopped_and_continued_it_rounds_the_same_way(run: Train, model: str, optimizer: OptimizerName) -> None:
    settings = replace(SLOW, steps=3, learning_rate=1e-3, weights="bfloat16", optimizer=optimizer)
    _, whole = run("whole", settings)
    stop = Stop()

    def after_the_first(entry: dict[str, Any], steps: int) -> None:
        stop.asked |= entry["step"] == 1

    outcome, _ = run("parts", settings, report=after_the_first, stop=stop)
    assert outcome.stopped
    _, again = run("parts", settings)
    found = weights(again.path)
    assert all(torch.equal(found[name], tensor) for name, tensor in weights(whole.path).items())
    assert AutoModelForCausalLM.from_pretrained(again.path).dtype == torch.bfloat16  # as the files of the sample model
    before = weights(Path(model))
    assert any(not torch.equal(tensor, before[name]) for name, tensor in found.items())


def test_replicas_of_a_weight_stay_alike() -> None:
    """Processes draw different numbers between steps, for dropout; not for the rounding."""
    replicas = []
    for drawn in (0, 5):
        weight = torch.nn.Parameter(torch.ones(4096, dtype=torch.bfloat16))
        chosen = optimizer_for(replace(SLOW, weights="bfloat16"), torch.device("cpu"))
        assert chosen is not None
        kind, settings = chosen
        optimizer = kind([weight], **settings)
        for _ in range(3):
            weight.grad = torch.linspace(-1, 1, 4096).bfloat16()
            torch.rand(drawn)
            optimizer.step()
        replicas.append(weight.detach().clone())
    assert torch.equal(*replicas)
    assert not torch.equal(replicas[0], torch.ones(4096, dtype=torch.bfloat16))
