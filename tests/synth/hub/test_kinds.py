"""Models and evaluations pushed to a stand-in of the Hub; recordings that go along; the options of commands."""

import json
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

import synth
from samples.skills.registry import suite
from synth.data.write import finish_dataset_dir, write_shard
from synth.hub import tables
from tests.cli.running import synth as run_here
from tests.conftest import MODEL, Here
from tests.synth.hub.stand_in import Hub


def metadata(hub: Hub, repo: str) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(hub.text(repo, "README.md").split("---\n")[1])
    return found


def test_a_merged_model(hub: Hub, here: Here, tmp_path: Path) -> None:
    tuned = tmp_path / "tuned"
    shutil.copytree(MODEL, tuned)
    command = ("merge", MODEL, tuned, "-o", tmp_path / "merged", "--push", "ann/merged")
    hub.fail("POST .*/commit", 500, times=2, after=1)
    done = here(*command)
    assert done.returncode == 1 and "run this again to send the rest" in done.stderr.splitlines()[-1]
    (tmp_path / "merged" / ".env").write_text("SECRET=1")
    hub.faults.clear()
    again = here(*command)
    assert again.returncode == 0 and "already holds this merge" in again.stderr, again.stderr
    files = hub.repos["models/ann/merged"].files
    assert {"config.json", "model.safetensors", "tokenizer.json", "run.json", "README.md"} <= files.keys()
    assert not {".env", ".lock", "progress.json"} & files.keys() and hub.sent() == 1
    said = metadata(hub, "models/ann/merged")
    assert said["library_name"] == "transformers" and said["tags"] == ["synth", "merge"]
    assert "base_model" not in said  # a directory of this machine is no model of the Hub
    assert "merged by `synth merge`" in hub.text("models/ann/merged", "README.md")


def test_models_and_data_of_the_hub_are_named(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "tuned"
    shutil.copytree(MODEL, folder)
    record = {"command": "train", "settings": {}, "model": "org/base", "source": "org/tasks/main:train"}
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "README.md").write_text('---\nbase_model: "/home/me/base"\n---\n# tuned\n\nTrained.\n')
    (folder / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-1" / "optimizer.pt").write_bytes(b"0")
    assert synth.push(folder, "ann/tuned", license="mit", public=True) == f"{hub.url}/ann/tuned"
    repo = hub.repos["models/ann/tuned"]
    said = metadata(hub, "models/ann/tuned")
    assert (said["base_model"], said["datasets"], said["license"]) == (["org/base"], ["org/tasks"], "mit")
    assert not repo.private and not [path for path in repo.files if "checkpoint" in path]
    assert "Trained." in hub.text("models/ann/tuned", "README.md")
    with pytest.raises(synth.UsageError, match="license"):
        synth.push(folder, "ann/tuned", license="my own", public=True)
    (folder / "config.json").write_text("{}")
    hub.fail("POST .*/commit", 403, after=1)
    with pytest.raises(synth.UsageError, match="no right"):
        synth.push(folder, "ann/tuned", public=True)
    assert "run.json" not in repo.files and "progress.json" in repo.files, (
        "what is half replaced does not pass as whole"
    )


def test_an_evaluation(hub: Hub, tmp_path: Path) -> None:
    questions = [{"question": question, "answer": answer} for question, answer in suite("arithmetic", "dev", 6)]
    with synth.load(MODEL, engine="transformers") as model:
        scores = synth.evaluate({"sums": questions}, models={"a model": model}, verifier="math", output=tmp_path / "e")
    synth.push(scores, "ann/scores")
    repo = hub.repos["datasets/ann/scores"]
    assert "answers/a-model/train-00000-of-00001.parquet" in repo.files and "progress.json" not in repo.files
    assert json.loads(hub.text("datasets/ann/scores", "scores.json"))["models"][0]["name"] == "a model"
    card = hub.text("datasets/ann/scores", "README.md")
    assert metadata(hub, "datasets/ann/scores")["configs"][0]["config_name"] == "a-model"  # type: ignore[index]
    assert "arithmetic" in card or "sums" in card
    commits = list(repo.commits)
    synth.push(scores, "ann/scores")
    assert repo.commits == commits
    answers = tmp_path / "e" / "answers" / "a model" / "run.json"
    answers.write_text(answers.read_text().replace('"seed": 0', '"seed": 7'))
    with pytest.raises(synth.UsageError, match=r"another evaluation \(of a model\).*--force"):
        synth.push(scores, "ann/scores")
    synth.push(tmp_path / "e", "ann/scores", force=True)
    repo.files["scores.json"] = b'{"models": [{"name": "a model"}]}'
    with pytest.raises(synth.UsageError, match="something else"):
        synth.push(scores, "ann/scores")


def test_recordings_go_along(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row names a file here; on the Hub it has what is in it."""
    monkeypatch.setattr(tables, "FILE_BYTES", 5_000)
    schema = pa.schema([("id", pa.string()), ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))])
    sounds = np.random.default_rng(0).bytes(2_000)
    rows = []
    for number in range(4):
        (tmp_path / f"{number}.wav").write_bytes(sounds + bytes([number]))
        rows.append({"id": str(number), "audio": {"bytes": None, "path": str(tmp_path / f"{number}.wav")}})
    folder = tmp_path / "d"
    folder.mkdir()
    write_shard(folder / "data-00000.arrow", pa.Table.from_pylist(rows, schema).to_batches(), schema)
    finish_dataset_dir(folder, ["data-00000.arrow"], schema)
    synth.push(folder, "ann/sounds")
    files = hub.repos["datasets/ann/sounds"].files
    names = sorted(path for path in files if path.endswith(".parquet"))
    assert names == [f"data/train-0000{number}-of-00002.parquet" for number in range(2)]
    contents = [parquet.read_table(pa.BufferReader(hub.stored[str(files[name])])).to_pylist() for name in names]
    assert [row["audio"]["bytes"] for part in contents for row in part] == [sounds + bytes([n]) for n in range(4)]
    (tmp_path / "3.wav").unlink()
    with pytest.raises(synth.UsageError, match=r"3\.wav"):
        synth.push(folder, "ann/sounds")


def test_an_export(hub: Hub, here: Here, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"question": name, "answer": "2"}) + "\n")
        synth.export(tmp_path / f"{name}.jsonl", tmp_path / name)
    synth.push(tmp_path / "one", "ann/x")
    commits = list(hub.repos["datasets/ann/x"].commits)
    synth.export(tmp_path / "one.jsonl", tmp_path / "one", force=True)
    synth.push(tmp_path / "one", "ann/x")
    assert hub.repos["datasets/ann/x"].commits == commits, "the same rows"
    with pytest.raises(synth.UsageError, match=r"another run \(content: .*--force"):
        synth.push(tmp_path / "two", "ann/x")
    for trainer in ("llama-factory", "ms-swift"):
        done = here("export", tmp_path / "one", "--for", trainer, "-o", tmp_path / "for", "--push", "ann/new")
        assert done.returncode == 2 and f"{trainer} loads another format" in done.stderr, done.stderr
    assert not (tmp_path / "for").exists() and list(hub.repos) == ["datasets/ann/x"]


def test_settings_are_refused_before_anything_is_made(hub: Hub, here: Here, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    command = ("filter", tmp_path / "rows.jsonl", "--dedup", "exact")
    for options, words in [
        (("--push", "ann/x"), "with -o DIR"),
        (("--push", "ann/x", "-o", tmp_path / "x.jsonl"), "with -o DIR"),
        (("--push", "ann/x", "-o", "s3://bucket/x"), "is elsewhere"),
        (("--push", "bare", "-o", tmp_path / "x"), "USER/NAME"),
        (("--push", "bob/x", "-o", tmp_path / "x"), "no right to write to bob/x"),
        (("--public", "-o", tmp_path / "x"), "give --push USER/NAME"),
    ]:
        done = here(*command, *options)
        assert done.returncode == 2 and words in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert not (tmp_path / "x").exists() and not (tmp_path / "x.jsonl").exists()
    part = here("magpie", "--model", MODEL, "-n", 5, "--shard", "1/2", "-o", tmp_path / "x", "--push", "ann/x")
    assert part.returncode == 2 and "give it to synth join" in part.stderr
    assert not hub.repos


def test_a_finished_run_given_again_only_pushes(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    command = (
        "filter",
        tmp_path / "rows.jsonl",
        "--dedup",
        "exact",
        "-o",
        tmp_path / "x",
        "--quiet",
        "--push",
        "ann/x",
    )
    hub.fail("repos/create", 503, times=0)
    assert run_here(*command) == 0
    made = (tmp_path / "x" / "run.json").read_bytes()
    commits = list(hub.repos["datasets/ann/x"].commits)
    assert run_here(*command) == 0
    assert (tmp_path / "x" / "run.json").read_bytes() == made and hub.repos["datasets/ann/x"].commits == commits
    assert datasets.load_from_disk(str(tmp_path / "x")).num_rows == 1


def test_a_name_that_is_taken_is_told_before_anything_is_made(hub: Hub, here: Here, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"question": "What is 1 + 1?", "answer": "2"}\n')
    command = ("filter", rows, "--dedup", "exact", "-o", tmp_path / "x", "--push")
    assert here(*command, "ann/set").returncode == 0
    commits = {name: list(repo.commits) for name, repo in hub.repos.items()}
    for other, said in (
        (("filter", rows, "--filter", "length:min=1"), "--push: ann/set holds another run (steps"),
        (("magpie", "--model", MODEL, "-n", 5), "--push: ann/set holds another run (command: filter, now magpie)"),
    ):
        done = here(*other, "-o", tmp_path / "y", "--push", "ann/set")
        assert done.returncode == 2 and said in done.stderr, done.stderr
        assert "hf_" not in done.stderr and not (tmp_path / "y").exists()
    del hub.repos["datasets/ann/set"].files["run.json"]
    done = here("filter", rows, "--filter", "length:min=1", "-o", tmp_path / "y", "--push", "ann/set")
    assert done.returncode == 2 and "ann/set holds something else" in done.stderr and not (tmp_path / "y").exists()
    assert {name: list(repo.commits) for name, repo in hub.repos.items()} == commits
