"""Directories that hold a data set or something else: what `datasets` and our own runs wrote there."""

import json
from pathlib import Path
from typing import Any

from synth.data.store.path import File
from synth.errors import UsageError


def only_split(path: File) -> File:
    """A dataset directory, or the directory of the one split in it, where it is one of several splits.

    Raises:
        UsageError: it holds several splits.
    """
    if not (path / "dataset_dict.json").is_file():
        return path
    found = _json_object(path / "dataset_dict.json").get("splits")
    splits = [str(split) for split in found] if isinstance(found, list) and found else ["train"]
    if len(splits) == 1 and _is_file_name(splits[0]) and (path / splits[0]).is_dir():
        return only_split(path / splits[0])
    raise UsageError(f"{path} holds several data sets: {', '.join(splits)}; name one, as in {path / splits[0]}")


def shards_of(path: File) -> list[File] | None:
    """The files of a dataset directory, in their order; None for another directory.

    Raises:
        UsageError: they are not listed there as they should be.
    """
    state = path / "state.json"
    if not state.is_file():
        return None
    try:
        names = [item["filename"] for item in _json_object(state)["_data_files"]]
        shards: list[File] = [path / name for name in names if _is_file_name(name)]
    except (TypeError, KeyError) as error:
        raise UsageError(f"{state} does not list the data files") from error
    if len(shards) < len(names):
        raise UsageError(f"{state} names data files that are not in its directory")
    return shards


def kind_of(path: File) -> str:
    """What a directory that is no data set holds, and which command takes it; empty where that is unknown."""
    if (path / "scores.json").is_file():
        return f"holds an evaluation, not rows: see synth show {path} or synth report {path}"
    if (path / "log.jsonl").is_file():
        return f"holds a training run, not rows: synth show {path} describes it; to use its model, `model` {path}"
    if (path / "config.json").is_file() or (path / "adapter_config.json").is_file():
        return f"holds a model, not rows: give it as `model` {path}"
    return ""


def _is_file_name(name: str) -> bool:
    """Whether text from a file names a file of its directory: it may be anything."""
    return Path(name).name == name and name.isprintable()


def _json_object(path: File) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except UsageError:
        raise
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is damaged: {error}") from error
    return value if isinstance(value, dict) else {}
