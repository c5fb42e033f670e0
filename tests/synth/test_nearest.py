from pathlib import Path

import pytest

from synth.data.read import open_source
from synth.engines.loading import load_tokenizer
from synth.errors import UsageError
from synth.nearest import near_paths, path_hint


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("samples/model", "replay", "tuned", "scores", "merged"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "replay" / "state.json").write_text('{"_data_files": []}')
    (tmp_path / "tuned" / "log.jsonl").touch()
    (tmp_path / "scores" / "scores.json").touch()
    (tmp_path / "merged" / "config.json").touch()
    (tmp_path / "tasks.jsonl").write_text('{"question": "Why?"}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("samples/modle", ["samples/model"]),
        ("smaples/modle", ["samples/model"]),
        ("tasks.json", ["tasks.jsonl"]),
        ("nothing/like/it", []),
        ("x" * 500, []),
        ("a\0b", []),
    ],
)
def test_any_part_may_be_misspelt(place: Path, wrong: str, right: list[str]) -> None:
    assert [str(path) for path in near_paths(Path(wrong))] == right
    assert near_paths(place / wrong) == [place / path for path in right]


def test_what_is_wanted_goes_first(place: Path) -> None:
    (place / "models").mkdir()
    (place / "model.txt").touch()
    assert path_hint(Path("modell"), Path.is_dir) == "; did you mean models?"
    assert path_hint(Path("model.tx")).startswith("; did you mean model.txt")


def test_a_misspelt_data_set_or_model_is_told_its_neighbours(place: Path) -> None:
    for name, said in [
        ("replya", "replya does not exist; did you mean replay?"),
        ("nope", "nope does not exist; there are: replay, tasks.jsonl"),
        ("nowhere/x.jsonl", "nowhere/x.jsonl does not exist: there is no directory nowhere"),
        ("smaples/model", "cannot be loaded from the Hugging Face Hub; did you mean samples/model?"),
        ("scores", "holds an evaluation, not rows: see synth show scores or synth report scores"),
        ("tuned", "holds a training run, not rows: synth show tuned describes it; to use its model, `model` tuned"),
        ("merged", "holds a model, not rows: give it as `model` merged"),
    ]:
        with pytest.raises(UsageError) as caught:
            open_source(name)
        assert str(caught.value).endswith(said)
    for name in ("samples/modle", "./samples/modle"):
        with pytest.raises(UsageError, match=r"did you mean samples/model\?$"):
            load_tokenizer(name)
