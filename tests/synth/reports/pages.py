"""Data sets to report on, and what a browser would see of the page."""

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest

from synth.chat.format import ChatFormat
from synth.data.read import open_rows
from synth.data.row import MESSAGES
from synth.data.write import open_writer
from synth.reports.build import build_report
from synth.reports.figures import (
    Scan,
    scan_rows,
)

TOKEN_FIELDS = [
    pa.field("input_ids", pa.list_(pa.int32())),
    pa.field("labels", pa.list_(pa.int32())),
    pa.field("logprobs", pa.list_(pa.float32())),
    pa.field("scorer", pa.string()),
]

TEXT_FIELDS = [pa.field("messages", MESSAGES), *(pa.field(name, pa.string()) for name in ("id", "parent", "method"))]


def talk(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


def write(path: Path, records: list[dict[str, Any]], *more: pa.Field, scored: bool = False) -> str:
    schema = pa.schema([*TEXT_FIELDS, *(TOKEN_FIELDS if scored else []), *more])
    with open_writer(str(path), schema) as writer:
        writer.write(pa.RecordBatch.from_pylist(records, schema=schema))
    return str(path)


def tokens(ids: list[int], logprobs: list[float | None], masked: tuple[int, ...] = (), scorer: str = "") -> Any:
    kept = [logprobs[at] is not None and at not in masked for at in range(len(ids))]
    labels = [token if keep else -100 for token, keep in zip(ids, kept, strict=True)]
    return {"input_ids": ids, "labels": labels, "logprobs": logprobs, "scorer": scorer}


def scored_row(chat: ChatFormat, model: str, prompt: str, answer: str, seed: int, **more: Any) -> dict[str, Any]:
    """A row as `synth score-tokens` writes it, with log-probabilities of chance; the third answer token is masked."""
    encoded = chat.encode(talk(prompt, answer))
    chance = Random(seed)
    logprobs = [-chance.expovariate(0.7) if trained else None for trained in encoded.trained]
    third = [at for at, trained in enumerate(encoded.trained) if trained][2]
    scores = tokens(encoded.input_ids, logprobs, (third,), f"{model} r all")
    return {"messages": talk(prompt, answer), **scores, **more}


def scanned(source: str) -> Scan:
    return scan_rows(open_rows(source))


class Page(HTMLParser):
    """What a browser would see: tags, and the scripts that would run."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.text = path.read_text(encoding="utf-8")
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.said: list[str] = []
        self._in_script = False
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_script = tag == "script" and "type" not in dict(attrs)

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] == "script" and self._in_script:
            self.scripts.append(data)
            self._in_script = False
        elif self.tags and self.tags[-1][0] not in ("script", "style"):
            self.said.append(data)

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.said).split())

    def block(self, name: str) -> Any:
        found = re.search(rf'id="{name}">([^<]*)<', self.text)
        assert found is not None
        return json.loads(gzip.decompress(base64.b64decode(found[1])), parse_constant=lambda name: pytest.fail(name))

    def rows(self) -> list[Any]:
        return [
            row for number in range(len(re.findall('id="block-', self.text))) for row in self.block(f"block-{number}")
        ]


def built(tmp_path: Path, *sources: str, model: str | None = None) -> tuple[Page, list[str]]:
    made = build_report(sources, str(tmp_path / "page.html"), model=model, force=True)
    assert made.size == (tmp_path / "page.html").stat().st_size
    page = Page(tmp_path / "page.html")
    assert not re.search(r"\b(nan|inf|NaN|Infinity|None|undefined)\b", page.words)
    return page, made.notes
