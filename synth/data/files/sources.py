"""Which files a source stands for: one file, a folder laid out as on the Hub, or a pattern with `*`.

Files must be of one data set, split and configuration, else an error lists what there is: nobody trains on a test split
because it lies beside the other.
"""

import glob
import re
from collections.abc import Sequence
from pathlib import Path, PurePath

from synth.data.files.compressed import SUFFIXES as PACKINGS
from synth.data.store.address import is_address
from synth.data.store.path import File, path_at
from synth.errors import UsageError

FORMATS = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".csv": "csv",
    ".tsv": "csv",
}
"""Formats by the suffix of a file's name; those of text may be compressed, as in `.jsonl.gz`."""

_NO_DATA = {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "run.json", "config.json"}

SPLITS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
}
"""Names of splits, as the Hub understands them, each with the split's own."""

HUB_ADDRESS = "hf://datasets/"
_HUB = re.compile(
    r"(?P<path>[\w.-]+/[\w.-]+)(/(?P<name>[\w.-]+))?(@(?P<revision>[^:@]+))?(:(?P<split>[\w.:%+\[\]-]+))?"
)

NUMBERED = re.compile(r"(?P<name>.+?)[-_.]\d{5}-of-\d{5}\b")


def format_of(path: File | PurePath) -> str | None:
    """The format of a file by its name; None where it is not known."""
    suffix = path.suffix.lower()
    if suffix not in PACKINGS:
        return FORMATS.get(suffix)
    found = FORMATS.get(Path(path.stem).suffix.lower())
    return found if found in ("json", "csv") else None


def hub_name(source: str) -> dict[str, str | None] | None:
    """What a source that is no file names on the Hub: path, name, revision and split; None where it may be a file."""
    on_hub = source.removeprefix(HUB_ADDRESS)
    path = Path(source)
    may_be_file = format_of(path) is not None or (on_hub == source and path.parent.exists())
    named = None if may_be_file else _HUB.fullmatch(on_hub)
    return named.groupdict() if named else None


def known_suffixes() -> str:
    """The suffixes of files that can be read, as a message lists them."""
    return f"{', '.join(FORMATS)}, those of text also with {', '.join(PACKINGS)}"


def is_pattern(source: str) -> bool:
    """Whether a source is a pattern of names, not a name."""
    if is_address(source):
        return "*" in source or ("?" in source and not source.startswith("http"))
    return glob.has_magic(source) and not Path(source).exists() and ("*" in source or "?" in source)


def files_matching(pattern: str) -> list[File]:
    """The data files that match a pattern (`**` stands for any folders), sorted by name.

    Raises:
        UsageError: there are none, or they are of several formats.
    """
    found: list[File]
    if isinstance(place := path_at(pattern), Path):
        found = [Path(name) for name in sorted(glob.glob(str(place), recursive=True))]
    else:
        found = [*sorted(place.matching())]
    pattern = str(place)
    files = [path for path in found if path.is_file() and format_of(path) and path.name not in _NO_DATA]
    if not files:
        there = f"none of the {len(found):,} that do is a data file" if found else "no file matches"
        raise UsageError(f"{pattern}: {there}; known suffixes: {known_suffixes()}")
    _one_format(files, pattern)
    return files


def files_in(folder: File) -> list[File]:
    """The data files in a folder and its subfolders, sorted by name.

    Raises:
        UsageError: there are none, or they are of several formats, splits or data sets.
    """
    found: list[tuple[File, PurePath]]
    if isinstance(folder, Path):
        found = [(path, path.relative_to(folder)) for path in sorted(folder.rglob("*"))]
    else:
        found = [(path, path.relative_to(folder)) for path in sorted(folder.rglob())]
    names = {path: name for path, name in found if _is_data(name) and path.is_file()}
    files = list(names)
    if not files:
        raise UsageError(f"{folder} is not a data set: it has neither state.json nor data files ({known_suffixes()})")
    sets: dict[Path, list[File]] = {}
    for path in files:
        inner = [part for part in names[path].parts[:-1] if part != "data" and part.lower() not in SPLITS]
        sets.setdefault(Path(*inner), []).append(path)
    if len(sets) > 1:
        sets_there = [str(name) for name in sets]
        raise UsageError(
            f"{folder} holds several data sets: {_listed(sets_there)}; name one, as in {folder / sets_there[-1]}, or "
            f"all files with a pattern: '{folder}/**/*{_suffix(files[0])}'"
        )
    _one_format(files, str(folder))
    splits: dict[str, list[File]] = {}
    for path in files:
        splits.setdefault(_split(names[path]), []).append(path)
    named = [name for name in splits if name]
    if len(named) > 1:
        raise UsageError(
            f"{folder} holds several splits: {_listed(named)}; name one, as in {_example(splits[named[-1]])}"
        )
    return files


def _is_data(path: PurePath) -> bool:
    if any(part.startswith((".", "_")) for part in path.parts) or path.name in _NO_DATA:
        return False
    return format_of(path) is not None


def _split(path: PurePath) -> str:
    """The split that a file belongs to; "" where its name does not say."""
    if numbered := NUMBERED.match(path.name):
        return SPLITS.get(numbered["name"].lower(), numbered["name"])
    for part in (path.name, *reversed(path.parts[:-1])):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in SPLITS:
                return SPLITS[word]
    return ""


def _example(files: Sequence[File]) -> str:
    """How to name the files of one split."""
    first = files[0]
    if len(files) == 1:
        return str(first)
    if numbered := NUMBERED.match(first.name):
        return f"'{first.parent}/{numbered['name']}*{_suffix(first)}'"
    return str(first.parent) if len({path.parent for path in files}) == 1 else f"'{first.parent}/*{_suffix(first)}'"


def _one_format(files: Sequence[File], source: str) -> None:
    formats: dict[str | None, File] = {}
    for path in files:
        formats.setdefault(format_of(path), path)
    if len(formats) > 1:
        names = ", ".join(path.name for path in formats.values())
        first = next(iter(formats.values()))
        raise UsageError(
            f"{source} holds files of several formats, as {names}; name those of one, as in "
            f"'{first.parent}/*{_suffix(first)}'"
        )


def _suffix(path: File) -> str:
    packing = path.suffix if path.suffix.lower() in PACKINGS else ""
    return Path(path.name.removesuffix(packing)).suffix + packing


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
