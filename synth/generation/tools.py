"""The functions that a run offers its model: from a file that a person names, or as a caller has them."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from filters.functions import Functions, read_functions
from synth.data.store.path import path_at
from synth.errors import UsageError
from synth.small_text import read_small

Tools = str | os.PathLike[str] | Sequence[Mapping[str, Any]]
"""The file of a JSON list or of JSON lines; or function schemas."""


def open_tools(tools: Tools) -> Functions:
    """The functions of a file, or those given.

    Args:
        tools: function schemas as OpenAI's, as other data sets write them (`filters.functions`), or a file of them.

    Raises:
        UsageError: the file cannot be read, or a function in it; the message says which and what is wrong.
    """
    if not isinstance(tools, str | os.PathLike):
        return _read(list(tools), "`tools`")
    where = f"`tools` {os.fspath(tools)}"
    try:
        text = read_small(path_at(os.fspath(tools)))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{where} cannot be read: {error}") from error
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise UsageError(f"{where} is nested too deep") from error
    except ValueError as error:
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        if len(lines) < 2 or not lines[0][1].lstrip().startswith("{") or not lines[0][1].rstrip().endswith("}"):
            raise UsageError(f"{where} is neither a JSON list nor JSON lines of functions: {error}") from error
        value = [_line(line, f"{where} line {number}") for number, line in lines]
    return _read(value, where)


def _line(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where} is no JSON: {error}") from error


def _read(value: Any, where: str) -> Functions:
    try:
        return read_functions(value)
    except ValueError as error:
        raise UsageError(f"{where}: {error}") from error
