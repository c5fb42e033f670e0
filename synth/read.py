"""Rows from wherever a user keeps them, as Arrow batches, in bounded memory.

DIR                       dataset directory (ours, or of `datasets.save_to_disk`), memory-mapped; or .parquet files
FILE.arrow .feather       Arrow IPC file or stream, memory-mapped
FILE.parquet
FILE.jsonl .ndjson .json  JSON lines, or one JSON array; see `synth.jsonlines`
FILE.csv                  with a header; every column is text
org/name[/config][@revision][:split]   a data set of the Hugging Face Hub
nothing, -                standard input: JSON lines, or an Arrow stream, as its first bytes say
"""

import csv
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from synth.benchmarks import benchmark_of, published
from synth.errors import UsageError
from synth.jsonlines import open_json
from synth.nearest import did_you_mean, near_paths
from synth.row import BASE
from synth.shapes import recognise

BATCH_ROWS = 16_384
"""No batch is longer; what was stored in longer ones is sliced, not copied."""

_HUB = re.compile(
    r"(?P<path>[\w.-]+/[\w.-]+)(/(?P<name>[\w.-]+))?(@(?P<revision>[^:@]+))?(:(?P<split>[\w.:%+\[\]-]+))?"
)

_LOOKED_AT, _TOLD = 1_000, 5
"""Entries of a directory that are looked at where a name is missing, and names that are told."""

_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"


@dataclass(slots=True)
class Rows:
    """Rows to read, as often as one likes; nothing is held between batches.

    `notes` say what was recognised and what is not kept; reading may add to them. Print them after reading.
    """

    source: str
    schema: pa.Schema
    read: Callable[[], Iterator[pa.RecordBatch]]
    notes: list[str] = field(default_factory=list)

    def batches(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """The rows from the start, or the first `limit` of them, all of `schema`.

        Raises:
            UsageError: a part of the source is damaged; the message says which.
        """
        left = sys.maxsize if limit is None else limit
        for batch in self.read() if left else ():
            yield batch.slice(0, left)
            left -= batch.num_rows
            if left <= 0:
                return


def open_rows(source: str | None, *, prompt_column: str | None = None, reference_column: str | None = None) -> Rows:
    """Open a source and bring its rows to `messages` and `reference` (`synth.shapes` has the rules).

    Raises:
        UsageError: the source is missing, damaged or of an unknown kind, or no conversation is recognised in it.
    """
    return conversations(open_source(source), prompt_column=prompt_column, reference_column=reference_column)


def conversations(raw: Rows, *, prompt_column: str | None = None, reference_column: str | None = None) -> Rows:
    """Bring the rows of `open_source` to `messages` and `reference`.

    Raises:
        UsageError: no conversation is recognised in them.
    """
    if not raw.schema.names:  # an empty file
        return Rows(raw.source, pa.schema([BASE.field("messages"), BASE.field("reference")]), raw.read, raw.notes)
    found = benchmark_of(raw.schema, raw.batches) if prompt_column is None and reference_column is None else None
    try:
        if found is not None:
            shape = published(raw.schema, found, raw.source)
        else:
            shape = recognise(raw.schema, prompt_column=prompt_column, reference_column=reference_column)
    except UsageError as error:
        raise UsageError(f"{raw.source}: {error}") from error
    notes = shape.notes
    notes[:0] = raw.notes
    return Rows(raw.source, shape.schema, lambda: map(shape.convert, raw.read()), notes)


def open_source(source: str | None) -> Rows:
    """Open a source with its columns as they are (Arrow schema metadata aside).

    Raises:
        UsageError: the source is missing, damaged or of an unknown kind.
    """
    try:
        if source is None or source == "-":
            return _standard_input()
        path = Path(source)
        if path.is_dir():
            return _directory(path)
        if path.exists():
            return _file(path, source)
    except OSError as error:
        raise UsageError(f"cannot read {source or 'standard input'}: {error.strerror or error}") from error
    if path.suffix not in _SUFFIXES and not path.parent.exists() and (named := _HUB.fullmatch(source)):
        return _hub(source, named.groupdict())
    raise UsageError(f"{source} does not exist{_nearest(path)}")


def _file(path: Path, name: str) -> Rows:
    opener = _SUFFIXES.get(path.suffix.lower())
    if opener is None:
        raise UsageError(f"{name}: its format is not known here; known suffixes: {', '.join(_SUFFIXES)}")
    return opener([path], name)


def _directory(path: Path) -> Rows:
    if (path / "dataset_dict.json").is_file():
        splits = _json_object(path / "dataset_dict.json").get("splits", [])
        raise UsageError(
            f"{path} holds several data sets: {', '.join(splits)}; name one, as in {path / (splits or ['train'])[0]}"
        )
    if (path / "state.json").is_file():
        try:
            shards = [path / item["filename"] for item in _json_object(path / "state.json")["_data_files"]]
        except (TypeError, KeyError) as error:
            raise UsageError(f"{path / 'state.json'} does not list the data files") from error
        if not shards:
            return Rows(str(path), pa.schema([]), lambda: iter(()))
        rows = _arrow(shards, str(path))
        if (path / "progress.json").exists():
            rows.notes.append(f"{path} is still being written, or its run was stopped: these are its rows so far")
        return rows
    if files := sorted(path.glob("*.parquet")):
        return _parquet(files, str(path))
    raise UsageError(f"{path} {_kind(path) or 'is not a data set: it has neither state.json nor .parquet files'}")


def _kind(path: Path) -> str:
    """What a directory holds that is no data set, and what to do with it; empty where it is not known."""
    if (path / "scores.json").is_file():
        return f"holds an evaluation, not rows: look at it with synth show {path}, or synth report {path}"
    if (path / "log.jsonl").is_file():
        return f"holds a training, not rows: synth show {path} tells of it, --model {path} takes its model"
    if (path / "config.json").is_file() or (path / "adapter_config.json").is_file():
        return f"holds a model, not rows: it is for --model {path}"
    return ""


def _json_object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    return value if isinstance(value, dict) else {}


def _json(paths: Sequence[Path], name: str) -> Rows:
    schema, read, notes = open_json(paths[0], name)
    return Rows(name, schema, read, notes)


def _csv(paths: Sequence[Path], name: str) -> Rows:
    from pyarrow import csv as arrow_csv

    with open(paths[0], encoding="utf-8-sig", errors="replace", newline="") as file:
        header = next(csv.reader(file), [])
    if len(set(header)) < len(header):
        raise UsageError(f"{name}: several columns have one name in the header {', '.join(header)}")
    schema = pa.schema([(column, pa.string()) for column in header])

    def batches(path: Path) -> Iterator[pa.RecordBatch]:
        if not header:
            return iter(())
        return iter(
            arrow_csv.open_csv(
                path,
                read_options=arrow_csv.ReadOptions(block_size=2**23, use_threads=False),  # for row numbers in errors
                parse_options=arrow_csv.ParseOptions(newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(column_types=schema),
            )
        )

    return Rows(name, schema, lambda: _checked(paths, schema, batches))


def _parquet(paths: Sequence[Path], name: str) -> Rows:
    from pyarrow import parquet

    def opened(path: Path) -> Any:
        with _damaged(path):
            return parquet.ParquetFile(path, memory_map=True)

    schema = opened(paths[0]).schema_arrow

    def batches(path: Path) -> Iterator[pa.RecordBatch]:
        return iter(opened(path).iter_batches(BATCH_ROWS))

    return Rows(name, schema.remove_metadata(), lambda: _checked(paths, schema, batches))


def _arrow(paths: Sequence[Path], name: str) -> Rows:
    with _damaged(paths[0]):
        schema = _open_ipc(paths[0])[0]
        if "\ufffd" in str(schema):  # where Arrow's own print of a name, however deep, fails
            raise pa.ArrowInvalid("names of columns are not UTF-8")
    return Rows(name, schema.remove_metadata(), lambda: _checked(paths, schema, lambda path: _open_ipc(path)[1]))


def _open_ipc(path: Path) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """The schema and the batches of an Arrow IPC file or stream, memory-mapped.

    Raises:
        pa.ArrowException, OSError: the file is damaged.
    """
    with open(path, "rb") as file:
        is_file = file.read(6) == b"ARROW1"
        if not is_file:
            # A stream cut between two batches reads without an error.
            file.seek(max(0, file.seek(0, 2) - len(_END_OF_STREAM)))
            if file.read() != _END_OF_STREAM:
                raise pa.ArrowInvalid("no end-of-stream mark")
    mapped = pa.memory_map(str(path))
    if is_file:
        reader = pa.ipc.open_file(mapped)
        return reader.schema, (reader.get_batch(index) for index in range(reader.num_record_batches))
    stream = pa.ipc.open_stream(mapped)
    return stream.schema, iter(stream)


def _checked(
    paths: Sequence[Path], schema: pa.Schema, batches: Callable[[Path], Iterator[pa.RecordBatch]]
) -> Iterator[pa.RecordBatch]:
    """The batches of all files: valid, of one schema without metadata, and of BATCH_ROWS at most."""
    for path in paths:
        with _damaged(path):
            for batch in batches(path):
                if not batch.schema.equals(schema):
                    raise UsageError(f"{path}: its columns differ from those of {paths[0]}")
                batch.validate(full=True)  # damaged offsets would crash whatever reads them
                whole = batch.replace_schema_metadata(None)
                for start in range(0, whole.num_rows, BATCH_ROWS):
                    yield whole.slice(start, BATCH_ROWS)


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    """Turn what Arrow says about a damaged file into one line."""
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{path} is missing") from error
    except (pa.ArrowException, OSError) as error:
        raise UsageError(f"{path} is damaged or cut short: {' '.join(str(error).split())}") from error


def _hub(source: str, named: dict[str, str | None]) -> Rows:
    import datasets

    try:
        found = datasets.load_dataset(**named)
    except Exception as error:  # the libraries below raise dozens of kinds, and all of them mean the same here
        why = did_you_mean(Path(source), _readable) or f": {' '.join(str(error).split())}"
        raise UsageError(f"{source} is no file here, and cannot be loaded from the Hugging Face Hub{why}") from error
    if isinstance(found, dict):
        if len(found) != 1:
            raise UsageError(
                f"{source} has several splits: {', '.join(found)}; name one, as in {source}:{next(iter(found))}"
            )
        found = next(iter(found.values()))
    table = found.data.table.replace_schema_metadata(None)
    return Rows(source, table.schema, lambda: iter(table.to_batches(max_chunksize=BATCH_ROWS)))


def _standard_input() -> Rows:
    """Standard input, copied to a temporary file, since a schema is known only once all is there."""
    stream: BinaryIO = sys.stdin.buffer
    if stream.isatty():
        raise UsageError("no input: name a file or a data set, or pipe rows in")
    copy = tempfile.NamedTemporaryFile()  # noqa: SIM115 (lives as long as the rows)
    shutil.copyfileobj(stream, copy, 2**20)
    copy.flush()
    copy.seek(0)
    start = copy.read(6)
    opener = _arrow if start.startswith(b"\xff\xff\xff\xff") or start == b"ARROW1" else _json
    rows = opener([Path(copy.name)], "standard input")
    read = rows.read
    rows.read = lambda _keep=copy: read()  # type: ignore[misc]
    return rows


def _nearest(path: Path) -> str:
    if near_paths(path):
        return did_you_mean(path, _readable)
    if not path.parent.is_dir():
        return f": there is no directory {path.parent}"
    there = sorted(item.name for item in islice(path.parent.iterdir(), _LOOKED_AT) if _readable(item))
    return f"; there are: {', '.join(there[:_TOLD])}{', …' if len(there) > _TOLD else ''}" if there else ""


def _readable(path: Path) -> bool:
    """Whether rows can be read from a path, as far as its name and its files tell."""
    return (path / "state.json").is_file() if path.is_dir() else path.suffix.lower() in _SUFFIXES


_SUFFIXES: dict[str, Callable[[Sequence[Path], str], Rows]] = {
    ".jsonl": _json,
    ".ndjson": _json,
    ".json": _json,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".feather": _arrow,
    ".csv": _csv,
}
