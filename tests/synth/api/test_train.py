"""`synth.train`: a few steps on the sample model, and what comes of them."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars
import pytest

import synth
from samples import skills
from synth.training.folder import TrainingFolder
from tests.conftest import MODEL

ROWS = [{"question": question, "answer": answer} for question, answer in skills.suite("two_step", "train", 30)]
FAST: dict[str, Any] = {
    "device": "cpu",
    "dtype": "float32",
    "tokens_per_batch": 700,
    "learning_rate": 1e-3,
    "progress": synth.SILENT,
}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six tasks of an old skill."""
    file = tmp_path_factory.mktemp("suites") / "strings.jsonl"
    tasks = skills.suite("strings", "dev", 6)
    lines = [json.dumps({"prompt": task, "reference": answer, "verifier": "exact"}) for task, answer in tasks]
    file.write_text("\n".join(lines))
    return str(file)


def test_a_model_its_log_and_its_curve(suite: str, tmp_path: Path) -> None:
    tuned = synth.train(
        ROWS, MODEL, output=tmp_path / "tuned", steps=2, suites=[suite], eval_every=1, eval_tokens=40, **FAST
    )
    assert os.fspath(tuned) == str(tuned) == str(tmp_path / "tuned") and repr(tuned).endswith("tuned: 2 steps>")
    assert [entry["step"] for entry in tuned.log if "loss" in entry] == [1, 2]
    assert [point["step"] for point in tuned.curve] == [0, 1, 2]
    assert tuned.curve[0]["kept"] == 1.0 and tuned.curve[0]["new"] is None
    assert tuned.curve[0]["old"] == tuned.curve[0]["suites"]["strings"] > 0.5
    assert (tuned.path / "curve.svg").exists() and tuned.record.settings["learning_rate"] == 1e-3
    assert tuned.plan.steps == 2 and tuned.plan.sources[0].rows == 30 == tuned.record.accepted
    page = tuned.report(tmp_path / "page.html")
    assert "2 steps" in page.holds and (tmp_path / "page.html").exists()


def test_what_was_trained_is_a_model_as_any(tmp_path: Path) -> None:
    once = synth.train(ROWS, MODEL, output=tmp_path / "once", steps=1, **FAST)
    assert len(synth.magpie(str(once), rows=1, max_tokens=64, progress=synth.SILENT)) == 1
    with synth.load(once, device="cpu") as model:
        assert model.name == str(once)
        twice = synth.train(ROWS, once, output=tmp_path / "twice", steps=1, **FAST)
    assert twice.record.model == str(once)
    assert twice.log[0]["loss"] < once.log[0]["loss"]


def test_a_stopped_training_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from synth.stop import Stop

    asked: list[Stop] = []

    @contextmanager
    def remembered(self: Stop) -> Iterator[None]:
        asked.append(self)
        yield

    note = TrainingFolder.note

    def stop_after_the_second(self: TrainingFolder, entry: dict[str, Any]) -> None:
        note(self, entry)
        if entry["step"] == 2:
            asked[-1].ask()  # steps are logged late: it is in the third by then

    settings = FAST | {"steps": 4, "dropout": 0.1}
    whole = synth.train(ROWS, MODEL, output=tmp_path / "whole", **settings)
    with monkeypatch.context() as patch:
        patch.setattr(Stop, "on_signals", remembered)
        patch.setattr(TrainingFolder, "note", stop_after_the_second)
        with pytest.raises(synth.Stopped, match="stopped after step 3; run this again to continue"):
            synth.train(ROWS, MODEL, output=tmp_path / "parts", **settings)
    parts = synth.train(ROWS, MODEL, output=tmp_path / "parts", **settings)
    assert [entry["loss"] for entry in parts.log] == pytest.approx([entry["loss"] for entry in whole.log])
    again = synth.train(ROWS, MODEL, output=tmp_path / "parts", **settings)
    assert again.log == parts.log


def test_a_run_of_an_earlier_release_is_gone_on_with(tmp_path: Path) -> None:
    """Its settings had other names."""
    done = synth.train(ROWS, MODEL, output=tmp_path / "out", steps=1, **FAST)
    file = tmp_path / "out" / "run.json"
    record = json.loads(file.read_text())
    earlier = {"tokens_per_batch": "batch_tokens", "gradient_accumulation_steps": "accumulate", "kl_coef": "kl"}
    earlier |= {"max_grad_norm": "clip", "lm_loss_coef": "lm_loss", "kl_sources": "kl_on"}
    assert set(earlier) < set(record["settings"])
    record["settings"] = {earlier.get(name, name): value for name, value in record["settings"].items()}
    file.write_text(json.dumps(record))
    assert synth.train(ROWS, MODEL, output=tmp_path / "out", steps=1, **FAST).log == done.log
    with pytest.raises(synth.UsageError, match="tokens_per_batch: 700, now 800"):
        synth.train(ROWS, MODEL, output=tmp_path / "out", steps=1, **FAST | {"tokens_per_batch": 800})


def test_a_dry_run_says_what_would_be_done(tmp_path: Path) -> None:
    rows = [row | {"source": "tasks" if index < 20 else "replay"} for index, row in enumerate(ROWS)]
    rows.append({"question": "Why<|end|>?", "answer": "So.", "source": "replay"})
    dry = synth.train(rows, MODEL, output=tmp_path / "none", epochs=2, dry_run=True, **FAST)
    plan = dry.plan
    assert not (tmp_path / "none").exists()
    assert [(one.source, one.rows) for one in plan.sources] == [("tasks", 20), ("replay", 10)]
    assert sum(plan.rejected.values()) == 1 and plan.passes == pytest.approx(2)
    assert plan.tokens_per_step == 700 and plan.steps > plan.tokens / 700
    assert plan.examples[0].spans[-1] == (f"{ROWS[0]['answer']}<|end|>", True) and plan.replay is None
    beside: dict[str, Any] = {"epochs": 2, "dry_run": True, "replay_loss": "kl"} | FAST
    split = synth.train(rows, MODEL, replay_sources="replay", **beside).plan
    unnamed = [*ROWS[20:], {"question": "Why<|end|>?", "answer": "So."}]
    apart = synth.train(polars.DataFrame(rows[:20]), MODEL, replay=polars.DataFrame(unnamed), **beside).plan
    for found in (split, apart):
        counts = [(one.source, one.rows, one.replay) for one in found.sources]
        assert counts == [("tasks", 20, False), ("replay", 10, True)]
        assert found.passes == pytest.approx(2) and found.rejected == plan.rejected
        assert found.replay is not None and found.replay.tokens_per_step == 175
    assert split.replay.tokens == apart.replay.tokens > 0  # type: ignore[union-attr]
    assert split.examples[-1].spans == [("<bos>", False), (split.examples[-1].spans[1][0], True)]
    with pytest.raises(synth.UsageError) as wrong:
        _ = dry.path
    assert wrong.value.field == "dry_run"


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"warmup": 3}, "warmup"),
        ({"steps": 3, "epochs": 2}, "steps"),
        ({"kl_sources": ["replay"]}, "kl_sources"),
        ({"kl_coef": 0.1, "kl_sources": ["replay"]}, "kl_sources"),
        ({"replay_weight": 2.0}, "replay_weight"),
        ({"replay_sources": ["replay"]}, "replay_sources"),
        ({"replay": ROWS, "replay_sources": ["replay"]}, "replay"),
        ({"keep": 0.9}, "keep"),
        ({"train_on": "answers"}, "train_on"),
        ({"freeze": ["heads"]}, "freeze"),
        ({"lora": 4, "peft": "x.json"}, "lora"),
        ({"lora": 4, "freeze": ["mlp"]}, "freeze"),
        ({"peft": "x.json", "freeze": ["embeddings"]}, "freeze"),
        ({"lora_alpha": 8}, "lora_alpha"),
        ({"lora_dropout": 0.1}, "lora_dropout"),
        ({"peft": "x.json", "lora_dropout": 0.1}, "lora_dropout"),
        ({"max_length": 10**6}, "max_length"),
        ({"gradient_accumulation_steps": 500}, "gradient_accumulation_steps"),
        ({"output": None}, "output"),
    ],
)
def test_settings_that_cannot_work_are_named_before_a_model_is_loaded(
    settings: dict[str, Any], field: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import synth.training.trainee

    monkeypatch.setattr(synth.training.trainee, "load_for_training", None)
    with pytest.raises(synth.UsageError) as wrong:
        synth.train(ROWS, MODEL, **{"output": tmp_path / "out"} | FAST | settings)
    assert wrong.value.field == field and not (tmp_path / "out").exists()


def test_modules_that_are_not_there_are_found_in_a_dry_run(tmp_path: Path) -> None:
    file = tmp_path / "peft.json"
    file.write_text(json.dumps({"peft_type": "LORA", "r": 4, "target_modules": ["nowhere"]}))
    with pytest.raises(synth.UsageError, match=r"Target modules .*nowhere.* not found") as wrong:
        synth.train(ROWS, MODEL, peft=file, dry_run=True, **FAST)
    assert wrong.value.field == "peft"
