"""Models by role: what is shared between them, and how one takes another's place."""

from pathlib import Path
from typing import Any

import pytest

import synth.generation.models
from synth.api.models import used
from synth.background import wait_for
from synth.engines.base import GPU_MEMORY, EngineOptions
from synth.engines.open import shared_memory
from synth.errors import UsageError
from synth.generation.models import Model
from synth.generation.roles import Roles
from synth.progress import SILENT, Progress


def test_a_chat_template_is_read_when_it_is_needed(model: str, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in Path(model).iterdir():
        if file.name != "chat_template.jinja":
            (base / file.name).write_bytes(file.read_bytes())
    with Model(str(base)) as bare:
        with pytest.raises(UsageError, match="chat template"):
            bare.unopened()
        assert bare.written("Q: ", " A:").chat.turns.prefix == "Q: "
    with pytest.raises(UsageError, match="no such directory"):
        Model(str(tmp_path / "none"))


def test_a_model_that_is_written_to_in_two_ways_is_loaded_once(model: str) -> None:
    with Model(model, engine="transformers", options=EngineOptions(device="cpu")) as one:
        other = one.written("Q: ", " A:")
        assert one.written(None, None) is one and (other.chat.prefix, one.chat.prefix) == ("Q: ", None)
        roles = Roles({"model": other, "editor": one})
        assert roles.models_here() == 1 and roles.record()["prefix"] == "Q: "
        opened = wait_for(roles.opened(None, SILENT))
        assert opened.chat_model.engine is opened.role("editor").engine is one.running
    assert other.running is None


def test_who_takes_the_place_of_a_model_is_run_like_it(model: str, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    teacher.symlink_to(Path(model).resolve())
    options = EngineOptions(device="cpu", max_length=64)
    with Model(model, engine="transformers", options=options, prefix="Q: ", stop=" A:") as one:
        with used(one) as same, used(one, instead=model) as itself:
            assert same is itself is one
        with used(one, instead=str(teacher)) as other:
            assert other.name == str(teacher) and (other.engine, other.options) == ("transformers", options)
            assert (other.prefix, other.stop) == ("Q: ", " A:")
        with used(one, instead=f"{model}@http://localhost:1") as served:
            assert (served.kind, served.name, served.options) == ("server", model, options)
            assert served.other(str(teacher)).kind == "transformers"
        assert one.run_in("transformers") is one and one.run_in("vllm").kind == "vllm"


OTHER = "./samples/model"
M = "samples/model"
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

    monkeypatch.setattr(synth.generation.models, "open_engine", opened)
    engine = given.get("engine", "vllm")
    main = Model(models["model"], engine=engine, options=EngineOptions(gpu_memory=given.get("gpu_memory")))
    roles = Roles({role: main.other(name) for role, name in models.items()}, **more)
    wait_for(roles.opened(None, Progress()))
    assert shares == expected
    told = capfd.readouterr().err
    assert ("`gpu_memory`" in told) == (min(expected) < 0.6)
    assert all(shared_memory(count) * count <= 0.9 for count in range(1, 9))
