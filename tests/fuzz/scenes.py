"""Damaged input, as users hand it over: a command line, and the files that it reads."""

import io
import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn
from pyarrow import parquet

from tests.fuzz.commands import CHEAP, COSTLY, MORE, OF_A_FOLDER, OF_A_MANIFEST, OF_A_MODEL, with_names
from tests.fuzz.values import as_json, bytes_of, damaged, odd

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 2 + 3?"},
    {"role": "assistant", "content": "The answer is \\boxed{5}."},
]
FORMS: list[dict[str, Any]] = [
    {"messages": TALK},
    {
        "messages": TALK,
        "id": "a",
        "method": "magpie",
        "parent": "p",
        "answer": "5",
        "reference": "5",
        "verdict": "right",
    },
    {"prompt": "What is 2 + 3?", "completion": "5", "answer": "5"},
    {"question": "What is 2 + 3?", "answer": "2 + 3 = 5 #### 5", "level": 3, "score": 0.5},
    {"instruction": "Add.", "input": "2 and 3", "output": "5", "system": "Be brief.", "history": [["1 + 1", "2"]]},
    {"conversations": [{"from": "human", "value": "2 + 3?"}, {"from": "gpt", "value": "5"}]},
    {"prompt": TALK[:2], "chosen": TALK[2:], "rejected": [{"role": "assistant", "content": "6"}]},
    {"text": "Plain text of a document. " * 4},
    {
        "messages": TALK,
        "input_ids": [1, 5, 7, 2],
        "labels": [-100, 5, -100, 2],
        "logprobs": [None, -0.5, -3.25, -0.01],
        "scorer": "samples/model 00 assistant",
    },
    {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Weather?"}]},
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "w", "arguments": "{}"}}]},
        ],
        "tools": [{"type": "function", "function": {"name": "w", "parameters": {"type": "object"}}}],
    },
    {"task_id": "X/0", "prompt": "def f(x):\n", "canonical_solution": "    return x\n", "test": "assert f(1) == 1\n"},
    {"task_id": 1, "text": "Return x.", "code": "def f(x):\n    return x", "test_list": ["assert f(1) == 1"]},
    {"key": 1, "prompt": "Say it.", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]},
    {"problem": "2 + 3", "solution": "\\boxed{5}", "answer": "5", "subject": "sums", "level": 1, "unique_id": "a"},
]

MANIFEST: list[dict[str, Any]] = [
    {"audio": "a.wav", "transcript": "Good morning.", "start": 0.0, "end": 0.5, "gender": "female", "age": 30},
    {"audio": "a.wav", "segments": [{"text": "Good", "start": 0, "end": 0.1}, {"text": "day.", "noise": "none"}]},
    {"image": "a.png", "caption": "A red square.", "tags": ["red", "square"]},
    {"file_name": "a.flac", "text": ["Good", "morning."]},
]

KINDS = ["rows"] * 10 + ["costly"] * 5 + ["folder"] * 4 + ["run"] * 2 + ["model"] * 3 + ["manifest"] * 2
"""What a scene is about, as often as it is."""

TEMPLATE_PARTS = (
    "{% for m in messages %}",
    "{% endfor %}",
    "{{ m.role }}: {{ m.content }}\n",
    "{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "{{ 1 // 0 }}",
    "{{ 1 % (messages | length - 1) }}",
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{{ 'a' * 10**10 }}",
    "{{ [0] * 10**10 }}",
    "{{ 10**(10**8) }}",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{% set ns = namespace(t='ab') %}{% for i in range(60) %}{% set ns.t = ns.t + ns.t %}{% endfor %}",
    "{{ raise_exception('no') }}",
    "{{ messages[0].nothing.at_all }}",
    "{{ ''.__class__ }}",
    "{{ '%999999999d' % 1 }}",
    "{{ 'x'.center(10**10) }}",
    "{{ messages | tojson(indent=999999999) }}",
    "{% include 'x' %}",
    "{{ strftime_now('%Y') }}",
    "{{ strftime_now('%\0') }}",
    "{% generation %}{{ m.content }}{% endgeneration %}",
    "{% if",
    "\0\ud800",
)


@dataclass(slots=True)
class Scene:
    """A command line with its files in place."""

    arguments: list[str]
    folder: Path

    def remember(self) -> None:
        """Put a copy of the files aside, pipes and links among them."""
        subprocess.run(["cp", "-a", self.folder, f"{self.folder}.before"], check=True)

    def restore(self) -> None:
        """Have the files as they were before a command wrote among them."""
        shutil.rmtree(self.folder, ignore_errors=True)
        subprocess.run(["cp", "-a", f"{self.folder}.before", self.folder], check=True)


@dataclass(frozen=True, slots=True)
class Stock:
    """Sound things that are damaged in a scene."""

    model: Path
    folders: tuple[Path, ...]
    """Directories that commands wrote: of a run, of a run under way, of an evaluation, of a training."""
    runs: tuple[tuple[list[str], Path], ...]
    """Commands that may go on, and the directory in which each wrote `out`, and what it keeps beside that."""
    media: tuple[Path, ...]
    """Recordings and pictures of every kind that is read."""


def varied(form: dict[str, Any], number: int) -> dict[str, Any]:
    """A row that asks something else, where it asks for the sum."""
    row: dict[str, Any] = json.loads(json.dumps(form).replace("2 + 3", f"{2 + number} + 3"))
    return row | {"n": number}


@st.composite
def rows(draw: DrawFn, forms: list[dict[str, Any]]) -> list[Any]:
    """A few rows of one form, some of them damaged; now and then all of them, or of another form."""
    form = draw(st.sampled_from(forms))
    found: list[Any] = [
        varied(form, number) if draw(st.booleans()) else form for number in range(draw(st.integers(1, 4)))
    ]
    if draw(st.integers(0, 9)) == 0:
        found.append(draw(st.sampled_from(forms)))
    kept = [draw(damaged(row)) if draw(st.booleans()) else row for row in found]
    if draw(st.integers(0, 19)) == 0:
        kept.append(draw(odd))
    return kept


@st.composite
def data_file(draw: DrawFn, folder: Path, name: str, forms: list[dict[str, Any]] = FORMS) -> Path:
    """A file or directory of rows, of any kind that is read."""
    records = draw(rows(forms))
    kind = draw(st.sampled_from(["jsonl", "jsonl", "jsonl", "json", "csv", "parquet", "arrow", "dir", "special"]))
    if kind == "special":
        suffix = draw(st.sampled_from(["", ".jsonl", ".parquet", ".csv", ".json", ".arrow"]))
        return special(folder / f"{name}{suffix}", draw(st.integers(0, 5)))
    path = folder / f"{name}.{kind}" if kind != "dir" else folder / name / "data-00000.arrow"
    path.parent.mkdir(exist_ok=True)
    if kind in ("parquet", "arrow", "dir"):
        table = _table([record for record in records if isinstance(record, dict)])
        if kind == "parquet":
            parquet.write_table(table, path)
        else:
            opener = pa.ipc.new_stream if kind == "dir" else pa.ipc.new_file
            with opener(str(path), table.schema) as writer:
                writer.write_table(table)
        if kind == "dir":
            state = {"_data_files": [{"filename": "data-00000.arrow"}], "_fingerprint": "a", "_split": None}
            (folder / name / "state.json").write_bytes(as_json(draw(damaged(state))))
        content = path.read_bytes()
    elif kind == "json":
        indent = draw(st.sampled_from([None, 2]))
        content = as_json({"data": records} if draw(st.booleans()) else records, indent=indent)
    elif kind == "csv":
        known = [record for record in records if isinstance(record, dict)]
        lines = [list(map(str, known[0])) if known else [], *(list(map(_cell, record.values())) for record in known)]
        content = "\n".join(",".join(line) for line in lines).encode("utf-8", "surrogatepass")
    else:
        escaped = draw(st.booleans())
        content = b"".join(as_json(record, ascii_only=escaped) + b"\n" for record in records)
    if draw(st.integers(0, 2)) == 0 or kind in ("parquet", "arrow", "dir"):
        content = draw(bytes_of(content))
    path.write_bytes(content)
    return folder / name if kind == "dir" else path


def special(path: Path, number: int) -> Path:
    """What a path may be instead of a file."""
    if number == 0:
        os.mkfifo(path)
    elif number == 1:
        path.symlink_to(path)
    elif number == 2:
        path.mkdir()
    elif number == 3:
        path.symlink_to("/dev/null")
    elif number == 4:
        path.symlink_to("/proc/self/mem")
    else:
        path.symlink_to("/nowhere/at/all")
    return path


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _table(records: list[dict[str, Any]]) -> pa.Table:
    """The rows as a table, their values as JSON text where Arrow cannot hold them together."""
    try:
        table = pa.Table.from_pylist(records)
        parquet.write_table(table, io.BytesIO())  # which holds less than Arrow
        with pa.ipc.new_stream(io.BytesIO(), table.schema) as writer:  # which goes less deep
            writer.write_table(table)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        texts = [{_plain(key): _plain(json.dumps(value)) for key, value in record.items()} for record in records]
        return pa.Table.from_pylist(texts)
    return table


def _plain(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


@st.composite
def damaged_folder(draw: DrawFn, source: Path, target: Path) -> Path:
    """A copy of a directory with one or two of its files damaged, removed, or something else."""
    shutil.copytree(source, target)
    files = sorted(path for path in target.rglob("*") if path.is_file())
    for _ in range(draw(st.integers(1, 2))):
        file = draw(st.sampled_from(files))
        if not file.is_file() or file.is_symlink():
            continue
        action = draw(st.sampled_from(["value", "value", "value", "bytes", "bytes", "gone", "special"]))
        if action == "gone":
            file.unlink()
        elif action == "special":
            file.unlink()
            special(file, draw(st.integers(0, 5)))
        elif action == "value" and file.suffix in (".json", ".jsonl") and file.stat().st_size < 200_000:
            values = _documents(file)
            at = draw(st.integers(0, len(values) - 1)) if values else 0
            if values:
                values[at] = draw(damaged(values[at], 1))
            file.write_bytes(b"\n".join(as_json(value) for value in values))
        elif action == "value" and file.suffix == ".jinja":
            file.write_bytes(draw(template()).encode("utf-8", "surrogatepass"))
        else:
            content = file.read_bytes()
            head = content[:4096]
            file.write_bytes(draw(bytes_of(head)) + content[4096:])
    return target


def _documents(file: Path) -> list[Any]:
    """What a file of JSON holds; nothing where an earlier step has damaged it."""
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        return [json.loads(line) for line in (text.splitlines() if file.suffix == ".jsonl" else [text])]
    except ValueError:
        return []


@st.composite
def template(draw: DrawFn) -> str:
    """A chat template made of pieces, some of them of a bad kind."""
    pieces = draw(st.lists(st.sampled_from(TEMPLATE_PARTS), min_size=1, max_size=5))
    if draw(st.booleans()):
        pieces = [*TEMPLATE_PARTS[:1], TEMPLATE_PARTS[3], *TEMPLATE_PARTS[1:2], TEMPLATE_PARTS[4], *pieces]
    return "".join(pieces)


@st.composite
def manifest(draw: DrawFn, stock: Stock, folder: Path) -> Path:
    """A manifest, its files beside it under the names that it has for them, most of them damaged."""
    for name in ("a.wav", "a.png", "a.flac"):
        other = draw(st.integers(0, 2)) == 0  # another format than its name says
        source = draw(st.sampled_from([file for file in stock.media if other or file.name == name]))
        if draw(st.integers(0, 9)) == 0:
            special(folder / name, draw(st.integers(0, 5)))
        else:
            content = source.read_bytes()
            head = draw(st.sampled_from([64, 4096]))
            (folder / name).write_bytes(draw(bytes_of(content[:head])) + content[head:])
    return draw(data_file(folder, "in", MANIFEST))


@st.composite
def scene(draw: DrawFn, stock: Stock, folder: Path) -> Scene:
    """One command with what it reads."""
    kind = draw(st.sampled_from(KINDS))
    folder.mkdir()
    sound = folder / "sound.jsonl"
    sound.write_bytes(as_json(FORMS[3]) + b"\n")
    names: dict[str, Any] = {"MODEL": stock.model, "SAMPLE": stock.model, "OUT": folder / "out"}
    names |= {"SOUND": sound, "IN": sound, "IN2": sound}
    more: list[str] = []
    if kind == "model":
        names["MODEL"] = draw(damaged_folder(stock.model, folder / "model"))
        command = draw(st.sampled_from(OF_A_MODEL))
    elif kind == "folder":
        names["IN"] = draw(damaged_folder(draw(st.sampled_from(stock.folders)), folder / "in"))
        command = draw(st.sampled_from(OF_A_FOLDER))
    elif kind == "run":
        command, source = draw(st.sampled_from(stock.runs))
        more = ["-o", str(draw(damaged_folder(source, folder / "in")) / "out")]
    else:
        forms = MANIFEST if kind == "manifest" else FORMS
        names["IN"] = draw(manifest(stock, folder) if kind == "manifest" else data_file(folder, "in"))
        names["IN2"] = draw(data_file(folder, "other", forms)) if draw(st.booleans()) else sound
        command = draw(st.sampled_from({"rows": CHEAP, "costly": COSTLY, "manifest": OF_A_MANIFEST}[kind]))
        if kind == "rows" and draw(st.integers(0, 9)) == 0:
            more = draw(st.sampled_from(MORE))
    return Scene([*with_names(command, names), *more], folder)
