"""Several models at once: what each gets of a GPU, and that one model is opened once."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

import cli.cast
from cli.cast import Casting
from synth.engines.base import GPU_MEMORY, EngineOptions
from synth.engines.open import shared_memory
from tests.cli.running import load
from tests.cli.running import synth as run
from tests.cli.test_ssr import ENGINE, kept

__all__ = ["kept"]

GIVEN: dict[str, Any] = {"engine": "vllm", "prefix": None, "stop": None, "gpu_memory": None, "max_length": None}
M, OTHER = "samples/model", "./samples/model"
SERVER = f"{OTHER}@http://localhost:1"


class Stub:
    """Stands for an open engine: what is tested is what it would be opened with."""

    description = "stub"

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("models", "given", "more", "expected"),
    [
        ({"model": M}, {}, {}, [0.9]),
        ({"model": M, "editor": OTHER}, {}, {}, [0.45, 0.45]),
        ({"model": M, "editor": M}, {}, {}, [0.9]),
        ({"model": M, "editor": SERVER}, {}, {}, [0.9, 0.9]),
        ({"model": M, "editor": OTHER}, {"gpu_memory": 0.6}, {}, [0.6, 0.6]),
        ({"model": M}, {}, {"beside": 1}, [0.45]),
        ({"model": M, "answers": OTHER}, {}, {"beside": 1}, [0.3, 0.3]),
        ({"model": M}, {}, {"scores": True}, [0.45, 0.9]),  # the second is of transformers
        ({"model": M}, {"engine": "transformers"}, {"scores": True}, [0.9]),
    ],
)
def test_models_on_one_gpu_share_its_memory(
    models: dict[str, str],
    given: dict[str, Any],
    more: dict[str, Any],
    expected: list[float],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shares = []

    async def opened(engine: str, model: str, tokenizer: Any, options: EngineOptions) -> Any:
        shares.append(options.gpu_memory or GPU_MEMORY)
        return Stub()

    async def cast() -> None:
        async with AsyncExitStack() as stack:
            await Casting(models, GIVEN | given, **more).open(stack, None, False)

    monkeypatch.setattr(cli.cast, "open_engine", opened)
    asyncio.run(cast())
    assert shares == expected
    told = capfd.readouterr().err
    assert ("--gpu-memory" in told) == (min(expected) < 0.6)
    assert all(shared_memory(count) * count <= 0.9 for count in range(1, 9))


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
    assert run(*command, "--engine", "vllm", "--max-tokens", 40, "-o", tmp_path / "rows") == 0
    told = capfd.readouterr().err
    assert told.count("ready in") == 3 and "30% of a GPU's memory, as 3 models share it" in told
