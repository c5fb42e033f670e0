"""Describe: a text model answers questions about a recording or an image, given a description in words.

A speech model forgets least of its language model where the answers that it learns are those which the language model
itself gives to a description of the sound. DeSTA2 (arXiv 2409.20007) writes a line `[start-end] transcript (Gender: …,
Emotion: …)` and asks one question: what can be heard. DeSTA2.5 (arXiv 2507.02768) draws the question from a pool. BLSP
(arXiv 2309.00916) gives the words alone and has them continued: the style `continue`. The rows hold the file, the
question and the answer: a speech model learns to give the same answer to the sound.

Beside the papers: how long, how loud and how high a recording is, is measured where the manifest does not say it, and
answers that speak of notes, or of not being able to hear, are rejected.
"""

import asyncio
import math
import os
import random
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from synth.data.media.audio import check_soundfile, measure_sound
from synth.data.media.files import FileFault, open_media
from synth.data.media.manifest import FILE, MEASURED, WORDS, Manifest, text_of
from synth.data.media.picture import measure_picture
from synth.data.row import Outcome, Row
from synth.data.run.record import without
from synth.data.store.path import path_at
from synth.data.write import MEDIA
from synth.engines.base import Sampling
from synth.errors import UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.prompt_files import fill, load_prompt, prompt_names
from synth.generation.screen import answer_fault
from synth.seeds import seed_of
from synth.small_text import read_small

QUESTIONS = {
    "describe-audio": "What can you hear?",
    "describe-image": "What can you see?",
    "describe-continue": "Continue what is said here, in fewer than 40 words.",
}
"""The question of each style of ours where no pool of prompts is given."""

UNITS = {"duration": "s", "energy": "dB", "pitch": "Hz", "width": "pixels", "height": "pixels"}
"""Of what is measured."""

COLUMNS = {
    kind: pa.schema(
        [
            (kind, MEDIA),  # the file, which `datasets` opens
            ("description", pa.string()),  # as the text model was given it
            ("prompt", pa.string()),
            ("measured", pa.struct([(name, pa.float64()) for name in names])),  # in `UNITS`
            ("tokens", pa.int32()),  # of the answer, its end included
        ]
    )
    for kind, names in MEASURED.items()
}
"""Added to the rows of a manifest of that kind."""

ADDED = sorted({name for schema in COLUMNS.values() for name in schema.names})
"""The names of all of them."""

SLACK = 0.5
"""Seconds that a transcript may go on beyond the end of its file: people round."""

_TELLTALE = re.compile(
    r"\b(?:the|this|these|your) (?:\w+ )?(?:descriptions?|notes|meta-?data|transcript(?:ion)?s?|captions?)\b"
    r"|\b(?:provided|given|above) (?:text|information|data|details)\b"
    r"|\b(?:text|information|data|details) (?:you )?(?:provided|given|above)\b"
    r"|\bI (?:can(?:no|['’])t|am (?:not able|unable) to|do(?: not|n['’]t) have the ability to) (?:\w+ )?"
    r"(?:hear|listen|see|view)(?: to)?(?: \w+){0,2} (?:audio|sounds?|recordings?|images?|pictures?|photos?)\b"
    r"|\b(?:as|I['’]m|I am) (?:an? )?(?:\w+[- ])?(?:AI|language model|text-based)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class DescribeSettings:
    """The settings that determine the rows, beside the model and the manifest.

    Attributes:
        seed: the run's seed.
        style: a shipped prompt, or a file with the places {question} and {description} or {words}.
        prompts: questions; one is chosen per row.
        attributes: what the description speaks of, beside the words; None is everything that is known.
        max_seconds: seconds of a recording, at most.
        sampling: how answers are drawn.
    """

    style: str
    prompts: tuple[str, ...]
    seed: int = 0
    attributes: tuple[str, ...] | None = None
    max_seconds: float = 300.0
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: there is no prompt.
        """
        if not self.prompts:
            raise UsageError("`prompts` holds no prompt: one a line")

    def record(self) -> dict[str, Any]:
        """The settings as JSON values, the text around the description among them."""
        return without(asdict(self), "sampling") | self.sampling.chosen() | {"prompt": self.prompt()}

    def prompt(self) -> str:
        """The text around the description.

        Raises:
            UsageError: it cannot be read, or its places are not those.
        """
        text = load_prompt(self.style, {"question"}, {"question", "description", "words"})
        if "{description}" not in text and "{words}" not in text:
            raise UsageError(f"prompt {self.style} has neither {{description}} nor {{words}}")
        return text


def style_name(style: str | None, kind: str) -> str:
    """The prompt's name for a style of ours such as `continue`, or for None; a file's name as it is."""
    ours = f"describe-{style or kind}"
    return ours if style is None or ours in prompt_names("describe") else style


def questions(given: str | os.PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    """Questions as they are given: a file of them, one a line, or themselves.

    Raises:
        UsageError: the file cannot be read.
    """
    if not isinstance(given, str | os.PathLike):
        return tuple(given)
    try:
        lines = read_small(path_at(os.fspath(given))).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"`prompts`: {os.fspath(given)} cannot be read: {error}") from error
    return tuple(line.strip() for line in lines if line.strip())


def question_of(style: str, kind: str) -> str:
    """The question where no pool of prompts is given."""
    return QUESTIONS.get(style, QUESTIONS[f"describe-{kind}"])


def describe(
    chat_model: ChatModel, manifest: Manifest, settings: DescribeSettings
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one text model and one manifest.

    Raises:
        UsageError: the prompt cannot be used, or recordings cannot be read here.
    """
    prompt = settings.prompt()
    if manifest.kind == "audio":
        check_soundfile()

    async def method(row: Row) -> Outcome:
        question = random.Random(seed_of(settings.seed, row.id, "prompt")).choice(settings.prompts)
        row.messages = [{"role": "user", "content": question}]
        row.extra["prompt"] = question
        try:
            path = _path(manifest.folder, row.passthrough[FILE])
            measured = await asyncio.to_thread(measure, path, manifest.kind, settings.max_seconds)
            words, description = describe_row(row.passthrough, manifest, measured, settings.attributes)
        except FileFault as error:
            return Outcome(row, str(error))
        row.extra |= {
            manifest.kind: {"bytes": None, "path": str(path)},
            "description": description,
            "measured": measured,
        }
        if "{words}" in prompt and not words:
            return Outcome(row, "no words: the manifest has no transcript or caption of this file")
        if not description:
            return Outcome(row, "nothing known: the manifest says nothing of this file")
        ask = fill(prompt, question=question, description=description, words=words)
        sampling = replace(settings.sampling, seed=seed_of(settings.seed, row.id, "answer"))
        answer = await chat_model.reply([{"role": "user", "content": ask}], sampling)
        said = chat_model.put(row, answer, asked=False).content
        row.model, row.samples = chat_model.name, 1
        row.extra["tokens"] = len(answer.token_ids) + (answer.finish == "stop")
        if fault := answer_fault(answer, chat_model.chat):
            return Outcome(row, f"answer {fault}")
        if talk := telltale(said, f"{question} {description}"):
            return Outcome(row, f"answer talks about the description: {talk}")
        return Outcome(row)

    return method


def telltale(text: str, known: str) -> str | None:
    """The first words of an answer that betray that the model did not hear or see, unless `known` has them as well."""
    return next((match[0] for match in _TELLTALE.finditer(text) if match[0].casefold() not in known.casefold()), None)


def measure(path: Path, kind: str, longest: float) -> dict[str, float | None]:
    """What is measured of a file, by the names of `MEASURED` and in `UNITS`.

    Raises:
        FileFault: the file cannot be used.
    """
    with open_media(path) as file:
        return asdict(measure_sound(file, longest) if kind == "audio" else measure_picture(file))


def describe_row(
    record: Mapping[str, Any], manifest: Manifest, measured: Mapping[str, float | None], only: tuple[str, ...] | None
) -> tuple[str, str]:
    """The words of a file, and its description; both empty where nothing is known but what was measured.

    A description has a line for each segment, or one for the whole file, as DeSTA2 writes it, times in minutes and
    seconds:

        [00:00.0-00:02.4] I'm fine. (Gender: female, Emotion: sad, Duration: 2.4 s, Energy: -24.1 dB, Pitch: 201 Hz)

    Raises:
        FileFault: times are no times, or are not in the file.
    """
    length = measured.get("duration")
    every = {name: text_of(record[column]) for name, column in manifest.attributes.items()}
    known = {name: text for name, text in every.items() if text}
    segments = [part for part in (record[manifest.segments] if manifest.segments else None) or [] if part]
    lines = [_segment(part, length) for part in segments]
    words = " ".join(filter(None, (_words(part) for part in segments)))
    if not segments:
        words = text_of(record[manifest.words]) if manifest.words else ""
        start, end = (record[name] for name in manifest.times) if manifest.times else (None, None)
        lines = [" ".join(filter(None, (_times(start, end, length, whole=True), words)))]
    if not words and not known:
        return "", ""
    for name, value in measured.items():
        if value is not None and not any(key == name or key.startswith(f"{name}_") for key in map(str.lower, known)):
            known[name] = f"{value:.{1 if name in ('duration', 'energy') else 0}f} {UNITS[name]}"
    brackets = _brackets(known if only is None else {name: known[name] for name in only if name in known})
    separator = "\n" if len(lines) > 1 else " "
    return words, separator.join(filter(None, ("\n".join(lines), brackets)))


def _segment(part: Mapping[str, Any], length: float | None) -> str:
    """A segment's line: its times, its words, and whatever else it holds."""
    others = {
        name: text_of(value)
        for name, value in part.items()
        if name not in (*WORDS, "start", "end", "id") and not isinstance(value, dict) and text_of(value)
    }
    times = _times(part.get("start"), part.get("end"), length, whole=False)
    return " ".join(filter(None, (times, _words(part), _brackets(others))))


def _words(part: Mapping[str, Any]) -> str:
    return next((text for name in WORDS if (text := text_of(part.get(name)))), "")


def _brackets(attributes: Mapping[str, str]) -> str:
    """(Gender: female, Speaking rate: slow)."""
    pairs = [f"{_label(name)}: {text}" for name, text in attributes.items()]
    return f"({', '.join(pairs)})" if pairs else ""


def _label(name: str) -> str:
    label = " ".join(name.replace("_", " ").split())
    return label[:1].upper() + label[1:]


def _times(start: Any, end: Any, length: float | None, *, whole: bool) -> str:
    """[00:00.0-00:02.4]; for a `whole` file of no known times, from its start to its end; empty for pictures."""
    if length is None:
        return ""
    if start in (None, "") or end in (None, ""):
        if not whole:
            return ""
        start, end = 0.0, length
    try:
        first, last = float(start), float(end)
    except (TypeError, ValueError) as error:
        raise FileFault(f"times not usable: {start!r} to {end!r}") from error
    if not (math.isfinite(last) and 0 <= first <= last <= length + SLACK):
        raise FileFault(f"times not in the file: {first:g} to {last:g} of {length:.1f} s")
    return f"[{_clock(first)}-{_clock(last)}]"


def _clock(seconds: float) -> str:
    tenths = round(10 * seconds)
    return f"{tenths // 600:02d}:{tenths % 600 / 10:04.1f}"


def _path(folder: Path, name: str | None) -> Path:
    """The file that a row names. An absolute name stands for itself.

    Raises:
        FileFault: it names none.
    """
    if not (name or "").strip():
        raise FileFault("no file named")
    return folder / str(name)
