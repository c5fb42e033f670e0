"""Models by role: what is shared between them, and how one takes another's place."""

from pathlib import Path

import pytest

from synth.api.models import used
from synth.background import wait_for
from synth.engines.base import EngineOptions
from synth.errors import UsageError
from synth.generation.models import Model, Roles
from synth.progress import SILENT


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
