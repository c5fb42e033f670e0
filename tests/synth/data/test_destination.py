from pathlib import Path

import pytest

from cli.main import main
from synth.data.destination import ROWS
from synth.data.write import FORMATS
from tests.conftest import MODEL


def test_the_suffixes_are_those_that_are_written() -> None:
    assert set(ROWS) == set(FORMATS)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["magpie", "--model", MODEL, "-n", "1", "-o", "x.txt"], ".jsonl, .parquet, .arrow, or in no suffix"),
        (["verify", "rows.jsonl", "--verifier", "exact", "-o", "x.csv"], "rows are not written as .csv"),
        (["score-tokens", "rows.jsonl", "--model", MODEL, "-o", "x.json"], "rows are not written as .json"),
        (["mix", "rows.jsonl", "--replay", "rows.jsonl:5%", "-o", "x.jsonl.gz"], "rows are not written as .gz"),
        (["filter", "rows.jsonl", "--dedup", "exact", "-o", "x.txt"], "rows are not written as .txt"),
        (["export", "rows.jsonl", "-o", "x.txt"], "rows are not written as .txt"),
        (["train", "rows.jsonl", "--model", MODEL, "-o", "x.safetensors"], "the trained model goes into a directory"),
        (["merge", MODEL, MODEL, "-o", "x.bin"], "the merged model goes into a directory"),
        (["eval", "rows.jsonl", "--model", MODEL, "-o", "x.json"], "an evaluation goes into a directory"),
        (["report", "rows.jsonl", "-o", "x.pdf"], "end its name in .html or .htm"),
        (["report", "rows.jsonl", "-o", "x"], "end its name in .html or .htm"),
    ],
)
def test_names_that_say_another_format_are_refused_at_once(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"question": "Why?", "answer": "So."}\n')
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    err = capsys.readouterr().err.removeprefix("starting …\n")
    assert stop.value.code == 2 and said in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_version_is_no_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.jsonl").write_text('{"question": "Why?", "answer": "So."}\n')
    with pytest.raises(SystemExit) as stop:
        main(["filter", "rows.jsonl", "--filter", "length:min=1", "-o", "clean-v1.5"])
    assert stop.value.code == 0 and (tmp_path / "clean-v1.5" / "run.json").is_file()
