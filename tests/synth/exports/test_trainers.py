"""What is exported, loaded by the trainers themselves: exactly the tokens that are not masked carry loss."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
import transformers

from samples.own_words import write_tasks
from tests.cli.running import code, forked, synth
from tests.conftest import Here

TRAINERS = Path(sys.prefix, "trainers")


@pytest.fixture(scope="module")
def masked(model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen tasks, a fifth of the tokens of each masked."""
    folder = tmp_path_factory.mktemp("masked")
    write_tasks(folder / "tasks.jsonl", 16, "natural")
    command = ["score-tokens", folder / "tasks.jsonl", "--model", model, "--mask-hardest", "20%", "-o", folder / "rows"]
    assert synth(*command) == 0
    return folder / "rows"


def exported(here: Here, rows: Path, out: Path, trainer: str, *options: object) -> str:
    """Export rows; the configuration that was printed."""
    done = here("export", rows, "--for", trainer, *options, "-o", out)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tokens_of(rows: Path) -> list[tuple[list[int], list[int]]]:
    return [(row["input_ids"], row["labels"]) for row in datasets.load_from_disk(str(rows))]


def mean_loss(model: Any, rows: list[tuple[list[int], list[int]]]) -> float:
    """The loss of some rows by hand: the mean over all tokens whose label is not -100, each row by itself."""
    total = torch.zeros((), dtype=torch.float64)
    count = 0
    for ids, labels in rows:
        with torch.inference_mode():
            logprobs = model(input_ids=torch.tensor([ids])).logits[0].double().log_softmax(-1)
        for place, label in enumerate(labels):
            if label != -100:
                assert label == ids[place]
                total -= logprobs[place - 1, label]
                count += 1
    return float(total / count)


@pytest.mark.parametrize("packing", [False, True])
def test_trl_trains_on_the_tokens_that_are_left(
    here: Here, model: str, masked: Path, tmp_path: Path, packing: bool
) -> None:
    trl = pytest.importorskip("trl")
    config = exported(here, masked, tmp_path / "out", "trl")
    assert "max_length=None" in config and model in config
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert rows.column_names == ["input_ids", "labels"]
    seen: list[torch.Tensor] = []

    class Watched(trl.SFTTrainer):  # type: ignore[misc, name-defined]
        def compute_loss(self, model: Any, inputs: dict[str, Any], *more: Any, **named: Any) -> Any:
            seen.append(inputs["labels"].clone())
            return super().compute_loss(model, inputs, *more, **named)

    tuned = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, attn_implementation="sdpa")
    expected = mean_loss(tuned.eval(), tokens_of(masked))
    before = tuned.model.layers[0].mlp.up_proj.weight.detach().clone()
    trainer = Watched(
        tuned,
        args=trl.SFTConfig(
            output_dir=str(tmp_path / "tuned"),
            max_length=None if not packing else 4096,
            packing=packing,
            per_device_train_batch_size=16 if not packing else 1,
            max_steps=1,
            learning_rate=1e-3,
            logging_steps=1,
            report_to=[],
            use_cpu=True,
            bf16=False,
            save_strategy="no",
            dataset_num_proc=None,
        ),
        train_dataset=rows,
    )
    trainer.train()
    [labels] = seen
    left = sum(label != -100 for _, row in tokens_of(masked) for label in row)
    assert int((labels != -100).sum()) == left > 200
    if (
        not packing
    ):  # TRL packs only with an attention that keeps documents apart, which a CPU has not: masks count here
        assert trainer.state.log_history[0]["loss"] == pytest.approx(expected, abs=2e-4)
        wanted = sorted(tuple(label for label in row if label != -100) for _, row in tokens_of(masked))
        assert sorted(tuple(row[row != -100].tolist()) for row in labels) == wanted
    assert (tuned.model.layers[0].mlp.up_proj.weight != before).any()


@pytest.mark.parametrize("form", ["messages", "prompt-completion"])
def test_trl_takes_the_other_forms(here: Here, model: str, masked: Path, tmp_path: Path, form: str) -> None:
    trl = pytest.importorskip("trl")
    exported(here, masked, tmp_path / "out", "trl", "--as", form)
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    settings = trl.SFTConfig(
        output_dir=str(tmp_path / "tuned"), max_steps=1, report_to=[], use_cpu=True, save_strategy="no"
    )
    trainer = trl.SFTTrainer(model, args=settings, train_dataset=rows)
    assert trainer.train().training_loss > 0
    [ids] = trainer.train_dataset.select([0])["input_ids"]
    assert list(ids) == tokens_of(masked)[0][0]


def test_trl_takes_preference_pairs(here: Here, model: str, tmp_path: Path) -> None:
    trl = pytest.importorskip("trl")
    turns = {name: [{"role": "assistant", "content": text}] for name, text in (("chosen", "4."), ("rejected", "5."))}
    pair = {"id": "a", "prompt": [{"role": "user", "content": "2 + 2?"}], **turns, "model": "m", "parent": "p"}
    source = tmp_path / "pairs.jsonl"
    source.write_text((json.dumps(pair) + "\n") * 4)
    assert "DPOTrainer" in exported(here, source, tmp_path / "out", "trl")
    rows = datasets.load_from_disk(str(tmp_path / "out"))
    assert rows.column_names == ["prompt", "chosen", "rejected"] and len(rows) == 4
    settings = trl.DPOConfig(
        output_dir=str(tmp_path / "tuned"), max_steps=1, report_to=[], use_cpu=True, save_strategy="no"
    )
    assert trl.DPOTrainer(model, args=settings, train_dataset=rows).train().training_loss > 0


LLAMA_FACTORY = """
import importlib.machinery, json, sys, types
sys.path.append(sys.argv[1])
# Only its audio plug-in needs torchaudio, of which there is no build without CUDA.
sys.modules["torchaudio"] = types.ModuleType("torchaudio")
sys.modules["torchaudio"].__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
from llamafactory.data.converter import get_dataset_converter
from llamafactory.data.loader import get_dataset
from llamafactory.data.parser import get_dataset_list
import datasets
folder, kind = sys.argv[2:]
if kind == "tokens":
    arguments = types.SimpleNamespace(tokenized_path=folder, streaming=False)
    rows = get_dataset(None, None, arguments, None, "sft", None)["train_dataset"]
    print(json.dumps([dict(row) for row in rows]))
else:
    [listed] = get_dataset_list(["synth"], folder)
    arguments = types.SimpleNamespace(media_dir=folder)
    convert = get_dataset_converter(listed.formatting, listed, arguments)
    rows = datasets.load_dataset("json", data_files=f"{folder}/{listed.dataset_name}", split="train")
    print(json.dumps([convert(row) for row in rows]))
"""


def in_llama_factory(folder: Path, kind: str) -> list[dict[str, Any]]:
    if not (TRAINERS / "llamafactory").is_dir():
        pytest.skip("LLaMA-Factory is not installed: tests/run.sh does it")
    variables = {"DISABLE_VERSION_CHECK": 1}
    done = forked(LLAMA_FACTORY, TRAINERS, folder, kind, program=code, variables=variables)
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_llama_factory_loads_the_tokens(here: Here, masked: Path, tmp_path: Path) -> None:
    config = exported(here, masked, tmp_path / "out", "llama-factory")
    longest = max(len(ids) for ids, _ in tokens_of(masked))
    assert f"tokenized_path: {tmp_path / 'out'}" in config and f"cutoff_len: {longest}" in config
    rows = in_llama_factory(tmp_path / "out", "tokens")
    assert [(row["input_ids"], row["labels"]) for row in rows] == tokens_of(masked)
    assert all(row["attention_mask"] == [1] * len(row["input_ids"]) for row in rows)


@pytest.mark.parametrize("form", ["messages", "sharegpt", "alpaca"])
def test_llama_factory_reads_conversations(here: Here, masked: Path, tmp_path: Path, form: str) -> None:
    exported(here, masked, tmp_path / "out", "llama-factory", "--as", form)
    rows = in_llama_factory(tmp_path / "out", form)
    for row, original in zip(rows, datasets.load_from_disk(str(masked)), strict=True):
        question, answer = original["messages"]
        assert row["_prompt"] == [question] and row["_response"] == [answer]


AXOLOTL = """
import json, sys
sys.path.append(sys.argv[1])
from axolotl.utils.data.sft import _load_tokenized_prepared_datasets
from axolotl.utils.dict import DictDefault
from transformers import AutoTokenizer
import yaml
printed = yaml.safe_load(open(sys.argv[2]))
defaults = {"dataset_prepared_path": sys.argv[3], "seed": 1, "num_epochs": 1, "dataset_num_proc": 1}
tokenizer = AutoTokenizer.from_pretrained(printed["base_model"])
rows, _ = _load_tokenized_prepared_datasets(tokenizer, DictDefault(defaults | printed), split="train")
print(json.dumps([dict(row) for row in rows]))
"""


def in_axolotl(folder: Path) -> "subprocess.CompletedProcess[str]":
    """The rows that its `axolotl.yaml` names, as axolotl loads them."""
    variables = {"AXOLOTL_DO_NOT_TRACK": 1, "DO_NOT_TRACK": 1}
    words = (AXOLOTL, TRAINERS, folder / "axolotl.yaml", folder / "prepared")
    return forked(*words, program=code, folder=folder, variables=variables)


def test_axolotl_loads_the_tokens(here: Here, masked: Path, tmp_path: Path) -> None:
    if not (TRAINERS / "axolotl").is_dir():
        pytest.skip("axolotl is not installed: tests/run.sh does it")
    (tmp_path / "axolotl.yaml").write_text(exported(here, masked, tmp_path / "out", "axolotl"))
    assert datasets.load_from_disk(str(tmp_path / "out")).column_names == ["input_ids", "attention_mask", "labels"]
    done = in_axolotl(tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads(done.stdout.splitlines()[-1])
    found = sorted((row["input_ids"], row["labels"]) for row in rows)
    assert found == sorted(tokens_of(masked))


def test_torchtune_and_plain_files(here: Here, masked: Path, tmp_path: Path) -> None:
    done = here("export", masked, "--for", "torchtune", "-o", tmp_path / "a.jsonl")
    assert done.returncode == 2 and "masks would be lost" in done.stderr and not (tmp_path / "a.jsonl").exists()
    assert "conversation_style: openai" in exported(here, masked, tmp_path / "a.jsonl", "torchtune", "--as", "messages")
    rows = list(map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines()))
    assert [row["messages"] for row in rows] == list(datasets.load_from_disk(str(masked))["messages"])
    exported(here, masked, tmp_path / "b.parquet", "parquet")
    table = datasets.Dataset.from_parquet(str(tmp_path / "b.parquet"), cache_dir=str(tmp_path / "cache"))
    assert table.column_names == ["input_ids", "attention_mask", "labels"]
    assert [(row["input_ids"], row["labels"]) for row in table] == tokens_of(masked)


def test_what_a_form_cannot_hold_is_counted(here: Here, tmp_path: Path) -> None:
    def turns(*roles: str) -> dict[str, Any]:
        return {"messages": [{"role": role, "content": f"{role} {n}"} for n, role in enumerate(roles)]}

    rows = [
        turns("system", "user", "assistant", "user", "assistant"),
        turns("user"),
        {"messages": None},
        turns("user", "tool", "assistant"),
    ]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = here("export", source, "--for", "jsonl", "--as", "alpaca", "-o", tmp_path / "alpaca.jsonl")
    assert "2 rows left out, which alpaca cannot hold" in done.stderr
    [row] = map(json.loads, (tmp_path / "alpaca.jsonl").read_text().splitlines())
    assert row == {
        "instruction": "user 3",
        "input": "",
        "output": "assistant 4",
        "system": "system 0",
        "history": [["user 1", "assistant 2"]],
    }
    done = here("export", source, "--for", "jsonl", "--as", "prompt-completion", "-o", tmp_path / "p.jsonl")
    assert "1 rows left out, which prompt-completion" in done.stderr
    done = here("export", source, "--for", "jsonl", "--as", "sharegpt", "-o", tmp_path / "s.jsonl")
    found = [json.loads(line)["conversations"] for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [[turn["from"] for turn in row] for row in found] == [
        ["system", "human", "gpt", "human", "gpt"],
        ["human"],
        ["human", "observation", "gpt"],
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--for", "trl"], "-o"),
        (["--as", "alpaca", "-o", "x"], "--for"),
        (["--for", "trl", "--as", "alpaca", "-o", "x"], "takes no alpaca"),
        (["--for", "trl", "-o", "x.jsonl"], "a directory"),
        (["--for", "jsonl", "-o", "x"], ".jsonl file"),
        (["--for", "axolotl", "--as", "tokens", "-o", "x"], "synth score-tokens"),
    ],
)
def test_bad_settings(
    here: Here, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str], words: str
) -> None:
    source = tmp_path / "rows.jsonl"
    source.write_text(json.dumps({"question": "a", "answer": "b"}) + "\n")
    monkeypatch.chdir(tmp_path)
    done = here("export", source, *options)
    assert done.returncode == 2 and words in done.stderr and sorted(tmp_path.iterdir()) == [source]
