"""`synth.evaluate`: models compared on suites, from files and in memory."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import synth
from filters.verdict import VerifierSettings
from synth.data.row import Outcome
from synth.data.run.directory import RunDirectory

WORDS = [
    {"prompt": f'Swap the first and the last word. The text is "{one} {two}".', "reference": f"{two} {one}"}
    for one, two in (("eagle", "kitten"), ("river", "apple"), ("candle", "garden"), ("window", "ladder"))
]


@pytest.fixture(scope="module")
def sums(questions: list[dict[str, str]]) -> list[dict[str, str]]:
    return [
        {"prompt": row["question"], "reference": row["answer"].rsplit(maxsplit=1)[-1].rstrip("."), "verifier": "math"}
        for row in questions[:4]
    ]


@pytest.fixture(scope="module")
def damaged(model: synth.Model, tmp_path_factory: pytest.TempPathFactory) -> Iterator[synth.Model]:
    """The sample model after noise on its weights: it has forgotten something of everything."""
    folder = str(tmp_path_factory.mktemp("models") / "damaged")
    loaded = AutoModelForCausalLM.from_pretrained(model.name, dtype=torch.float32)
    chance = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in loaded.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=chance)
    loaded.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model.name).save_pretrained(folder)
    with synth.load(folder, engine="transformers") as it:
        yield it


def test_two_models_on_suites_in_memory(
    model: synth.Model, damaged: synth.Model, sums: list[dict[str, str]], tmp_path: Path
) -> None:
    """One of the two is loaded already, and stays; the other is loaded for its answers alone."""
    asked: dict[str, Any] = {"max_tokens": 60, "verifier": "exact", "progress": synth.SILENT}
    list(synth.magpie(model, rows=1, progress=synth.SILENT))
    found = synth.evaluate({"words": WORDS}, new=[sums], models={"base": model, "tuned": damaged}, kl=True, **asked)
    assert model.running is not None and damaged.running is None
    base, tuned = found.scores["models"]
    assert base["suites"]["words"]["right"] == 4 and tuned["suites"]["words"]["right"] < 4
    assert base["suites"]["new-1"]["new"] and tuned["divergence"] > 0.01
    assert json.loads((found.path / "scores.json").read_text()) == found.scores
    table = found.table().splitlines()
    assert table[0].split() == ["suite", "base", "tuned"] and str(found) == found.table()
    assert any(line.startswith("words ") and "100.0%" in line and "↓" in line for line in table)
    assert any(line.startswith("kept of the old") for line in table)
    items = list(found.items())
    assert [(item["suite"], item["item"]) for item in items] == [(s, n) for s in ("words", "new-1") for n in range(4)]
    assert items[0]["prompt"] == [{"role": "user", "content": WORDS[0]["prompt"]}]
    assert items[0]["models"]["base"] == {"text": "kitten eagle", "verdict": "right", "reason": None}
    assert [len(rows) for rows in found.answers.values()] == [8, 8]
    assert found.report(tmp_path / "page.html").holds == "2 models, 8 items" and (tmp_path / "page.html").exists()
    assert {file.name for file in found.plots(tmp_path / "plots")} == {"skills.svg", "skills.png"}


def test_a_sweep_of_what_training_returns(
    model: synth.Model, damaged: synth.Model, sums: list[dict[str, str]], tmp_path: Path
) -> None:
    """Models are taken as paths, too; plots stand beside the scores."""
    found = synth.evaluate(
        {"words": [row | {"verifier": "exact"} for row in WORDS]},
        new={"sums": sums},
        models=[f"base={model.name}", Path(damaged.name)],
        texts={"rivers": [{"text": "The longest river of Lumeria is the Swale."}]},
        text_column="text",
        output=tmp_path / "swept",
        sweep=[0.1, 0.1],
        keep=0.5,
        max_tokens=60,
        progress=synth.SILENT,
    )
    assert [model["name"] for model in found.scores["models"]] == ["base", "damaged", "0.1"]
    assert found.scores["models"][0]["perplexity"]["rivers"] < found.scores["models"][1]["perplexity"]["rivers"]
    assert found.scores["sweep"]["name"] == "0.1" and found.table().splitlines()[-1].startswith("take 0.1: ")
    assert (tmp_path / "swept" / "tradeoff.svg").exists() and "perplexity of rivers" in found.table()
    assert synth.Evaluation(tmp_path / "swept").scores == found.scores


def test_stopped_it_is_gone_on_with(
    model: synth.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A suite in memory is known by its name and its rows."""
    slow = synth.Model(model.name, engine="transformers", options=synth.engines.base.EngineOptions(concurrency=1))
    commit, committed = RunDirectory.commit, []

    def interrupted(self: RunDirectory, outcome: Outcome) -> None:
        commit(self, outcome)
        committed.append(outcome)
        if len(committed) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(RunDirectory, "commit", interrupted)
    asked: dict[str, Any] = {"models": slow, "verifier": "exact", "max_tokens": 60}
    with pytest.raises(synth.Stopped, match="run this again to continue"):
        synth.evaluate({"words": WORDS}, output=tmp_path / "scores", **asked)
    assert "in flight" in capsys.readouterr().err and slow.running is None
    assert not (tmp_path / "scores" / "scores.json").exists()
    monkeypatch.undo()
    found = synth.evaluate({"words": WORDS}, output=tmp_path / "scores", **asked)
    record = found.answers["model"].record
    assert record is not None and record.accepted == 4 and found.scores["models"][0]["suites"]["words"]["right"] == 4
    with pytest.raises(synth.UsageError, match="holds a run with other settings"):
        synth.evaluate({"words": WORDS[:3]}, output=tmp_path / "scores", **asked)
    monkeypatch.setattr(RunDirectory, "commit", interrupted)
    committed.clear()
    with pytest.raises(synth.Stopped, match="give it as `output` to continue") as ended:
        synth.evaluate({"words": WORDS}, **asked)
    monkeypatch.undo()
    kept = str(ended.value).split(" is in ")[1].split(":")[0]
    assert synth.evaluate({"words": WORDS}, output=kept, **asked).answers["model"].record is not None
    shutil.rmtree(kept)


def test_one_of_the_models_judges(model: synth.Model, damaged: synth.Model, tmp_path: Path) -> None:
    """It stays until the last answer is judged; and what it has judged is not taken for another's verdicts."""
    first = synth.Model(model.name, engine="transformers")
    asked: dict[str, Any] = {"verifier": "judge", "max_tokens": 8, "output": tmp_path / "scores"}
    asked |= {"models": {"first": first, "second": damaged}, "progress": synth.SILENT}
    found = synth.evaluate({"words": WORDS[:1]}, judge=first, **asked)
    assert [len(rows) for rows in found.answers.values()] == [1, 1] and first.running is None
    with pytest.raises(synth.UsageError, match=r"holds a run with other settings.*judge"):
        synth.evaluate({"words": WORDS[:1]}, judge=damaged, **asked)


@pytest.mark.parametrize(
    ("settings", "field", "message"),
    [
        ({}, "new", "nothing to ask"),
        ({"suites": [WORDS]}, "verifier", "nothing says how"),
        ({"suites": WORDS}, "verifier", "nothing says how"),
        ({"suites": {"a=b": WORDS}}, None, "no name for a suite"),
        ({"suites": [WORDS], "verifier": "maths"}, "verifier", "did you mean math"),
        ({"suites": [WORDS], "verifier": "none"}, "verifier", "judges nothing"),
        ({"suites": [WORDS], "verifier": VerifierSettings("none")}, "verifier", "judges nothing"),
        ({"suites": [WORDS], "verifier": "judge"}, "verifier", "needs a model that judges"),
        ({"suites": [WORDS], "verifier": "exact", "kl": True}, "kl", "compares a further model"),
        ({"suites": [WORDS], "verifier": "exact", "sweep": [0.5]}, "sweep", "say where they go"),
        ({"lm_eval": ""}, "lm_eval", "names no task"),
        ({"models": []}, "models", "names no model"),
        ({"models": {"a/b": "samples/model"}}, "models", "a name of its own"),
        ({"models": ["samples/model", "samples/model"]}, None, "two models are called model"),
        ({"texts": ["a=b.txt"]}, None, "b.txt does not exist"),
        ({"output": "scores.json"}, "output", "goes into a directory"),
    ],
)
def test_what_cannot_work_is_named(
    model: synth.Model, settings: dict[str, Any], field: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.engines.hf.engine.load_model", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(synth.UsageError, match=message) as wrong:
        synth.evaluate(**{"models": [model], **settings}, progress=synth.SILENT)
    assert wrong.value.field == field


def test_ratios_of_a_sweep(model: synth.Model, tmp_path: Path) -> None:
    for ratios in ([], [1.0], [0.5, float("nan")]):
        with pytest.raises(synth.UsageError, match="lie between 0 and 1") as wrong:
            synth.evaluate([WORDS], models=model, sweep=ratios, output=tmp_path / "swept")
        assert wrong.value.field == "sweep"
    with pytest.raises(synth.UsageError, match="give it another name"):
        synth.evaluate([WORDS], models={"0.5": model}, sweep=[0.5], output=tmp_path / "swept")
