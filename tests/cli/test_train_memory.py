"""What `synth train` says of memory: in a dry run, before it loads a model, and when memory ran out."""

import json
import re
from pathlib import Path

import pytest
import torch

from synth.errors import RunError
from synth.training.settings import TrainingSettings
from synth.training.trainer import TokenTrainer
from tests.cli.test_train import Run as Command
from tests.cli.test_train import run as train
from tests.synth.training.conftest import Train, rows, run, tasks

__all__ = ["rows", "run", "tasks", "train"]  # fixtures

ROOT = Path(__file__).parents[2]
QWEN = {
    "model_type": "qwen2",
    "architectures": ["Qwen2ForCausalLM"],
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}


@pytest.fixture
def seven(model: str, tmp_path: Path) -> Path:
    """A model of 7 billion weights, of which there is everything but these."""
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((Path(model) / name).read_bytes())
    (tmp_path / "config.json").write_text(json.dumps(QWEN))
    return tmp_path


def gib(out: str, part: str) -> float:
    found = re.search(rf"^{part} +([\d.,]+) (GiB|MiB)$", out, re.MULTILINE)
    assert found is not None, out
    return float(found[1].replace(",", "")) / (1 if found[2] == "GiB" else 1024)


def test_a_dry_run_says_what_it_takes(train: Command, tasks: Path, seven: Path) -> None:
    half = (tasks, "--model", seven, "--dry-run", "--dtype", "bfloat16", "--device", "cpu")
    status, out, _ = train(*half)
    assert status == 0
    parts = ("weights", "gradients", "optimiser", "logits", "activations")
    assert gib(out, "memory, together") == pytest.approx(sum(gib(out, part) for part in parts), abs=0.3)
    assert "reference" not in out and "does not fit: cpu has " in out
    status, out, _ = train(*half, "--kl", 0.1)
    assert gib(out, "reference") == pytest.approx(14.2, abs=0.05)
    status, out, _ = train(*half, "--lora", 16, "--gradient-checkpointing")
    assert status == 0 and gib(out, "memory, together") < 22


def test_a_model_that_does_not_fit_is_refused_before_it_is_loaded(
    train: Command,
    tasks: Path,
    seven: Path,
    tmp_path: Path,
) -> None:
    large = QWEN | {"hidden_size": 16384, "num_hidden_layers": 126, "intermediate_size": 53248}
    (seven / "config.json").write_text(json.dumps(large | {"num_attention_heads": 128, "num_key_value_heads": 8}))
    status, _, err = train(tasks, "--model", seven, "-o", tmp_path / "out")
    assert status == 2 and "does not fit" in err and "for weights, gradients and optimiser, up to" in err
    status, _, err = train(tasks, "--model", seven, "-o", tmp_path / "out", "--kl", 0.1)
    assert status == 2 and "optimiser, and for the model beside it" in err


def test_the_readmes_figures(train: Command, tasks: Path, seven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    half = (tasks, "--model", seven, "--dry-run", "--dtype", "bfloat16", "--device", "cpu", "--gradient-checkpointing")
    monkeypatch.setattr("synth.training.extras.find_spec", lambda _: True)  # as if torchao were installed
    readme = " ".join((ROOT / "README.md").read_text().split())
    for options, text in (
        ((), "{} GiB in float32"),
        (("--weights", "bfloat16"), "{} GiB with `--weights bfloat16`"),
        (("--lora", 16), "{} GiB as an adapter"),
    ):
        _, out, _ = train(*half, *options)
        assert text.format(gib(out, "memory, together")) in readme, (options, gib(out, "memory, together"))


def test_the_guides_table(train: Command, tasks: Path, seven: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command says of Qwen2.5-7B with the options of each line."""
    half = (tasks, "--model", seven, "--dry-run", "--dtype", "bfloat16", "--device", "cpu", "--gradient-checkpointing")
    monkeypatch.setattr("synth.training.extras.find_spec", lambda _: True)  # as if all were installed
    guide = (ROOT / "samples" / "guide.md").read_text()
    lines = re.findall(r"^\| (float32 weights|`--.+?`) \| [\d.]+ \| [\d.]+ \| ([\d.]+) \|", guide, re.MULTILINE)
    assert len(lines) == 5
    for way, said in lines:
        options = way.strip("`").split() if way.startswith("`") else []
        few = ("--batch-tokens", 4096) if "--quantise" in options else ()
        _, out, _ = train(*half, *options, *few)
        assert f"{gib(out, 'memory, together'):.1f}" == said, way
        assert not options or f"with {options[-2]} " not in out, "advises what was given"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lora", 4, "--quantise", "4bit"), "--quantise 4bit holds the whole model in each process"),
        (("--optimizer", "adamw-8bit"), "--optimizer adamw-8bit: its moments cannot be shared"),
        (("--method", "simpo"), "--method simpo needs a process to hold the model"),
        (("--eval", "suite.jsonl"), "--eval and --new need a process to hold the whole model"),
    ],
)
def test_what_cannot_be_shared(
    train: Command, tasks: Path, model: str, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], said: str
) -> None:
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    status, _, err = train(tasks, "--model", model, *options, "--dry-run")
    assert status == 2 and said in err


def test_deepspeed_is_refused(train: Command, tasks: Path, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps weights where saving does not look for them."""
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    status, _, err = train(tasks, "--model", model, "--dry-run")
    assert status == 2 and "DeepSpeed is not supported" in err


def test_when_memory_runs_out(run: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(TokenTrainer, "compute_loss", full)
    with pytest.raises(RunError, match="memory ran out on cpu: a fifth less is taken with `gradient_checkpointing`"):
        run("out", TrainingSettings(steps=2, dtype="float32"))
