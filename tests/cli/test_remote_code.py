"""Code that comes with a model: it runs under --trust-remote-code, and never otherwise, whatever the command."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import load, synth

CODE = """
from pathlib import Path
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification
with Path({mark!r}).open("a") as file:
    file.write("ran\\n")
class OwnConfig(LlamaConfig):
    model_type = "of-its-own"
class OwnModel(LlamaForCausalLM):
    config_class = OwnConfig
class OwnClassifier(LlamaForSequenceClassification):
    config_class = OwnConfig
"""
QUESTIONS = [
    {"messages": [{"role": "user", "content": f"What is {n} plus 4?"}, {"role": "assistant", "content": f"{n + 4}"}]}
    for n in range(3)
]


class Place:
    """A folder with the sample model as one that brings code of its own, and rows for every command."""

    def __init__(self, folder: Path, sample: str) -> None:
        self.folder, self.mark = folder, folder / "mark"
        self.model = shutil.copytree(sample, folder / "own")
        (self.model / "code.py").write_text(CODE.format(mark=str(self.mark)))
        config = json.loads((self.model / "config.json").read_text())
        own = {"AutoConfig": "code.OwnConfig", "AutoModelForCausalLM": "code.OwnModel"}
        self._change(
            "config.json", config | {"model_type": "of-its-own", "auto_map": own, "architectures": ["OwnModel"]}
        )
        self.rows = folder / "rows.jsonl"
        self.rows.write_text("\n".join(map(json.dumps, QUESTIONS)))
        self.suite = folder / "suite.jsonl"
        item = {"prompt": "What is 3 plus 4?", "reference": "7", "verifier": "math"}
        self.suite.write_text(json.dumps(item) + "\n")

    def _change(self, name: str, fields: dict[str, Any]) -> None:
        (self.model / name).write_text(json.dumps(fields))

    def make_tokenizer_own(self) -> None:
        """The tokenizer brings the code, not the model."""
        settings = json.loads((self.model / "tokenizer_config.json").read_text())
        own = {"AutoTokenizer": [None, "code.OwnConfig"]}
        self._change("tokenizer_config.json", settings | {"tokenizer_class": "OwnTokenizer", "auto_map": own})

    def commands(self) -> dict[str, list[object]]:
        here, model, rows = self.folder, self.model, self.rows
        judged = ["verify", rows, "--verifier", "judge", "--judge", model, "--quiet"]
        few = ["--engine", "transformers", "--device", "cpu", "--max-tokens", 8, "--quiet"]
        own = ["--model", model]
        return {
            "template": ["template", *own],
            "magpie": ["magpie", *own, "-n", 1, *few, "-o", here / "magpie"],
            "self-output": ["self-output", rows, *own, "--verifier", "exact", *few, "-o", here / "own-answers"],
            "distil": ["distil", rows, "--teacher", model, *few, "-o", here / "distilled"],
            "judge": [*judged, "-o", here / "judged"],
            "ssr": ["ssr", rows, *own, "-n", 1, *few, "-o", here / "ssr"],
            "score-tokens": ["score-tokens", rows, *own, "--quiet", "-o", here / "scores"],
            "rate": ["rate", rows, *own, "--by", "perplexity", "--quiet", "-o", here / "rated"],
            "rate --by reward": ["rate", rows, *own, "--by", "reward", "--quiet", "-o", here / "rewarded"],
            "filter": ["filter", rows, "--dedup", f"semantic:{model}", "--quiet", "-o", here / "filtered"],
            "train": ["train", rows, *own, "--steps", 1, "--device", "cpu", "--quiet", "-o", here / "trained"],
            "eval": ["eval", self.suite, *own, *few, "-o", here / "evaluated"],
            "eval --text": ["eval", "--text", rows, *own, *few, "-o", here / "perplexities"],
        }


@pytest.fixture
def place(tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    for name in [name for name in sys.modules if name.startswith("transformers_modules")]:
        del sys.modules[name]
    return Place(tmp_path, model)


def test_without_the_option_no_command_runs_it(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    commands = place.commands()
    assert synth(*commands.pop("template")) == 0 and not place.mark.exists()  # the tokenizer alone, without code here
    for name, command in commands.items():
        capfd.readouterr()
        assert synth(*command) == 2, name
        said = capfd.readouterr().err.strip()
        assert said.startswith("synth: ") and "--trust-remote-code" in said and "\n" not in said, (name, said)
        assert str(place.model) in said and not place.mark.exists(), name


def test_nor_that_of_a_tokenizer(tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]) -> None:
    place = Place(tmp_path, model)
    shutil.copy(Path(model) / "config.json", place.model / "config.json")
    place.make_tokenizer_own()
    for name in ("template", "score-tokens", "train"):
        synth(*place.commands()[name])  # the libraries may do without it: they are not to run it
        assert not place.mark.exists(), (name, capfd.readouterr().err)


def test_with_the_option_it_works_and_only_then(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("magpie", "score-tokens", "filter", "train", "eval", "eval --text"):
        command = place.commands()[name]
        assert synth(*command, "--trust-remote-code") == 0, (name, capfd.readouterr().err)
        assert place.mark.exists()
    assert load(place.folder / "magpie")[0]["messages"]
    place.mark.unlink()
    again = synth(*place.commands()["eval"][:-1], place.folder / "again")
    assert again == 2 and "--trust-remote-code" in capfd.readouterr().err and not place.mark.exists()
    # what was trained is a model with the same code, which its code came with
    trained = place.folder / "trained"
    assert json.loads((trained / "config.json").read_text())["auto_map"]
    assert synth("merge", place.model, trained, "--ratio", 0.5, "-o", place.folder / "merged") == 0
    assert not place.mark.exists()
    assert synth("template", "--model", place.folder / "merged", "--trust-remote-code") == 0


@pytest.mark.vllm
def test_vllm_runs_none_either(place: Place, capfd: pytest.CaptureFixture[str]) -> None:
    """vLLM is asked itself: the tokenizer, which is loaded first, is another model's."""
    import asyncio

    from synth.engines.base import EngineOptions
    from synth.engines.loading import load_tokenizer
    from synth.engines.vllm.engine import open_vllm
    from synth.errors import UsageError

    tokenizer = load_tokenizer("samples/model")
    with pytest.raises(UsageError, match="`trust_remote_code`"):
        asyncio.run(open_vllm(str(place.model), tokenizer, EngineOptions()))
    assert not place.mark.exists()
