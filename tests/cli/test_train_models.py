"""Training models of other kinds than the sample model's, from the command line."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Gemma3TextConfig, GPTNeoConfig, OPTConfig

from cli.main import main

TALK = [("What is 2 + 2?", "It is 4."), ("And a long one?", "word " * 200), ("So?", "Then so it is, and no more.")]
TINY: dict[str, Any] = {"vocab_size": 1024, "hidden_size": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}


@pytest.mark.parametrize(
    ("config", "lies"),
    [
        (GPTNeoConfig(**TINY, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]],
                      max_position_embeddings=256, window_size=16), "padded"),
        (OPTConfig(**TINY, ffn_dim=48, num_hidden_layers=2, num_attention_heads=4, word_embed_proj_dim=32,
                   max_position_embeddings=256), "packed"),
        (Gemma3TextConfig(**TINY, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
                          num_key_value_heads=2, head_dim=8, sliding_window=16), "packed"),
    ],
    ids=["gpt-neo", "opt", "gemma3"],
)  # fmt: skip
def test_batches_longer_than_the_window(
    config: Any, lies: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A batch holds more tokens than the model's window; the last step takes what is left over."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(model).save_pretrained(tmp_path / "model")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"question": q, "answer": a}) + "\n" for q, a in TALK * 7))
    given = ["train", str(rows), "--model", str(tmp_path / "model"), "-o", str(tmp_path / "out"), "--device", "cpu"]
    with pytest.raises(SystemExit) as stop:
        main([*given, "--batch-tokens", "900", "--accumulate", "3"])
    assert not stop.value.code
    said = capsys.readouterr().err
    assert f"rows {lies}" in said and "left out" not in said
    log = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert all(0 < entry["tokens"] <= 3 * 900 for entry in log)
    assert sum(entry["tokens"] for entry in log) == record["tokens"]["tokens"]
