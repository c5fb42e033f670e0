"""Several models at once: one model is opened once, and what each gets of a GPU."""

from pathlib import Path
from typing import Any

import pytest

from synth.engines.base import EngineOptions
from tests.cli.running import load
from tests.cli.running import synth as run
from tests.cli.test_ssr import ENGINE, kept

__all__ = ["kept"]


def test_one_model_that_writes_is_chosen_by_and_answers_is_opened_once(
    kept: Path, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import synth.engines.hf.engine

    opened = []
    load_model = synth.engines.hf.engine.load_model

    def loaded(name: str, options: EngineOptions) -> Any:
        opened.append(name)
        return load_model(name, options)

    monkeypatch.setattr(synth.engines.hf.engine, "load_model", loaded)
    command = ["ssr", kept, "--model", model, *ENGINE, "-n", 4, "--candidates", 8, "--clusters", 2, "--temperature", 1]
    assert run(*command, "-o", tmp_path / "rows") == 0
    assert len(opened) == 1 and capfd.readouterr().err.count("ready in") == 1
    assert len(load(tmp_path / "rows")) == 4


@pytest.mark.vllm
def test_two_models_in_vllm_at_once(kept: Path, model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    other.symlink_to(Path(model).resolve())
    command = ["minimum-change", kept, "--model", model, "--editor", other, "--verifier", "math", "--limit", 3]
    quick = ["--engine-arg", "enforce-eager=true", "--max-tokens", 40]  # nothing is compiled
    assert run(*command, "--engine", "vllm", *quick, "-o", tmp_path / "rows") == 0
    told = capfd.readouterr().err
    assert told.count("ready in") == 3 and "30% of a GPU's memory, as 3 models share it" in told
