"""What the guide gives for training less of a model: each takes a step, and an adapter is merged into what it was.

Only peft's fields decide that, so no data is needed; `synth train` with an adapter is tried in test_run.py.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from synth.training.model import load_for_training
from synth.training.settings import TrainedParts

_, _, SECTION = Path("samples/guide.md").read_text(encoding="utf-8").partition("### Training less of a model")
SECTION = SECTION.partition("\n## ")[0]
CONFIGURATIONS = [json.loads(line) for line in re.findall(r"^{.*}$", SECTION, re.MULTILINE)]
FROZEN = [tuple(re.findall(r"--freeze (\S+)", option)) for option in re.findall(r"\| `(--freeze [^`]*)`", SECTION)]
IDS = torch.arange(5, 85)[None]


def a_step(net: Any) -> None:
    optimizer = torch.optim.AdamW([weight for weight in net.parameters() if weight.requires_grad], lr=1e-3)
    torch.nn.functional.cross_entropy(net(input_ids=IDS).logits[0, :-1], IDS[0, 1:]).backward()
    optimizer.step()


def logits(net: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = net.eval()(input_ids=IDS).logits
    return found


def test_the_guide_has_what_is_tried_here() -> None:
    assert [one["peft_type"] for one in CONFIGURATIONS] == ["LORA", "OFT", "IA3", "OSF"]
    assert FROZEN == [("mlp",), ("embeddings",), ("layers:0-1", "embeddings")]


@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda one: one["peft_type"])
def test_an_adapter_begins_as_nothing_and_is_merged(configuration: Any, model: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    file = tmp_path / "peft.json"
    file.write_text(json.dumps(configuration))
    net = load_for_training(model, "float32", TrainedParts(peft=str(file)))
    before = logits(AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32))
    torch.testing.assert_close(logits(net), before, atol=1e-4, rtol=0)
    a_step(net)
    learnt = logits(net)
    assert (learnt - before).abs().max() > 1e-2
    torch.testing.assert_close(logits(net.merge_and_unload()), learnt, atol=1e-3, rtol=0)


@pytest.mark.parametrize("freeze", FROZEN, ids="+".join)
def test_what_is_frozen_stays(freeze: tuple[str, ...], model: str) -> None:
    torch.set_num_threads(1)
    net = load_for_training(model, "float32", TrainedParts(freeze=freeze))
    before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
    a_step(net)
    stayed = {name for name, weight in net.named_parameters() if torch.equal(weight, before[name])}
    words = {"embeddings": "embed", "layers:0-1": r"layers\.[01]\."}
    assert stayed == {name for name in before if any(re.search(words.get(part, part), name) for part in freeze)}
