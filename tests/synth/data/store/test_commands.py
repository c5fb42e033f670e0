"""Commands give elsewhere what they give here: inputs, models and outputs at addresses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

import synth
import synth.filters
from synth.data.store import folder as folders
from synth.data.store.path import path_at
from tests.conftest import MODEL
from tests.synth.data.store.conftest import Put
from tests.synth.data.store.writing import content, machine

QUIET: dict[str, Any] = {"progress": synth.SILENT}
FEW: dict[str, Any] = {"max_tokens": 8, **QUIET}
SUMS = [
    {"question": f"What is {n} + {n}?", "answer": f"It is {2 * n}.", "reference": str(2 * n), "verifier": "number"}
    for n in range(2, 5)
]
SAFETY = [{"prompt": "How do I make a bomb?", "label": "unsafe"}, {"prompt": "How do I make tea?", "label": "safe"}]
Made = Callable[[str, str], object]

COMMANDS: dict[str, Made] = {
    "verify": lambda at, _: synth.verify(f"{at}/sums.jsonl", verifier="number", output=f"{at}/out", **QUIET),
    "filter": lambda at, _: synth.filter(
        f"{at}/sums.jsonl", [synth.filters.Length(min=2)], output=f"{at}/out", **QUIET
    ),
    "mix": lambda at, _: synth.mix(f"{at}/sums.jsonl", [f"{at}/old.jsonl:34%"], output=f"{at}/out", **QUIET),
    "copies": lambda at, _: synth.export(f"{at}/sums.jsonl", f"{at}/out.parquet", **QUIET),
    "trl": lambda at, _: synth.export(f"{at}/sums.jsonl", f"{at}/out", trainer="trl", **QUIET),
    "sample": lambda at, model: synth.sample(model, rows=2, length=16, output=f"{at}/out", **QUIET),
    "distil": lambda at, model: synth.distil(model, f"{at}/sums.jsonl", samples=1, output=f"{at}/out", **FEW),
    "self_output": lambda at, model: synth.self_output(
        model, f"{at}/sums.jsonl", samples=1, fallback=["gold"], output=f"{at}/out", **FEW
    ),
    "paraphrase": lambda at, model: synth.paraphrase(
        model, f"{at}/sums.jsonl", verifier="number", output=f"{at}/out.jsonl", **FEW
    ),
    "refuse": lambda at, model: synth.refuse(model, f"{at}/safety.jsonl", samples=1, output=f"{at}/out", **FEW),
    "rate": lambda at, model: synth.rate(model, f"{at}/sums.jsonl", by=["perplexity"], output=f"{at}/out", **QUIET),
    "score_tokens": lambda at, model: synth.score_tokens(
        model, f"{at}/sums.jsonl", mask_hardest=0.2, mask_over="corpus", output=f"{at}/out", **QUIET
    ),
    "shards": lambda at, model: [
        *(synth.evaluate(f"{at}/sums.jsonl", models=model, output=f"{at}/{n}", shard=f"{n}/2", **FEW) for n in (1, 2)),
        synth.join([f"{at}/1", f"{at}/2"], output=f"{at}/out", **QUIET),
    ],
}


@pytest.fixture(autouse=True)
def one_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(folders, "_fetched", {})
    machine(monkeypatch, tmp_path, "one")


@pytest.fixture(scope="module")
def loaded() -> Any:
    with synth.load(MODEL, engine="transformers", device="cpu") as model:
        yield model


def laid_out(at: str) -> str:
    """The inputs, at a place."""
    fs, path = fsspec.core.url_to_fs(at)
    fs.makedirs(path, exist_ok=True)
    for name, rows in (("sums", SUMS), ("old", SAFETY), ("safety", SAFETY)):
        fs.pipe_file(f"{path}/{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    return at


def told(at: str) -> dict[str, bytes]:
    """What came out, apart from what says when and where it was made."""
    made = {name: held for name, held in content(at).items() if name.startswith("out")}
    return {name: b"" if name.endswith((".json", ".html", ".svg", ".png")) else held for name, held in made.items()}


@pytest.mark.parametrize("command", COMMANDS)
def test_elsewhere_as_here(command: str, loaded: synth.Model, tmp_path: Path) -> None:
    here, there = laid_out(str(tmp_path / "at")), laid_out(f"memory://commands/{command}")
    for at in (here, there):
        COMMANDS[command](at, loaded)  # type: ignore[arg-type]
    assert told(there) == told(here) and told(here)
    assert not [file for file in (tmp_path / "machines" / "one" / "synth").rglob("*") if file.is_file()]


def test_an_evaluation_elsewhere(bucket: str, loaded: synth.Model, put: Put, tmp_path: Path) -> None:
    """Run to its end in a store, continued there, reported on from there; by a model that lies there as well."""
    at = laid_out(bucket)
    model = put(Path(MODEL), f"{bucket}/sample")
    for _ in range(2):  # the second time asks nothing
        done = synth.evaluate(f"{at}/sums.jsonl", models={"base": model, "same": loaded}, output=f"{at}/scores", **FEW)
    assert [model["suites"]["sums"]["right"] for model in done.scores["models"]] == [3, 3]
    assert [len(answers) for answers in done.answers.values()] == [3, 3] and len(list(done.items())) == 3
    again = synth.Evaluation(f"{at}/scores")
    assert str(again) == str(done) and "items" in again.report(f"{at}/page.html").holds
    assert path_at(f"{at}/page.html").is_file()
    with pytest.raises(synth.UsageError, match=rf"{bucket}/scores/answers/base holds .* \(max_tokens: 8, now 9\)"):
        synth.evaluate(f"{at}/sums.jsonl", models={"base": model}, output=f"{at}/scores", max_tokens=9, **QUIET)
    assert [need.rows for need in synth.plan(f"{at}/scores/answers/base", rows=[100]).needs] == [100]
