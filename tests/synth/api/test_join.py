"""`synth.join`: what several calls with `shard` make, joined, is what one call makes."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import synth
from samples.skills.registry import suite
from tests.conftest import HYBRID, MODEL

ONE_BY_ONE: dict[str, Any] = {"engine": "transformers", "device": "cpu", "concurrency": 1}
"""What stands beside a sequence in a batch may round the last digit of its log-probability otherwise."""
Make = Callable[[Path, str | None], Any]


def check(make: Make, folder: Path, of: int) -> list[dict[str, Any]]:
    """The rows, the same bytes by one call and joined from shards; so are the records, apart from times."""
    make(folder / "whole", None)
    shards = [folder / f"part {number}" for number in range(1, of + 1)]
    for number, shard in enumerate(shards, 1):
        make(shard, f"{number}/{of}")
    synth.join(shards, output=folder / "joined", progress=synth.SILENT)
    tables = sorted(file.relative_to(folder / "whole") for file in (folder / "whole").rglob("*.arrow"))
    assert tables == sorted(file.relative_to(folder / "joined") for file in (folder / "joined").rglob("*.arrow"))
    for table in tables:
        assert (folder / "whole" / table).read_bytes() == (folder / "joined" / table).read_bytes(), table
    records = [json.loads((folder / name / "run.json").read_text()) for name in ("whole", "joined")]
    for name in (
        "settings",
        "source",
        "asked",
        "next",
        "accepted",
        "rejected",
        "reasons",
        "methods",
        "verdicts",
        "cost",
    ):
        assert records[0][name] == records[1][name], name
    assert [one["shard"] for one in records[1]["joined"]] == [f"{number}/{of}" for number in range(1, of + 1)]
    assert records[1]["tokens"] == pytest.approx(records[0]["tokens"])
    return list(synth.Dataset(folder / "joined"))


@pytest.fixture(scope="module")
def sums() -> list[dict[str, str]]:
    return [{"question": question, "answer": answer} for question, answer in suite("arithmetic", "dev", 13)]


def test_questions_of_its_own(model: synth.Model, tmp_path: Path) -> None:
    def make(output: Path, shard: str | None) -> None:
        limits: dict[str, Any] = {"max_tokens": 40, "question_tokens": 40, "progress": synth.SILENT}
        synth.magpie(model, rows=12, output=output, shard=shard, **limits)

    assert len(check(make, tmp_path, 3)) == 12


def test_answers_pairs_and_fallbacks(sums: list[dict[str, str]], tmp_path: Path) -> None:
    with synth.load(MODEL, **ONE_BY_ONE) as model:

        def make(output: Path, shard: str | None) -> None:
            chosen: dict[str, Any] = {"verifier": "number", "samples": 3, "temperature": 1.5, "max_tokens": 30}
            chosen |= {"pairs": True, "select": "all", "fallback": ["paraphrase", "drop"]}
            synth.self_output(model, sums, output=output, shard=shard, progress=synth.SILENT, **chosen)

        check(make, tmp_path, 2)
    assert list(synth.Dataset(tmp_path / "joined" / "pairs"))


def test_unverified_answers(sums: list[dict[str, str]], tmp_path: Path) -> None:
    with synth.load(MODEL, **ONE_BY_ONE) as model:

        def make(output: Path, shard: str | None) -> None:
            chosen: dict[str, Any] = {"verifier": "none", "samples": 2, "select": "random", "max_tokens": 30}
            synth.self_output(model, sums[:6], output=output, shard=shard, progress=synth.SILENT, **chosen)

        assert {row["verdict"] for row in check(make, tmp_path, 2)} == {"unverified"}


def test_tools_and_both_modes(tmp_path: Path, sums: list[dict[str, str]]) -> None:
    offered = [{"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}]
    rows = [{**row, "tools": json.dumps(offered) if number % 2 else None} for number, row in enumerate(sums[:8])]
    with synth.load(HYBRID, mode="both", thought_tokens=40, **ONE_BY_ONE) as hybrid:

        def make(output: Path, shard: str | None) -> None:
            chosen: dict[str, Any] = {"price_in": 1, "price_out": 3, "samples": 2, "max_tokens": 40}
            synth.distil(hybrid, rows, output=output, shard=shard, progress=synth.SILENT, **chosen)

        check(make, tmp_path, 2)
    record = json.loads((tmp_path / "joined" / "run.json").read_text())
    assert record["cost"] > 0 and record["accepted"] + record["rejected"] >= 8


def test_scores_of_tokens(model: synth.Model, sums: list[dict[str, str]], tmp_path: Path) -> None:
    """Rows in whole batches; masks over all rows need all rows, and are for the joined set."""
    said = [[row["question"], row["answer"]] for row in sums] + [["No answer."]]
    roles = ("user", "assistant")
    rows = [
        {"messages": [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]}
        for texts in said
    ]

    def make(output: Path, shard: str | None) -> None:
        chosen: dict[str, Any] = {"entropy": True, "mask_hardest": 0.2, "overlong": "window"}
        synth.score_tokens(model, rows, output=output, shard=shard, progress=synth.SILENT, **chosen)

    assert len(check(make, tmp_path, 3)) == 13
    chosen: dict[str, Any] = {"mask_hardest": 0.2, "mask_over": "corpus", "progress": synth.SILENT}
    with pytest.raises(synth.UsageError, match="score without masks, then mask all rows together"):
        synth.score_tokens(model, rows, output=tmp_path / "no", shard="1/2", **chosen)
    masked = [
        synth.score_tokens(model, tmp_path / name, output=tmp_path / f"{name}-m", **chosen)
        for name in ("whole", "joined")
    ]
    assert list(masked[0]) == list(masked[1])
    (tmp_path / "part 2" / "data-00000.arrow").unlink()
    shards = [tmp_path / f"part {number}" for number in (1, 2, 3)]
    with pytest.raises(synth.UsageError, match="make shard 2/3 again, with `restart`"):
        synth.join(shards, output=tmp_path / "again", progress=synth.SILENT)
    with pytest.raises(synth.UsageError, match="1 shards are missing: 2/3"):
        synth.join(shards[::2], output=tmp_path / "again", progress=synth.SILENT)


def test_ratings(model: synth.Model, sums: list[dict[str, str]], tmp_path: Path) -> None:
    def make(output: Path, shard: str | None) -> None:
        synth.rate(model, sums, by="perplexity", output=output, shard=shard, progress=synth.SILENT)

    assert all(row["perplexity"] > 1 for row in check(make, tmp_path, 2))


def test_evaluations(model: synth.Model, sums: list[dict[str, str]], tmp_path: Path) -> None:
    """Of every suite each shard asks a part; the scores are counted from all answers."""
    suites = {"sums": sums[:5], "others": sums[5:]}
    models = {"b": model, "a": model}
    chosen: dict[str, Any] = {"models": models, "verifier": "number", "max_tokens": 30, "progress": synth.SILENT}
    whole = synth.evaluate(suites, output=tmp_path / "whole", **chosen)
    shards = [tmp_path / str(number) for number in (1, 2)]
    for shard in shards:
        part = synth.evaluate(suites, output=shard, shard=f"{shard.name}/2", **chosen)
        assert set(part.scores["models"][0]["suites"]) == {"sums", "others"}
    joined = synth.join(shards, output=tmp_path / "joined", progress=synth.SILENT)
    assert isinstance(joined, synth.Evaluation)
    assert joined.scores["models"] == whole.scores["models"] and joined.table() == whole.table()
    for name in ("b", "a"):
        files = [tmp_path / kind / "answers" / name / "data-00000.arrow" for kind in ("whole", "joined")]
        assert files[0].read_bytes() == files[1].read_bytes()
    (tmp_path / "joined" / "scores.json").unlink()  # as where it was killed after the first model's answers
    shutil.rmtree(tmp_path / "joined" / "answers" / "a")
    again = synth.join(shards, output=tmp_path / "joined", progress=synth.SILENT)
    assert isinstance(again, synth.Evaluation) and again.scores["models"] == whole.scores["models"]
    further = synth.evaluate(suites, output=tmp_path / "joined", **chosen)  # asks nothing
    assert further.scores["models"] == whole.scores["models"]
    with pytest.raises(synth.UsageError, match="are not done in shards"):
        synth.evaluate(suites, output=tmp_path / "x", shard="1/2", texts={"sums": sums}, **chosen)
    with pytest.raises(synth.UsageError, match="exists"):
        synth.join(shards, output=tmp_path / "joined", progress=synth.SILENT)
    with pytest.raises(synth.UsageError, match="are of different models"):
        synth.join([shards[0], tmp_path], output=tmp_path / "y", progress=synth.SILENT)


def test_inputs_written_in_shards(model: synth.Model, sums: list[dict[str, str]], tmp_path: Path) -> None:
    """SSR compares all inputs: a call without a shard finds them joined, selects and answers."""
    chosen: dict[str, Any] = {"rows": 2, "candidates": 4, "clusters": 2, "temperature": 1.0, "progress": synth.SILENT}
    chosen |= {"question_tokens": 30, "max_tokens": 30}
    whole = synth.ssr(model, sums, output=tmp_path / "whole", **chosen)
    shards = [synth.ssr(model, sums, output=tmp_path / f"{n}", shard=f"{n}/2", **chosen) for n in (1, 2)]
    synth.join(shards, output=tmp_path / "own.inputs", progress=synth.SILENT)
    assert list(synth.ssr(model, sums, output=tmp_path / "own", **chosen)) == list(whole)


def test_a_shard_needs_a_directory(model: synth.Model, tmp_path: Path) -> None:
    for output in (tmp_path / "a.jsonl", (tmp_path / "stream").open("wb")):
        with pytest.raises(synth.UsageError, match="`output`"):
            synth.magpie(model, rows=1, output=output, shard="1/2", progress=synth.SILENT)
