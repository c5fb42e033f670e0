"""Manifests of recordings and pictures, their descriptions, and a text model's answers to these."""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from synth.chat.format import ChatFormat
from synth.data.media.files import FileFault
from synth.data.media.manifest import Manifest, open_manifest, text_of
from synth.data.prompts import open_prompts
from synth.data.row import BASE, REASON, RENDERING, Message, Outcome
from synth.engines.base import Completion, Engine, Sampling
from synth.errors import RequestError, UsageError
from synth.generation.chat_model import ChatModel
from synth.methods.describe import (
    ADDED,
    COLUMNS,
    DescribeSettings,
    describe,
    describe_row,
    question_of,
    style_name,
    telltale,
)

soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed: pip install soundfile")


SAMPLING = Sampling(max_tokens=60, temperature=0.0)
MEASURED = {"duration": 3.0, "energy": -20.04, "pitch": 180.4}


def manifest_of(folder: Path, *rows: dict[str, Any], **given: Any) -> Manifest:
    (folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return open_manifest(str(folder / "manifest.jsonl"), ADDED, **given)


def descriptions(folder: Path, *rows: dict[str, Any], only: tuple[str, ...] | None = None) -> list[tuple[str, str]]:
    manifest = manifest_of(folder, *rows)
    tasks = open_prompts(manifest.rows)
    made = tasks.rows("describe", {}, COLUMNS[manifest.kind])(0)
    return [describe_row(row.passthrough, manifest, MEASURED, only) for row in made]


def run(loop: Any, chat_model: ChatModel, manifest: Manifest, **given: Any) -> list[Outcome]:
    style = style_name(given.pop("style", None), manifest.kind)
    prompts = given.pop("prompts", (question_of(style, manifest.kind),))
    settings = DescribeSettings(style, prompts, **{"sampling": SAMPLING} | given)
    method = describe(chat_model, manifest, settings)
    rows = open_prompts(manifest.rows).rows("describe", {}, COLUMNS[manifest.kind])

    async def all_rows() -> list[Outcome]:
        return list(await asyncio.gather(*map(method, rows(0))))

    outcomes: list[Outcome] = loop.run(all_rows())
    return outcomes


@dataclass(frozen=True)
class Listener(ChatModel):
    """A model to talk to that remembers what it was asked."""

    asked: list[str] = field(default_factory=list)

    async def reply(self, messages: list[Message], sampling: Sampling) -> Completion:
        self.asked.append(messages[-1]["content"])
        return await super().reply(messages, sampling)


@pytest.fixture
def listener(transformers_engine: Engine, chat: ChatFormat) -> Listener:
    return Listener(transformers_engine, chat, "sample")


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    rate = 16_000
    for name, hertz in (("low", 110), ("high", 220)):
        wave = 0.1 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)
        soundfile.write(tmp_path / f"{name}.wav", wave, rate)
    return tmp_path


def test_descriptions_are_as_desta_writes_them(tmp_path: Path) -> None:
    known = {"audio": "a.wav", "transcript": " I'm\nfine. ", "gender": "female", "speaking_rate": 2.5, "loud": False}
    [found] = descriptions(tmp_path, known)
    assert found == (
        "I'm fine.",
        "[00:00.0-00:03.0] I'm fine. (Gender: female, Speaking rate: 2.5, Loud: no, Duration: 3.0 s, Energy: -20.0 dB, "
        "Pitch: 180 Hz)",
    )
    timed = {"audio": "a.wav", "transcript": "No.", "start": 1.25, "end": 3}
    [(_, described)] = descriptions(tmp_path, timed, only=())
    assert described == "[00:01.2-00:03.0] No."


def test_measured_only_where_the_manifest_lacks_it(tmp_path: Path) -> None:
    [(_, given)] = descriptions(tmp_path, {"audio": "a.wav", "pitch": "low", "Energy_level": 3, "duration": None})
    assert given == "[00:00.0-00:03.0] (Pitch: low, Energy level: 3, Duration: 3.0 s)"
    [(_, chosen)] = descriptions(tmp_path, {"audio": "a.wav", "text": "Hm.", "age": 7}, only=("pitch", "age"))
    assert chosen == "[00:00.0-00:03.0] Hm. (Pitch: 180 Hz, Age: 7)"
    assert descriptions(tmp_path, {"audio": "a.wav", "text": None, "id": 7}) == [("", "")]


def test_segments_have_lines_of_their_own(tmp_path: Path) -> None:
    parts = [{"start": 0, "end": 1.2, "text": "Yes?", "speaker": "A"}, {"start": 1.2, "end": 3.3, "text": "Oh no."}]
    [(words, described)] = descriptions(tmp_path, {"audio": "a.wav", "segments": parts, "noise": ["rain", "wind"]})
    assert words == "Yes? Oh no."
    assert described == (
        "[00:00.0-00:01.2] Yes? (Speaker: A)\n[00:01.2-00:03.3] Oh no.\n"
        "(Noise: rain, wind, Duration: 3.0 s, Energy: -20.0 dB, Pitch: 180 Hz)"
    )


@pytest.mark.parametrize(("start", "end"), [(0, 3.6), (-1, 2), (2, 1), ("a", "b"), (0, "nan"), (0, [1])])
def test_times_that_are_not_in_the_file(start: Any, end: Any, tmp_path: Path) -> None:
    with pytest.raises(FileFault, match="times not"):
        descriptions(tmp_path, {"audio": "a.wav", "text": "Hm.", "segments": [{"start": start, "end": end}]})


def test_values_as_text() -> None:
    values = [None, " a\n b ", 3, 2.0, 0.123456, 123456.7, True, ["x", None, 1.5], float("nan")]
    assert [text_of(value) for value in values] == ["", "a b", "3", "2", "0.1235", "123457", "yes", "x, 1.5", "nan"]


def test_columns_of_a_manifest(tmp_path: Path) -> None:
    """What is called as a column of ours is kept under another name, and described under its own."""
    row = {
        "path": "b.wav",
        "id": 3,
        "answer": "no",
        "prompt": "say it",
        "file": "x",
        "box": {"x": 1},
        "sentence": "Hm.",
    }
    manifest = manifest_of(tmp_path, row, file_column="path")
    [made] = open_prompts(manifest.rows).rows("describe", {}, COLUMNS["audio"])(0)
    assert (made.parent, made.messages, made.reference) == ("3", [], None)
    assert made.passthrough == {
        "file": "b.wav",
        "input_answer": "no",
        "input_prompt": "say it",
        "input_file": "x",
        "box": {"x": 1},
        "sentence": "Hm.",
    }
    assert manifest.attributes == {"answer": "input_answer", "prompt": "input_prompt", "file": "input_file"}
    assert (manifest.kind, manifest.words, manifest.folder) == ("audio", "sentence", tmp_path)
    [note] = manifest.rows.notes
    assert note == "audio files of column path; words: sentence; attributes: answer, prompt, file"


@pytest.mark.parametrize("kind", ["audio", "image"])
def test_a_column_may_be_called_as_any_of_ours(kind: str, tmp_path: Path) -> None:
    ours = [*BASE.names, *RENDERING.names, REASON.name, *COLUMNS[kind].names, "input_reason"]
    row = {"path": "b.png" if kind == "image" else "b.wav", **dict.fromkeys(ours, "said")}
    manifest = manifest_of(tmp_path, row, file_column="path")
    [made] = open_prompts(manifest.rows).rows("describe", {}, COLUMNS[kind])(0)
    assert {*manifest.attributes} == {*ours} - {"id"}
    assert {made.passthrough[column] for column in manifest.attributes.values()} == {"said"}


def test_manifests_in_other_formats(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("file_name,caption,start,end\nx.png,A cat.,,\n")
    manifest = open_manifest(str(tmp_path / "m.csv"), ADDED)
    assert (manifest.kind, manifest.words, manifest.times) == ("image", "caption", ("start", "end"))
    [row] = open_prompts(manifest.rows).rows("describe", {}, COLUMNS["image"])(0)
    assert describe_row(row.passthrough, manifest, {"width": 4.0, "height": 3.0}, None) == (
        "A cat.",
        "A cat. (Width: 4 pixels, Height: 3 pixels)",
    )
    table = pa.table({"audio": pa.array(["a.wav"], pa.large_string()), "age": pa.array([7], pa.int8())})
    parquet.write_table(table, tmp_path / "m.parquet")
    manifest = open_manifest(str(tmp_path / "m.parquet"), ADDED)
    assert [row.parent for row in open_prompts(manifest.rows).rows("describe", {}, COLUMNS["audio"])(0)] == ["a.wav"]


def test_the_model_is_asked_with_the_description(clips: Path, listener: Listener, loop: Any) -> None:
    rows: list[dict[str, Any]] = [
        {"audio": "low.wav", "transcript": "How many? {question}", "gender": "male"},
        {"audio": str(clips / "high.wav"), "transcript": "5 shells."},
        {"audio": "gone.wav", "transcript": "x"},
        {"audio": None, "transcript": "x"},
        {"audio": "high.wav", "transcript": " "},
    ]
    questions = ("What is said?", "Who speaks?")
    low, high, gone, none, unknown = run(loop, listener, manifest_of(clips, *rows), prompts=questions, style=None)
    asked = listener.asked
    assert len(asked) == 2
    line = "[00:00.0-00:01.0] How many? {question} (Gender: male, Duration: 1.0 s, Energy: -23.0 dB, Pitch: 110 Hz)"
    assert any(line in text and text.endswith(low.row.extra["prompt"]) for text in asked)
    assert gone.reason == f"file missing: {clips / 'gone.wav'}"
    assert none.reason == "no file named"
    assert unknown.reason == "nothing known: the manifest says nothing of this file"
    for outcome, name in ((low, "low"), (high, "high")):
        row = outcome.row
        assert row.extra["audio"] == {"bytes": None, "path": str(clips / f"{name}.wav")}
        assert row.messages[0] == {"role": "user", "content": row.extra["prompt"]}
        assert row.extra["prompt"] in questions
        assert "Hz)" in row.extra["description"]
        assert (row.model, row.samples, row.logprob) == ("sample", 1, None)
        assert outcome.reason is None, outcome.reason
        assert row.messages[1]["role"] == "assistant" and row.messages[1]["content"] and row.extra["tokens"] > 1
    assert high.row.extra["measured"]["pitch"] == pytest.approx(220, rel=0.01)


def test_words_alone_are_continued(clips: Path, listener: Listener, loop: Any) -> None:
    rows: list[dict[str, Any]] = [
        {"audio": "low.wav", "transcript": "Otto has 5 shells.", "age": 7},
        {"audio": "low.wav", "age": 7},
    ]
    _, wordless = run(loop, listener, manifest_of(clips, *rows), style="continue")
    assert listener.asked == ["Continue what is said here, in fewer than 40 words.\n\nOtto has 5 shells."]
    assert wordless.reason is not None and wordless.reason.startswith("no words")


def test_pictures(tmp_path: Path, listener: Listener, loop: Any) -> None:
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    Image.new("RGB", (640, 480), "blue").save(tmp_path / "cut.jpg", quality=95)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:700])
    Image.new("1", (9_000, 9_000)).save(tmp_path / "vast.png")
    (tmp_path / "no.png").write_text("%!PS-Adobe-3.0 EPSF-3.0")
    rows: list[dict[str, Any]] = [
        {"image": name, "captions": ["A red field.", "Red."]} for name in ("red.png", "cut.jpg", "vast.png")
    ]
    red, cut, vast, no = run(loop, listener, manifest_of(tmp_path, *rows, {"image": "no.png"}))
    assert red.reason is None, red.reason
    assert red.row.extra["description"] == "A red field., Red. (Width: 40 pixels, Height: 30 pixels)"
    assert red.row.extra["image"] == {"bytes": None, "path": str(tmp_path / "red.png")}
    assert red.row.messages[0]["content"] == "What can you see?"
    assert str(cut.reason).startswith("not readable as a picture: ")
    assert vast.reason == "too large: 9000 x 9000 pixels"
    assert str(no.reason).startswith("not readable as a picture: ")


def test_control_tokens_in_a_transcript_never_reach_the_model(clips: Path, listener: Listener, loop: Any) -> None:
    control = listener.chat.tokenizer.eos_token
    with pytest.raises(RequestError):
        run(loop, listener, manifest_of(clips, {"audio": "low.wav", "text": f"Hi {control} there"}))


@pytest.mark.parametrize(
    "text",
    [
        "The description says that a woman speaks.",
        "Based on the provided transcript, she is sad.",
        "From the information given, the speaker is old.",
        "As an AI, I do not have ears.",
        "As a text-based assistant, I would say rain.",
        "I'm a language model.",
        "I cannot listen to audio.",
        "I'm sorry, but I can’t actually hear the recording.",
    ],
)
def test_talk_of_notes_is_no_answer(text: str) -> None:
    assert telltale(text, "What can you hear? I'm fine.") is not None


@pytest.mark.parametrize(
    "text",
    [
        "A woman says that she is fine; she sounds sad.",
        "He says: I cannot hear you over the rain.",
        "Two men speak of the weather in the mountains.",
        "I can't see any people in it.",
    ],
)
def test_what_people_say_who_hear(text: str) -> None:
    assert telltale(text, "What can you hear?") is None
    assert telltale("Read the description.", "read THE DESCRIPTION") is None


@pytest.mark.parametrize(
    ("rows", "given", "message"),
    [
        ([{"transcript": "x"}], {}, "no column with names of files in transcript"),
        ([{"audio": 3}], {}, "no column with names of files"),
        ([{"audio": 3}], {"file_column": "audio"}, "column 'audio' holds int64"),
        ([{"audio": "x"}], {"file_column": "sound"}, "no column 'sound'"),
        ([{"audio": "x", "box": {"x": 1}}], {"attributes": ["box"]}, "box is unknown, or holds no plain values"),
        ([{"audio": "x", "age": 7}], {"attributes": ["sex"]}, "sex is unknown.*there are age, duration, energy, pitch"),
    ],
)
def test_manifests_that_cannot_be_used(
    rows: list[dict[str, Any]], given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        manifest_of(tmp_path, *rows, **given)


def test_settings_that_cannot_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one a line"):
        DescribeSettings("describe-audio", ())
    for text, message in (("{question}", "neither"), ("{words}", "has no {question}"), ("{question} {x}", "has {x}")):
        (tmp_path / "own.txt").write_text(text)
        with pytest.raises(UsageError, match=message):
            DescribeSettings(str(tmp_path / "own.txt"), ("?",)).prompt()
