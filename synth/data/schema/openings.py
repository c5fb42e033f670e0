"""Finds, in whole columns, the texts that may begin with thoughts.

A search of each text takes longer than reading all of them. So single bytes are looked at first: what a text begins
with, and where `k>` stands, if anywhere; few texts are left to be searched.
"""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from synth.data.schema.turns import ROLE_NAMES, is_text

_OPENS = (
    r"(?i)\A\s*(?:<(?:\w{1,20}[:_|])?think|<\||<(?:thoughts?|reasoning|scratchpad)>|<unused94>|◁think"
    r"|\[(?:think|reasoning|thought)|(?:assistant)?analysis|here(?: is|['’]s| are) my |## thinking)"
)
"""What a text begins with that may open thoughts."""
_CLOSES = r"think>"
_JSON = r"\A\s*[\[{][\s\[{]*\""
"""What the JSON of turns, or of bare texts, begins with."""

_SPACE = " \t\n\f\r"
_BEGINS_OPENING = np.isin(np.arange(256), list(f"{_SPACE}<[aAhH#◁".encode()))
_BEGINS_JSON = np.isin(np.arange(256), list(f"{_SPACE}[{{".encode()))
"""Whether a byte is the first of what `_OPENS` and `_JSON` find."""


def may_think(values: pa.Array) -> bool:
    """Whether some text, however deep in a column, may begin with thoughts, or may be JSON of such texts."""
    kind = values.type
    if pa.types.is_struct(kind):
        fields = zip(kind.names, values.flatten(), strict=True)
        return any(may_think(inner) for name, inner in fields if name not in ROLE_NAMES)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return may_think(values.flatten())
    if not is_text(kind):
        return bool(pa.types.is_nested(kind))  # lists of other kinds are left to those who convert them
    texts = values.cast(pa.string())
    return bool(len(_beginning(texts, _BEGINS_OPENING | _BEGINS_JSON, f"{_OPENS}|{_JSON}")) or len(_closing(texts)))


def thinking(texts: pa.StringArray) -> NDArray[np.int64]:
    """The texts that may begin with thoughts, or close some, by index."""
    return np.union1d(_beginning(texts, _BEGINS_OPENING, _OPENS), _closing(texts))


def _beginning(texts: pa.StringArray, first: NDArray[np.bool_], pattern: str) -> NDArray[np.int64]:
    """The texts that begin with a pattern, of which one of some bytes is the first."""
    starts, content = _bytes(texts)
    places = np.flatnonzero(starts[:-1] < starts[1:])
    return _searched(texts, places[first[content[starts[places]]]], pattern)


def _closing(texts: pa.StringArray) -> NDArray[np.int64]:
    """The texts in which `_CLOSES` is found."""
    starts, content = _bytes(texts)
    ends = starts[0] + np.flatnonzero(content[starts[0] : starts[-1]] == ord(">"))
    ends = ends[(ends > 0) & (content[ends - 1] == ord("k"))]
    return _searched(texts, np.unique(np.searchsorted(starts, ends, side="right") - 1), _CLOSES)


def _searched(texts: pa.StringArray, places: NDArray[np.int64], pattern: str) -> NDArray[np.int64]:
    """Those of some texts in which a pattern is found."""
    if not len(places):
        return places
    # `pa.array`, and bits made to bytes, would import pandas, which takes longer than to look through many a file.
    indices = pa.Array.from_buffers(pa.int64(), len(places), [None, pa.py_buffer(places.astype(np.int64))])
    found = compute.indices_nonzero(compute.match_substring_regex(texts.take(indices), pattern))
    kept: NDArray[np.int64] = places[np.frombuffer(found.buffers()[1], np.uint64)[: len(found)]]
    return kept


def _bytes(texts: pa.StringArray) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Where each text begins, and the last ends, in all their bytes; and these."""
    if texts.null_count == len(texts):
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    _, offsets, content = texts.buffers()
    starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return starts, np.frombuffer(content or b"", np.uint8)
