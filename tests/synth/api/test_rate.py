"""`synth.rate`, and reward models."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

import synth
import synth.generation.models
from synth.curation.rewards import BLOCK_ROWS, RewardModel

ROWS = [{"question": f"What are {n} and 1?", "answer": f"{n} + 1 = {n + 1}."} for n in range(5)]


@pytest.fixture(scope="module")
def rewards(model: synth.Model, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random reward model."""
    folder = str(tmp_path_factory.mktemp("rewards"))
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=1024, num_labels=1, pad_token_id=0, **sizes)
    LlamaForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(model.name).save_pretrained(folder)
    return folder


def test_numbers_for_rows_in_memory(model: synth.Model, capsys: pytest.CaptureFixture[str]) -> None:
    rated = synth.rate(model, ROWS, by=["perplexity", "ifd", "quality"], max_tokens=32)
    assert len(rated) == 5 and all(row["perplexity"] > 1 and row["ifd"] > 0 for row in rated)
    assert all((row["quality"] is None) == (row["quality_fault"] is not None) for row in rated)
    unknown = sum(row["quality"] is None for row in rated)
    assert (f"{unknown:,} rows have no quality: quality_fault says why" in capsys.readouterr().err) == (unknown > 0)
    texts = synth.rate(model, [{"text": "2 + 2 = 4."}], by="perplexity", progress=synth.SILENT)
    assert next(iter(texts))["perplexity"] > 1


def test_what_is_measured_is_measured_where_texts_are_scored(
    model: synth.Model, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def choose(engine: str) -> tuple[str, str]:
        return ("vllm", "as on a GPU") if engine == "auto" else (engine, "asked for")

    monkeypatch.setattr(synth.generation.models, "choose_engine", choose)
    with synth.load(model.name, device="cpu") as given:
        assert given.kind == "vllm"
        rated = synth.rate(given, ROWS, by="perplexity")
        assert given.running is None, "it was not needed"
    assert rated.record is not None and rated.record.settings["engine"] == "transformers"
    assert "engine transformers (asked for); loading" in capsys.readouterr().err


def test_rewards(rewards: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rated = synth.rate(rewards, ROWS, by="reward", output=tmp_path / "rated", limit=4)
    assert len({row["reward"] for row in rated}) == 4 and "loading" in capsys.readouterr().err
    assert list(synth.rate(rewards, ROWS, by=["reward"], output=tmp_path / "rated", limit=4)) == list(rated)
    told = capsys.readouterr().err
    assert "already holds 4 rows" in told and "loading" not in told


@pytest.mark.parametrize("times", [1, 2])
def test_stopped_it_is_gone_on_with(
    rewards: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], times: int
) -> None:
    many = [{"question": f"What is {n}?", "answer": "word " * (n % 9)} for n in range(3 * BLOCK_ROWS)]
    whole = list(synth.rate(rewards, many, by="reward", progress=synth.SILENT))
    given, blocks = RewardModel.rewards, []

    def interrupted(self: RewardModel, sequences: Any) -> list[float]:
        blocks.append(len(sequences))
        for _ in range(times if len(blocks) == 2 else 0):
            os.kill(os.getpid(), signal.SIGINT)
        return given(self, sequences)

    monkeypatch.setattr(RewardModel, "rewards", interrupted)
    with pytest.raises(synth.Stopped, match="run this again to continue"):
        synth.rate(rewards, many, by="reward", output=tmp_path / "rated")
    assert "finishing the current rows" in capsys.readouterr().err
    done = synth.Dataset(tmp_path / "rated").record
    assert done is not None and done.finished is None and done.next == (3 - times) * BLOCK_ROWS
    monkeypatch.undo()
    assert list(synth.rate(rewards, many, by="reward", output=tmp_path / "rated", progress=synth.SILENT)) == whole


def test_what_cannot_work_is_named(model: synth.Model) -> None:
    for by in ([], ["reward", "ifd"], ["wisdom"], ["ifd", "ifd"]):
        with pytest.raises(synth.UsageError) as wrong:
            synth.rate(model, ROWS, by=by)
        assert wrong.value.field in ("by", None)
    with pytest.raises(synth.UsageError, match="vllm in process does not score texts"):
        synth.rate(synth.Model(model.name, engine="vllm"), ROWS, by="ifd")
    with pytest.raises(synth.UsageError, match="holds plain texts: take `by` perplexity"):
        synth.rate(model, [{"text": "2 + 2 = 4."}], by="quality")
    with pytest.raises(synth.UsageError, match="not a sequence classifier"):
        synth.rate(model, ROWS, by="reward")
    with pytest.raises(synth.UsageError, match="has a column ifd already"):
        synth.rate(model, [row | {"ifd": 1.0} for row in ROWS], by="ifd")
