"""`synth.merge`: what it returns is a model as any."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import synth

MODEL = Path(__file__).parents[3] / "samples" / "model"


@pytest.fixture
def tuned(tmp_path: Path) -> Path:
    """The sample model with twice the weights."""
    folder = tmp_path / "tuned"
    folder.mkdir()
    for file in MODEL.iterdir():
        if file.suffix != ".safetensors":
            (folder / file.name).write_bytes(file.read_bytes())
    weights = {name: 2 * weight for name, weight in load_file(MODEL / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_half_of_the_way_by_default(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    merged = synth.merge(MODEL, tuned, output=tmp_path / "merged")
    assert os.fspath(merged) == str(merged) == str(tmp_path / "merged") and merged.kept == []
    assert f"{merged.tensors:,} tensors merged → {merged}" in capsys.readouterr().err
    before = load_file(MODEL / "model.safetensors")
    for name, weight in load_file(merged.path / "model.safetensors").items():
        torch.testing.assert_close(weight.float(), 1.5 * before[name].float(), rtol=1e-2, atol=1e-6)
    with synth.load(merged) as model:
        assert model.name == str(merged)


def test_the_whole_chat_vector_by_default(tuned: Path, tmp_path: Path) -> None:
    added = synth.merge(MODEL, tuned, add=tuned, output=tmp_path / "added", progress=synth.SILENT)
    settings = json.loads((added.path / "run.json").read_text())["settings"]
    assert settings["ratio"] == 1.0 and settings["add"] == str(tuned)


@pytest.mark.parametrize(
    ("settings", "field"), [({"ratio": 1.5}, "ratio"), ({"ratio": -1.0}, "ratio"), ({"output": MODEL}, "output")]
)
def test_settings_that_cannot_work_are_named(
    settings: dict[str, float | Path], field: str, tuned: Path, tmp_path: Path
) -> None:
    with pytest.raises(synth.UsageError) as wrong:
        synth.merge(MODEL, tuned, **{"output": tmp_path / "out"} | settings)  # type: ignore[arg-type]
    assert wrong.value.field == field and not (tmp_path / "out").exists()
