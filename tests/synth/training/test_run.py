import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from synth.errors import RunError, UsageError
from synth.stop import Stop
from synth.training.settings import ReplaySettings, TrainedParts, TrainingSettings
from synth.training.trainee import place_of_process
from tests.synth.training.conftest import Train, weights

SIX = TrainingSettings(steps=6, learning_rate=1e-3, tokens_per_batch=700, dtype="float32", save_every=2)


def test_a_run_leaves_a_model_that_loads(run: Train, model: str) -> None:
    said: list[str] = []
    outcome, folder = run("out", replace(SIX, dtype="auto"), say=said.append)
    assert outcome.steps == 6 and folder.record.finished
    assert f"rows packed ({folder.record.attention})" in said[0] and "like length" in said[0]
    assert [entry["step"] for entry in folder.log] == [1, 2, 3, 4, 5, 6]
    assert folder.log[-1]["loss"] < folder.log[0]["loss"]
    loaded = AutoModelForCausalLM.from_pretrained(folder.path)
    assert loaded.dtype == torch.bfloat16 and loaded.config.use_cache  # as the reference model's files
    assert (folder.path / "chat_template.jinja").read_text() == (Path(model) / "chat_template.jinja").read_text()
    assert not folder.checkpoints.exists() and not (folder.path / "progress.json").exists()
    before = weights(Path(model))
    assert any(not torch.equal(tensor, before[name]) for name, tensor in weights(folder.path).items())


def test_stopped_and_continued_it_ends_where_it_would_have(run: Train) -> None:
    """Dropout included: the draws go on where they stopped."""
    trained = TrainedParts(dropout=0.1)
    _, whole = run("whole", SIX, trained=trained)
    stop = Stop()

    def after_the_third(entry: dict[str, Any], steps: int) -> None:
        stop.asked |= entry["step"] == 3

    outcome, folder = run("parts", SIX, trained=trained, report=after_the_third, stop=stop)
    assert outcome.stopped and not folder.finished
    lost = folder.checkpoint()
    assert lost is not None
    shutil.copytree(lost, folder.checkpoints / "checkpoint-9")
    (folder.checkpoints / "checkpoint-9" / "trainer_state.json").write_text('{"global')  # a kill while it was saved
    outcome, again = run("parts", SIX, trained=trained)
    assert outcome.steps == 6 and again.finished
    found = weights(again.path)
    for name, tensor in weights(whole.path).items():
        assert (found[name] - tensor).abs().max() <= 1e-6, name
    assert [entry["step"] for entry in again.log] == [1, 2, 3, 4, 5, 6]
    assert [entry["loss"] for entry in again.log] == pytest.approx([entry["loss"] for entry in whole.log])


@pytest.mark.parametrize(
    ("file", "content"), [("optimizer.pt", b""), ("rng_state.pth", b"PK\3\4 cut"), ("model.safetensors", b"")]
)
def test_a_damaged_checkpoint_is_named(run: Train, file: str, content: bytes) -> None:
    """As a machine leaves it that went down before its disk had all."""
    stop = Stop()

    def after_the_third(entry: dict[str, Any], steps: int) -> None:
        stop.asked |= entry["step"] == 3

    _, folder = run("out", SIX, report=after_the_third, stop=stop)
    last = folder.checkpoint()
    assert last is not None
    (last / file).write_bytes(content)
    with pytest.raises(UsageError, match=f"{last.name} is damaged"):
        run("out", SIX)
    shutil.rmtree(last)
    outcome, again = run("out", SIX)
    assert outcome.steps == 6 and again.finished


@pytest.mark.parametrize(
    ("freeze", "kept"),
    [
        (("embeddings",), "embed_tokens"),
        (("attention",), "self_attn"),
        (("mlp",), "mlp"),
        (("layers:1-2",), r"layers.1.|layers.2."),
        (("mlp", "embeddings"), "mlp|embed_tokens"),
    ],
)
def test_frozen_parts_stay(run: Train, model: str, freeze: tuple[str, ...], kept: str) -> None:
    _, folder = run("out", replace(SIX, steps=2), trained=TrainedParts(freeze=freeze))
    before, after = weights(Path(model)), weights(folder.path)
    for name, tensor in after.items():
        if name.endswith("proj.weight") or "embed" in name:
            frozen = any(part in name for part in kept.split("|"))
            assert torch.equal(before[name].float(), tensor) == frozen, name


def is_merged(folder: Path, model: str, *, alike: float, apart: float) -> None:
    """The saved model gives the logits of the adapter around the model before training, and not those of that alone."""
    import peft

    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(base, folder / "adapter")
    saved = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.allclose(adapted(ids).logits, saved(ids).logits, atol=alike)
        with adapted.disable_adapter():
            assert not torch.allclose(adapted(ids).logits, saved(ids).logits, atol=apart)


def test_an_adapter_is_saved_and_merged_in(run: Train, model: str) -> None:
    _, folder = run("out", SIX, trained=TrainedParts(lora=4))
    is_merged(folder.path, model, alike=1e-4, apart=1e-2)


def test_an_adapter_near_the_foundation_model(run: Train) -> None:
    settings = replace(SIX, steps=3, learning_rate=1e-2)
    _, free = run("free", settings, trained=TrainedParts(lora=4))
    _, held = run("held", replace(settings, kl_coef=1.0), trained=TrainedParts(lora=4))
    assert held.log[0]["loss"] == pytest.approx(free.log[0]["loss"], abs=1e-5)  # the adapter begins as nothing
    assert held.log[-1]["loss"] != pytest.approx(free.log[-1]["loss"], abs=1e-4)


def test_other_methods_of_peft(run: Train, tmp_path: Path) -> None:
    file = tmp_path / "ia3.json"
    settings = {"peft_type": "IA3", "target_modules": ["k_proj", "down_proj"], "feedforward_modules": ["down_proj"]}
    file.write_text(json.dumps(settings))
    outcome, folder = run("out", replace(SIX, steps=2), trained=TrainedParts(peft=str(file)))
    assert outcome.steps == 2 and (folder.path / "adapter" / "adapter_config.json").exists()


@pytest.mark.parametrize("way", ["pissa", "olora"])
def test_an_adapter_that_begins_as_a_part_of_the_model_is_no_reference(run: Train, tmp_path: Path, way: str) -> None:
    file = tmp_path / "peft.json"
    file.write_text(json.dumps({"peft_type": "LORA", "init_lora_weights": way, "r": 8, "target_modules": "all-linear"}))
    trained = TrainedParts(peft=str(file))
    for near in (replace(SIX, kl_coef=0.1), replace(SIX, replay=ReplaySettings(100, loss="kl"))):
        with pytest.raises(UsageError, match="no model before training"):
            run("out", near, trained=trained)
    outcome, _ = run("out", replace(SIX, steps=1), trained=trained)
    assert outcome.steps == 1


def test_a_subspace_is_trained_orthogonal_to_what_is_kept(run: Train, model: str, tmp_path: Path) -> None:
    """OSF of peft (arXiv 2504.07097): learns, goes on where it stopped, and is saved merged."""
    file = tmp_path / "osf.json"
    file.write_text(json.dumps({"peft_type": "OSF", "target_modules": "all-linear", "effective_rank": 0.5}))
    trained, settings = TrainedParts(peft=str(file)), replace(SIX, learning_rate=1e-3, save_every=2)
    _, whole = run("whole", settings, trained=trained)
    assert whole.log[-1]["loss"] < whole.log[0]["loss"] - 0.3
    stop = Stop()

    def after_the_third(entry: dict[str, Any], steps: int) -> None:
        stop.asked |= entry["step"] == 3

    outcome, _ = run("parts", settings, trained=trained, report=after_the_third, stop=stop)
    assert outcome.stopped
    _, parts = run("parts", settings, trained=trained)
    merged, again = (weights(folder.path) for folder in (whole, parts))
    assert all(torch.allclose(again[name], tensor, atol=1e-6) for name, tensor in merged.items())

    is_merged(whole.path, model, alike=1e-3, apart=1e-1)


def test_what_a_model_says_of_sampling_is_kept(run: Train, model: str, tmp_path: Path) -> None:
    """Published models name a temperature without `do_sample`, which transformers does not save."""
    copied = shutil.copytree(model, tmp_path / "model")
    sampling = {"temperature": 0.6, "top_p": 0.9, "eos_token_id": [2, 5]}
    (copied / "generation_config.json").write_text(json.dumps(sampling))
    _, folder = run("out", replace(SIX, steps=1), model=str(copied))
    kept = json.loads((folder.path / "generation_config.json").read_text())
    assert {name: kept.get(name) for name in (*sampling, "do_sample")} == sampling | {"do_sample": None}


def test_an_adapter_around_the_embeddings(run: Train, model: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_text(json.dumps({"peft_type": "TRAINABLE_TOKENS", "token_indices": [7, 9]}))
    _, folder = run("out", replace(SIX, steps=2, learning_rate=1e-1), trained=TrainedParts(peft=str(file)))
    before, after = (weights(Path(place))["model.embed_tokens.weight"].float() for place in (model, folder.path))
    assert (before != after).any(1).nonzero().flatten().tolist() == [7, 9]


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4},
        {"peft_type": "ADAPTION_PROMPT", "adapter_len": 4, "adapter_layers": 1},
    ],
)
def test_what_cannot_be_merged_is_refused(run: Train, tmp_path: Path, settings: dict[str, Any]) -> None:
    file = tmp_path / "peft.json"
    file.write_text(json.dumps(settings))
    with pytest.raises(UsageError, match=f"the parameters of {settings['peft_type']} cannot be merged"):
        run("out", SIX, trained=TrainedParts(peft=str(file)))


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        (TrainedParts(freeze=("heads",)), "`freeze` heads is unknown"),
        (TrainedParts(freeze=("layers:0-9",)), "the model has the layers 0-3"),
        (TrainedParts(freeze=("embeddings", "layers:0-3", "attention")), None),  # the last norm is left
        (TrainedParts(peft="nowhere.json"), "holds no configuration of peft"),
    ],
)
def test_what_cannot_be_trained(run: Train, trained: TrainedParts, message: str | None) -> None:
    if message is None:
        run("out", replace(SIX, steps=1), trained=trained)
        return
    with pytest.raises(UsageError, match=message):
        run("out", SIX, trained=trained)


def test_a_last_step_that_spoils_the_weights(run: Train, tmp_path: Path) -> None:
    """No loss comes after it to show that; what was good stays."""
    spoils = TrainingSettings(
        steps=1, learning_rate=1e39, schedule="constant", warmup=0.0, tokens_per_batch=700, dtype="float32"
    )
    with pytest.raises(RunError, match=r"the last step left weights that are not numbers.* lower `learning_rate`"):
        run("out", spoils)
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_below_the_floor_it_goes_back(run: Train) -> None:
    """The share kept falls as told; the run ends with the weights of the last evaluation above the floor."""
    shares = iter([1.0, 0.99, 0.97, 0.80])
    seen: list[dict[str, torch.Tensor]] = []

    def evaluate(net: Any) -> dict[str, Any]:
        assert not net.training and net.config._attn_implementation == "sdpa"
        seen.append({name: tensor.clone() for name, tensor in net.state_dict().items()})
        return {"old": 0.5, "new": 0.5, "kept": next(shares)}

    settings = replace(SIX, steps=20, eval_every=2, keep=0.95)
    outcome, folder = run("out", settings, evaluate=evaluate, evaluates=True)
    assert outcome.fell_at == 6 and outcome.steps == 4
    assert [entry["step"] for entry in folder.log if "evaluation" in entry] == [0, 2, 4, 6]
    found = weights(folder.path)
    for name, tensor in found.items():
        assert torch.equal(tensor, seen[2][name]), name
    assert not torch.equal(seen[2]["model.norm.weight"], seen[3]["model.norm.weight"])


def test_below_the_floor_at_the_first_evaluation_the_model_is_saved_all_the_same(run: Train, tmp_path: Path) -> None:
    shares = iter([1.0, 0.8])
    settings = replace(SIX, steps=20, eval_every=3, keep=0.95)
    with pytest.raises(RunError, match=r"kept at step 3, the first evaluation.*holds the model of that step"):
        run("out", settings, evaluate=lambda _: {"old": 0.5, "kept": next(shares)}, evaluates=True)
    assert (tmp_path / "out" / "run.json").exists() and weights(tmp_path / "out")
    assert len([line for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines() if "loss" in line]) == 3


def test_a_floor_under_nothing_is_refused_before_the_first_step(run: Train, tmp_path: Path) -> None:
    settings = replace(SIX, keep=0.95)
    with pytest.raises(UsageError, match="`keep`: before training the model has nothing right"):
        run("out", settings, evaluate=lambda _: {"old": 0.0, "kept": None}, evaluates=True)
    assert not (tmp_path / "out").exists()


def test_a_step_logs_what_is_plotted(run: Train) -> None:
    told: list[dict[str, Any]] = []
    settings = replace(SIX, steps=2, eval_every=2)
    _, folder = run(
        "out", settings, evaluate=lambda _: {"kept": 1.0}, evaluates=True, report=lambda entry, _: told.append(entry)
    )
    steps = [entry for entry in folder.log if "loss" in entry]
    assert [set(entry) for entry in steps] == [{"step", "loss", "learning_rate", "grad_norm", "tokens", "seconds"}] * 2
    assert all(entry["grad_norm"] > 0 and entry["seconds"] > 0 for entry in steps)
    assert [entry["step"] for entry in told if "evaluating" in entry] == [0, 2]


def test_evaluation_does_not_disturb_training(run: Train) -> None:
    def evaluate(net: Any) -> dict[str, Any]:
        torch.rand(7)
        return {"kept": 1.0}

    trained = TrainedParts(dropout=0.1)
    _, plain = run("plain", replace(SIX, steps=3), trained=trained)
    _, watched = run("watched", replace(SIX, steps=3, eval_every=1), trained=trained, evaluate=evaluate, evaluates=True)
    found = weights(watched.path)
    assert all(torch.equal(found[name], tensor) for name, tensor in weights(plain.path).items())


def test_activations_computed_again_change_nothing(run: Train) -> None:
    """Packed: the layout of the batch must still be there in the backward pass; so must what was dropped."""
    trained = TrainedParts(dropout=0.1)
    _, held = run("held", replace(SIX, steps=3), trained=trained)
    _, again = run("again", replace(SIX, steps=3, gradient_checkpointing=True), trained=trained)
    assert again.record.attention is not None
    found = weights(again.path)
    assert all((found[name] - tensor).abs().max() < 1e-5 for name, tensor in weights(held.path).items())


def test_each_process_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read to a GPU before `TrainingArguments` chooses one must not all go to the first."""
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    first, cuda = torch.device("cuda", 0), torch.device("cuda")
    assert place_of_process(cuda) == place_of_process(first) == first
    monkeypatch.setenv("LOCAL_RANK", "2")
    assert place_of_process(cuda) == torch.device("cuda", 2)
    assert place_of_process(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(UsageError, match=r"`device` cuda:3: .* CUDA_VISIBLE_DEVICES=3"):
        place_of_process(torch.device("cuda", 3))
