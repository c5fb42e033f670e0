"""What sources are called."""

from pathlib import Path

import pytest

from synth.data.files.names import short_name, source_name, unlike

NAMED = {
    "gsm8k/main/train-00000-of-00001.parquet": "gsm8k",
    "gsm8k/socratic/train-00000-of-00001.parquet": "socratic",
    "mbpp/full.jsonl.gz": "mbpp",
    "mbpp/data/test.jsonl": "mbpp",
    "replay/data-00000-of-00002.arrow": "replay",
    "replay/data-00000.arrow": "replay",
    "replay/data-*.arrow": "replay",
    "replay/*.jsonl": "replay",
    "replay/**/part-?.jsonl": "replay",
    "math-1.5b.jsonl": "math-1.5b",
    "sums.v2.csv.zst": "sums.v2",
    "own.txt": "own.txt",
    "own/test_data_2024.jsonl": "own",
    "gpqa/gpqa_diamond.csv": "gpqa_diamond",
    "datasets--org--tasks/snapshots/0123456789abcdef0123456789abcdef01234567/data/train.jsonl": "tasks",
    "数学/测试.jsonl": "测试",
    "x/1.jsonl": "1",
    "HuggingFaceH4/ultrachat_200k:train_sft": "ultrachat_200k",
    "openai/gsm8k/main:test": "gsm8k",
    "org/tasks@v1.0:train": "tasks",
    "-": "input",
}


@pytest.mark.parametrize(("source", "name"), NAMED.items())
def test_sources_are_called_after_what_they_are(
    source: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source != "-" and ":" not in source:
        monkeypatch.chdir(tmp_path)
        Path(source).parent.mkdir(parents=True, exist_ok=True)
        if "*" not in source and "?" not in source:
            Path(source).touch()
    assert short_name(source) == name


def test_folders_keep_their_names_whole(tmp_path: Path) -> None:
    for folder in ("lr-1e-5.0", "x.parquet", "tasks/main"):
        (tmp_path / folder).mkdir(parents=True)
    names = [short_name(str(tmp_path / folder)) for folder in ("lr-1e-5.0", "x.parquet", "tasks/main", "tasks/")]
    assert names == ["lr-1e-5.0", "x.parquet", "tasks", "tasks"]
    assert source_name(str(tmp_path / "tasks/main")).long == "tasks-main"


def test_names_that_are_alike_are_numbered() -> None:
    assert unlike(["a", "b", "a", "a-2", "a"]) == ["a", "b", "a-2", "a-2-2", "a-3"]
