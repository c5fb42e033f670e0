"""What a source is called in tables and columns: after what its rows are, not after their part or format.

gsm8k/main/train-00000-of-00001.parquet   gsm8k
s3://bucket/math/train.jsonl.gz           math
mbpp/full.jsonl.gz                        mbpp
math-1.5b.jsonl                           math-1.5b
'replay/data-*.arrow'                     replay
openai/gsm8k/main:test                    gsm8k
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from synth.data.files.compressed import SUFFIXES as PACKINGS
from synth.data.files.sources import FORMATS, NUMBERED, SPLITS, is_pattern
from synth.data.store.address import here, is_address

_VAGUE = frozenset(
    {*SPLITS, "all", "data", "dataset", "default", "full", "main", "part", "plain", "questions", "sanitized", "shard"}
    | {"snapshots", "split", "splits", "subset", "text"}
)
"""Words that say which part it is, or how it is kept, and not of what."""
_REVISION = re.compile(r"[0-9a-f]{40}")
_WORD = re.compile(r"[^\W\d_]+")


@dataclass(frozen=True, slots=True)
class SourceName:
    """The parts of a name.

    Attributes:
        own: the file's or the folder's own, without what says its format.
        folder: the nearest folder above it whose name says what is in it; "" where there is none.
        tells: whether `own` says what is in it.
    """

    own: str
    folder: str
    tells: bool

    @property
    def short(self) -> str:
        """The one that tells."""
        return self.own if self.tells else self.folder or self.own

    @property
    def long(self) -> str:
        """Both, for sources that would be called the same otherwise."""
        return f"{self.folder}-{self.own}" if self.folder else self.own


def source_name(source: str) -> SourceName:
    """What a source (as `synth.data.read.open_source` takes it) is called."""
    if source == "-":
        return SourceName("input", "", tells=True)
    path = Path(here(source))
    if is_address(source):
        parts = tuple(filter(None, re.split(r"[?@]|:(?!//)", source.partition("://")[2])[0].split("/")))
    elif path.exists() or is_pattern(source) or source.startswith(("/", ".")):
        parts = Path(os.path.abspath(path)).parts[1:]
    else:  # of the Hub: what follows its name is a revision or a split
        parts = tuple(re.split("[:@]", source)[0].split("/"))
    *folders, last = parts or (source,)
    own = _whole(last if path.is_dir() else _without_format(last))
    above = (_whole(folder) for folder in reversed(folders))
    return SourceName(own, next((folder for folder in above if _tells(folder)), ""), _tells(own))


def short_name(source: str | os.PathLike[str]) -> str:
    """What a source is called where nothing else is of that name."""
    return source_name(os.fspath(source)).short


def unlike(names: Sequence[str]) -> list[str]:
    """Names, numbered from the second on where two are alike."""
    taken: list[str] = []
    for name in names:
        numbered = (name, *(f"{name}-{number}" for number in range(2, len(names) + 2)))
        taken.append(next(one for one in numbered if one not in taken))
    return taken


def _without_format(name: str) -> str:
    for kinds in (PACKINGS, FORMATS):
        suffix = Path(name).suffix
        if suffix.lower() in kinds:
            name = name.removesuffix(suffix)
    return name


def _whole(name: str) -> str:
    """A name without the number of its shard, the marks of a pattern, and what the Hub's cache puts before it."""
    if numbered := NUMBERED.match(name):
        name = numbered["name"]
    if name.startswith("datasets--"):
        name = name.rpartition("--")[2]
    return re.sub(r"[*?]+", "", name).strip("-_.") or name


def _tells(name: str) -> bool:
    words = _WORD.findall(name.lower())
    return not (_REVISION.fullmatch(name) or set(name) <= set("*?-_.") or (words and set(words) <= _VAGUE))
