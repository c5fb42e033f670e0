"""`synth describe` as a person runs it, over recordings that espeak-ng speaks, or tones where it is not installed."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from PIL import Image

from tests.cli.running import start_and_kill, synth

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: pip install soundfile")

SENTENCES = ("Good morning to you.", "Where is the station?", "I am fine, thank you.")


def load(path: Path, column: str = "audio") -> list[dict[str, Any]]:
    feature = datasets.Audio(decode=False) if column == "audio" else datasets.Image(decode=False)
    return list(datasets.load_from_disk(str(path)).cast_column(column, feature))


def speak(text: str, file: Path) -> None:
    if shutil.which("espeak-ng"):
        subprocess.run(["espeak-ng", "-w", str(file), text], check=True)
    else:
        soundfile.write(file, 0.1 * np.sin(2 * np.pi * 120 * np.arange(16_000) / 16_000), 16_000)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty rows over three recordings, and three rows of files that are none, in the middle."""
    folder = tmp_path_factory.mktemp("clips")
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(SENTENCES):
        speak(text, folder / f"{number}.wav")
    for number in range(40):
        rows.append({"audio": f"{number % 3}.wav", "transcript": SENTENCES[number % 3], "age": 20 + number})
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("no sound")
    rows[20:20] = [{"audio": f"{name}.wav", "transcript": "x"} for name in ("gone", "empty", "text")]
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "manifest.jsonl"


@pytest.fixture(scope="module")
def command(manifest: Path, model: str) -> list[object]:
    given = [manifest, "--model", model, "--engine", "transformers", "--device", "cpu", "--max-tokens", 60]
    return ["describe", *given, "--concurrency", 4, "--temperature", 0]


@pytest.fixture(scope="module")
def described(command: list[object], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("described") / "out"
    assert synth(*command, "-o", out) == 0
    return out


def test_rows_keep_the_file_the_description_and_the_answer(described: Path, manifest: Path) -> None:
    features = datasets.load_from_disk(str(described)).features
    assert isinstance(features["audio"], datasets.Audio)
    rows = load(described)
    assert len(rows) > 20
    for row in rows:
        clip = manifest.parent / row["file"]
        assert row["audio"] == {"bytes": None, "path": str(clip)}
        assert row["description"].startswith("[00:00.0-00:01.") and f" {row['transcript']} (Age: " in row["description"]
        assert (
            row["messages"][0] == {"role": "user", "content": row["prompt"]} and row["prompt"] == "What can you hear?"
        )
        assert row["messages"][1]["role"] == "assistant" and row["messages"][1]["content"]
        assert row["measured"]["duration"] == pytest.approx(soundfile.info(clip).duration)
        assert -40 < row["measured"]["energy"] < -10 and 60 < row["measured"]["pitch"] < 200
        assert row["method"] == "describe" and row["parent"] == row["file"]
    rejected = load(described / "rejected")
    assert isinstance(datasets.load_from_disk(str(described / "rejected")).features["audio"], datasets.Audio)
    broken = [row for row in rejected if row["transcript"] == "x"]
    assert [row["reason"].split(":")[0] for row in broken] == ["file missing", "file empty", "not readable as audio"]
    assert len(rows) + len(rejected) == 43 and len({row["id"] for row in [*rows, *rejected]}) == 43


def test_saved_again_the_data_set_holds_the_recordings(described: Path, manifest: Path, tmp_path: Path) -> None:
    datasets.load_from_disk(str(described)).select(range(3)).save_to_disk(str(tmp_path / "whole"))
    for row in load(tmp_path / "whole"):
        assert row["audio"]["bytes"] == (manifest.parent / row["file"]).read_bytes()


def test_the_feature_goes_with_the_column(described: Path, tmp_path: Path) -> None:
    """Through a copy by another command, and through a file."""
    assert synth("export", described, "-o", tmp_path / "copy.arrow", "--quiet") == 0
    assert synth("export", tmp_path / "copy.arrow", "-o", tmp_path / "copy") == 0
    assert isinstance(datasets.load_from_disk(str(tmp_path / "copy")).features["audio"], datasets.Audio)


def test_killed_and_continued_it_writes_the_same_rows(
    command: list[object], described: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "killed"
    start_and_kill([*command, "-o", out], out / "journal.jsonl", rows=9)
    assert synth(*command, "-o", out) == 0
    assert "continuing" in capsys.readouterr().err
    for one, other in ((described, out), (described / "rejected", out / "rejected")):
        whole, continued = load(one), load(other)
        names = ("id", "audio", "description", "measured", "age")
        assert [[row[name] for name in names] for row in whole] == [[row[name] for name in names] for row in continued]
        assert sum(a["messages"] != b["messages"] for a, b in zip(whole, continued, strict=True)) <= 1  # rounding


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: nothing here can speak")
def test_what_a_manifest_does_not_say_of_speech_is_measured(model: str, tmp_path: Path) -> None:
    """A man and a woman speak; of the woman the manifest says the pitch, in words, and what she says when."""
    for voice, name in (("en", "man"), ("en+f3", "woman")):
        said = " ".join(SENTENCES[1:])
        subprocess.run(["espeak-ng", "-v", voice, "-w", str(tmp_path / f"{name}.wav"), said], check=True)
    woman = [{"start": 0, "end": 1.3, "text": SENTENCES[1]}, {"start": 1.3, "end": 2.8, "text": SENTENCES[2]}]
    rows = [
        {"audio": "man.wav", "gender": "male", "noise": "none", "pitch": None, "segments": [{"text": said}]},
        {"audio": "woman.wav", "gender": "female", "noise": "none", "pitch": "rising", "segments": woman},
    ]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ["describe", tmp_path / "m.jsonl", "--model", model, "--engine", "transformers", "--device", "cpu"]
    assert synth(*command, "--max-tokens", 60, "-o", tmp_path / "out") == 0
    by_file = {row["file"]: row for row in [*load(tmp_path / "out"), *rejected_rows(tmp_path / "out")]}
    man, woman_row = by_file["man.wav"], by_file["woman.wav"]
    measured = man["measured"]
    assert 80 < measured["pitch"] < 140 < woman_row["measured"]["pitch"] < 250
    assert 2 < measured["duration"] < 4 and -40 < measured["energy"] < -10
    known = f"Duration: {measured['duration']:.1f} s, Energy: {measured['energy']:.1f} dB"
    assert man["description"] == (f"{said} (Gender: male, Noise: none, {known}, Pitch: {measured['pitch']:.0f} Hz)")
    first, second, about = woman_row["description"].split("\n")
    assert first == f"[00:00.0-00:01.3] {SENTENCES[1]}" and second == f"[00:01.3-00:02.8] {SENTENCES[2]}"
    assert about.startswith("(Gender: female, Noise: none, Pitch: rising, Duration: ") and "Hz" not in about


def rejected_rows(out: Path) -> list[dict[str, Any]]:
    """Of a model this small an answer may well be one to reject."""
    return load(out / "rejected") if (out / "rejected").exists() else []


def test_pictures_decode(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (4, 3), "red").save(tmp_path / "red.png")
    (tmp_path / "m.csv").write_text("file_name,caption\nred.png,A red field.\n")
    (tmp_path / "prompts.txt").write_text("What colour is it?\n\n")
    given = ["--engine", "transformers", "--device", "cpu", "--max-tokens", 60, "--prompts", tmp_path / "prompts.txt"]
    assert synth("describe", tmp_path / "m.csv", "--model", model, *given, "-o", tmp_path / "seen") == 0
    said = capsys.readouterr().err
    assert "image files of column file_name; words: caption; attributes: none" in said and "1 rows in" in said
    [row] = datasets.load_from_disk(str(tmp_path / "seen"))
    assert row["image"].size == (4, 3) and row["prompt"] == "What colour is it?"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "out.jsonl"], "JSON lines cannot hold files"),
        (["--attributes", "sex"], "--attributes: sex is unknown"),
        (["--prompts", "nowhere.txt"], "--prompts: nowhere.txt cannot be read"),
        (["--file-column", "sound"], "no column 'sound'"),
        (["--style", "nowhere.txt"], "prompt nowhere.txt is none of ours"),
        (["--limit", "0"], "has no rows"),
    ],
)
def test_what_cannot_work_is_said_before_a_model_is_loaded(
    command: list[object], arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert synth(*command, *arguments) == 2
    said = capsys.readouterr().err
    assert message in said and "loading" not in said
