"""`synth rate`, as a person runs it."""

import json
import math
from pathlib import Path

import datasets
import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

from cli.main import main


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    capfd.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert isinstance(stop.value.code, int)
    return stop.value.code, capfd.readouterr().err


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    lines = [{"question": f"What are {n} and 1?", "answer": f"{n} + 1 = {n + 1}."} for n in range(5)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_rate_then_filter(tmp_path: Path, rows: Path, model: str, capfd: pytest.CaptureFixture[str]) -> None:
    engine = ["--model", model, "--engine", "transformers", "--device", "cpu"]
    status, err = run(capfd, "rate", rows, *engine, "--by", "perplexity,ifd", "-o", tmp_path / "measured")
    assert status == 0, err
    assert "5 rows" in err
    status, err = run(
        capfd, "rate", tmp_path / "measured", *engine, "--by", "quality", "--max-tokens", 32, "-o", tmp_path / "rated"
    )
    assert status == 0, err
    rated = datasets.load_from_disk(str(tmp_path / "rated"))
    assert all(row["perplexity"] > 1 and row["ifd"] > 0 for row in rated)
    assert all((row["quality"] is None) == (row["quality_fault"] is not None) for row in rated)
    status, err = run(capfd, "filter", tmp_path / "rated", "--keep", "bottom:perplexity,2", "-o", tmp_path / "best")
    assert status == 0, err
    kept = datasets.load_from_disk(str(tmp_path / "best"))["perplexity"]
    assert sorted(kept) == sorted(rated["perplexity"])[:2]
    status, err = run(capfd, "rate", tmp_path / "rated", *engine, "--by", "ifd", "-o", tmp_path / "again")
    assert status == 2 and "has a column ifd already" in err


def test_rewards(tmp_path: Path, rows: Path, model: str, capfd: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=1024, num_labels=1, pad_token_id=0, **sizes)
    LlamaForSequenceClassification(config).save_pretrained(tmp_path / "reward")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "reward")
    command = ["rate", rows, "--model", tmp_path / "reward", "--by", "reward", "--device", "cpu", "-o"]
    status, err = run(capfd, *command, tmp_path / "rewarded")
    assert status == 0 and "LlamaForSequenceClassification on cpu, float32" in err, err
    found = datasets.load_from_disk(str(tmp_path / "rewarded"))
    assert len(set(found["reward"])) == 5 and found["reward_fault"] == [None] * 5
    status, err = run(capfd, *command, tmp_path / "rewarded")
    assert status == 0 and "already holds 5 rows" in err
    status, err = run(capfd, "rate", rows, "--model", model, "--by", "reward", "-o", tmp_path / "none")
    assert status == 2 and "not a sequence classifier" in err and not (tmp_path / "none").exists()
    status, err = run(capfd, "rate", rows, "--model", model, "--by", "reward,ifd", "-o", tmp_path / "none")
    assert status == 2 and "goes alone" in err
    status, err = run(capfd, *command[:-1], "--preview", 2)
    assert status == 2 and "--preview" in err and "not of this one" in err and "-o" not in err, err


def test_plain_texts_have_a_perplexity_and_nothing_else(
    tmp_path: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "texts.jsonl"
    file.write_text('{"text": "2 + 2 = 4."}\n{"text": ""}\n')
    engine = ["--model", model, "--engine", "transformers", "--device", "cpu"]
    status, err = run(capfd, "rate", file, *engine, "--by", "perplexity", "-o", tmp_path / "rated")
    assert status == 0, err
    rated = datasets.load_from_disk(str(tmp_path / "rated"))
    assert rated["perplexity"][0] > 1 and rated["perplexity_fault"][0] is None and rated["perplexity"][1] is None
    status, err = run(capfd, "score-tokens", file, "--model", model, "--device", "cpu", "-o", tmp_path / "scored")
    logprobs = datasets.load_from_disk(str(tmp_path / "scored"))["logprobs"][0][1:]
    assert rated["perplexity"][0] == pytest.approx(math.exp(-sum(logprobs) / len(logprobs)), rel=1e-4)
    for aspects in ("quality", "perplexity,ifd", "reward"):
        status, err = run(capfd, "rate", file, *engine, "--by", aspects, "-o", tmp_path / "none")
        assert status == 2 and "holds plain texts: take --by perplexity" in err, err


def test_what_is_measured_is_never_scored_by_vllm_in_process(
    tmp_path: Path, rows: Path, model: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever --engine auto would take to ask a model, and with a row as long as the window."""
    long = AutoTokenizer.from_pretrained(model).decode([70] * 900)
    with rows.open("a") as more:
        more.write(json.dumps({"question": "What is this?", "answer": long}) + "\n")
    status, err = run(capfd, "rate", rows, "--model", model, "--by", "ifd,perplexity", "-o", tmp_path / "measured")
    assert status == 0 and "engine transformers" in err
    assert "1 rows have no perplexity" in err
    status, err = run(capfd, "rate", rows, "--model", model, "--by", "perplexity", "--engine", "vllm")
    assert status == 2 and "vllm in process does not score texts" in err
