"""Pages of evaluations and of training runs: what they say, in a browser too, and that no text of a model gets out."""

import base64
import hashlib
import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cli.main import main
from samples import skills
from synth.data.row import BASE
from synth.data.write import open_writer
from synth.errors import UsageError
from synth.evaluation.run import COLUMNS
from synth.evaluation.scores import as_json, pick, results_of
from synth.reports.build import build_report
from synth.reports.page_plots import curve_plot, loss_plot
from tests.cli.test_report import PHONE, PROBE, browser, dom
from tests.synth.reports.pages import Page

EVIL = "</script><img src=x onerror=document.title='broken'><!-- & \u2028 \u202e ]]> style=\"fill: #222222\""
SCHEMA = pa.schema([*BASE, *COLUMNS])
R, W, U = "right", "wrong", "unscorable"

OLD = {"world": ([R] * 20, [R] * 12 + [W] * 8), "tools": ([R] * 9 + [W], [R] * 8 + [W, R])}
NEW = {"sums": ([W] * 18 + [R, U], [R] * 15 + [W] * 3 + [R, U])}


def answers(model: int, suites: dict[str, Any], text: str = "") -> list[dict[str, Any]]:
    """One model's answers as an evaluation leaves them; `text` is added to all that a model wrote."""
    rows = []
    for suite, verdicts in suites.items():
        for item, verdict in enumerate(verdicts[model]):
            messages = [{"role": "user", "content": f"Question {item} of {suite}?"}]
            if verdict != U:
                messages.append({"role": "assistant", "content": f"Model {model} says {verdict} to {item}.{text}"})
            rows.append(
                {"id": f"{suite}{item}", "messages": messages, "reference": f"reference {item}{text}", "suite": suite}
                | {"item": item, "new": suite in NEW, "verdict": verdict, "verdict_reason": f"not it{text}"}
                | {"tokens": None if verdict == U else 7, "refused": False, "repetitive": model == 1 and item < 3}
                | {"cut_off": False, "language": None}
            )
    return rows


def evaluation(folder: Path, models: dict[str, list[dict[str, Any]]], change: Callable[[Any], object] = id) -> str:
    """A directory as `synth eval -o` leaves it."""
    results = []
    for name, rows in models.items():
        with open_writer(str(folder / "answers" / name), SCHEMA) as writer:
            writer.write(pa.RecordBatch.from_pylist(rows, schema=SCHEMA))
        results.append(results_of(name, f"models/{name}", rows))
    scores: dict[str, Any] = {"models": as_json(results)}
    change(scores)
    (folder / "scores.json").write_text(json.dumps(scores))
    return str(folder)


def built(source: str, page: Path) -> Page:
    build_report([source], str(page), force=True)
    found = Page(page)
    assert not re.search(r"\b(nan|inf|NaN|Infinity|None|undefined)\b", found.words)
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> str:
    def measured(scores: Any) -> None:
        for number, model in enumerate(scores["models"]):
            model["divergence"] = 0.25 if number else None
            model["perplexity"] = {"text": 11.5 + number}
            model["lm_eval"] = {"arc_easy": {"acc": 0.5 + number / 8, "acc_stderr": 0.01, "sample_len": 9}}

    folder = tmp_path_factory.mktemp("two") / "scores"
    models = {name: answers(number, OLD | NEW) for number, name in enumerate(("base", "tuned"))}
    return evaluation(folder, models, measured)


def test_verdict_table_and_transitions(two: str, tmp_path: Path) -> None:
    page = built(two, tmp_path / "page.html")
    words = page.words
    # Old: (20/20 + 9/10) / 2 = 95% before, (12/20 + 9/10) / 2 = 75% after. New: 1 of 19, then 16 of 19.
    assert "tuned kept 78.9% of the old, new task 5.3 → 84.2" in re.sub(r"\s+", " ", words)
    assert "Changed beyond chance, in points: world −40.0, sums +78.9." in words
    assert "tuned , world: 15% of the answers go round in circles (0% before)" in words
    assert re.search(r"world 100.0% 84–100 60.0% 39–78 ↓8", words)
    assert re.search(r"tools 90.0% 60–98 90.0% 60–98 ↓1 ↑1", words)
    assert "old average 95.0% 75.0% kept of the old 78.9% answers not judged 1 1" in words
    assert "KL, nats a token 0.250 perplexity of text 11.50 12.50 arc_easy acc 0.5 0.625" in words
    assert "stderr" not in words and "sample_len" not in words
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert {"#s=0&t=lost", "#s=1&t=lost", "#s=1&t=gained", "#s=2&t=gained"} < set(links)
    assert ("td", {"class": "bad", "data-label": "tuned", "title": "12 of 20 right"}) in page.tags
    assert page.text.count('<svg class="plot"') == 1 and "var(--c1)" in page.text
    assert "All 50 items." in words
    assert page.block("index-data")["models"] == ["base", "tuned"]


def test_several_models_and_a_sweep(tmp_path: Path) -> None:
    models = {name: answers(number, OLD | NEW) for name, number in (("base", 0), ("tuned", 1), ("0.5", 0))}

    def swept(scores: Any) -> None:
        scores["sweep"] = pick(scores["models"], 0.95)

    page = built(evaluation(tmp_path / "swept", models, swept), tmp_path / "page.html")
    assert "0.5 kept 100.0% of the old, new task 5.3 → 5.3" in page.words
    assert "No suite changed beyond chance." in page.words and "keep 95.0% of the old" in page.words
    assert page.text.count('<svg class="plot"') == 2
    assert page.words.count("base → ") == 2
    page = built(evaluation(tmp_path / "three", models), tmp_path / "page.html")
    assert "tuned kept 78.9%" in page.words and "0.5 kept 100.0%" in page.words


def test_one_model_and_one_without_suites(tmp_path: Path) -> None:
    page = built(evaluation(tmp_path / "one", {"base": answers(0, OLD | NEW)}), tmp_path / "page.html")
    assert "base : old suites 95.0%, new task 5.3%" in page.words and "What became" not in page.words
    none: dict[str, list[dict[str, Any]]] = {"base": [], "tuned": []}

    def harness(scores: Any) -> None:
        for model in scores["models"]:
            model["lm_eval"] = {"arc_easy": {"acc": 0.5}}
        model["lm_eval"]["boolq"] = {"acc": 0.75}  # of the last model alone

    page = built(evaluation(tmp_path / "none", none, harness), tmp_path / "page.html")
    assert (
        "arc_easy acc 0.5 0.5 boolq acc 0.75" in page.words
        and "base , tuned" in page.words
        and "Items" not in page.words
    )


def test_nothing_hostile_gets_through(tmp_path: Path) -> None:
    suites = {EVIL: OLD["world"], **NEW}

    def hostile(scores: Any) -> None:
        for model in scores["models"]:
            model["model"] = EVIL
            model["alarms"] = [EVIL]
            model["perplexity"] = {EVIL: 2.0}
            model["lm_eval"] = {EVIL: {EVIL: 0.5}}

    name = EVIL.replace("/", "")
    source = evaluation(tmp_path / "evil", {"base": answers(0, suites, EVIL), name: answers(1, suites, EVIL)}, hostile)
    page = built(source, tmp_path / "page.html")
    assert "<img" not in page.text
    tags = [tag for tag, _ in page.tags]
    assert "img" not in tags and tags.count("style") == 1
    [script] = page.scripts
    policy = next(dict(attrs)["content"] for tag, attrs in page.tags if tag == "meta" and "http-equiv" in attrs)
    assert policy is not None and base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in policy
    assert "default-src 'none'" in policy and not re.search(r"https?://|url\(|@import", script)
    assert not any(
        name in ("src", "href", "xlink:href") and not (value or "").startswith("#")
        for _, attrs in page.tags
        for name, value in attrs.items()
    )
    assert not any(name.startswith("on") for _, attrs in page.tags for name in attrs)
    assert EVIL in page.rows()[0][2][1][0]


def test_bounds_are_kept_and_said(two: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("synth.reports.items.MOST_ITEMS", 30)
    monkeypatch.setattr("synth.reports.items.BLOCK_ITEMS", 7)
    monkeypatch.setattr("synth.reports.items.TEXT_CHARS", 12)
    page = built(two, tmp_path / "page.html")
    # 8 + 2 + 15 items changed.
    assert "30 of 50 items: all 25 on which models differ, and 5 others, evenly chosen; 20 are left out." in page.words
    entries = page.rows()
    assert len(entries) == 30
    assert entries[0][2][0][0] == "Model 0 \n… 12 characters left out …\no 0."
    monkeypatch.setattr("synth.reports.items.MOST_ITEMS", 10)
    page = built(two, tmp_path / "page.html")
    assert "10 of 50 items, evenly chosen from the 25 on which models differ; 40 are left out." in page.words


def test_what_is_damaged_is_said(two: str, tmp_path: Path) -> None:
    page, copy = str(tmp_path / "page.html"), tmp_path / "copy"
    shutil.copytree(two, copy)
    with pytest.raises(UsageError, match="report it alone"):
        build_report([two, two], page)
    with pytest.raises(UsageError, match="is the input itself"):
        build_report([two], f"{two}/scores.json", force=True)
    whole = json.loads((copy / "scores.json").read_text())
    for text in ("{", "[]", '{"models": []}', '{"models": [{"suites": 1}]}'):
        (copy / "scores.json").write_text(text)
        with pytest.raises(UsageError, match=r"scores\.json is damaged .*; run synth eval again"):
            build_report([str(copy)], page)
    whole["models"][1]["name"] = "../base"
    (copy / "scores.json").write_text(json.dumps(whole))
    with pytest.raises(UsageError, match=r"a model is called '\.\./base'"):
        build_report([str(copy)], page)
    whole["models"][1]["name"] = "other"
    (copy / "scores.json").write_text(json.dumps(whole))
    made = build_report([str(copy)], page)
    assert made.notes == [f"{copy / 'answers' / 'other'} is missing: the page has no items"]
    with open_writer(str(copy / "answers" / "other"), SCHEMA) as writer:
        writer.write(pa.RecordBatch.from_pylist(answers(1, OLD), schema=SCHEMA))
    with pytest.raises(UsageError, match="answer different items"):
        build_report([str(copy)], page, force=True)


@browser
def test_items_side_by_side(two: str, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    build_report([two], str(page))
    text = dom(page, tmp_path)
    assert 'data-ready="' in text and "page is damaged" not in text and "50 items" in text
    assert text.count('<details class="row"') == 25 and text.index("right → wrong</span>") < text.index("item 20")
    text = dom(page, tmp_path, "#s=0&t=lost&q=to+13")
    assert 'data-state="done"' in text and "1 of 50 items" in text
    assert "Model 1 says wrong <mark>to</mark> <mark>13</mark>." in text
    assert "1 of 50 items" in dom(page, tmp_path, "#t=unscorable")


@browser
def test_nothing_overflows_on_a_phone(two: str, tmp_path: Path) -> None:
    build_report([two], str(tmp_path / "page.html"))
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text).replace("</head>", PROBE + "</head>")
    (tmp_path / "probed.html").write_text(text, encoding="utf-8")
    (tmp_path / "phone.html").write_text(PHONE)
    found = re.search(r'data-wide="(\d+) (\d+)"', dom(tmp_path / "phone.html", tmp_path))
    assert found is not None and found[1] == "390" and int(found[2]) <= 390


def test_a_real_training(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: object) -> str:
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert not stop.value.code, err
        return out + err

    for name, verifier in {"world": "exact", "two_step": "math"}.items():
        tasks = [
            {"prompt": prompt, "reference": answer, "verifier": verifier}
            for prompt, answer in skills.suite(name, "dev", 3)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    tasks = [{"prompt": prompt, "response": answer} for prompt, answer in skills.suite("two_step", "train", 10)]
    (tmp_path / "tasks.jsonl").write_text("".join(json.dumps(task) + "\n" for task in tasks))
    suites = ("--eval", tmp_path / "world.jsonl", "--new", tmp_path / "two_step.jsonl", "--eval-tokens", 40)
    settings = ("--batch-tokens", 400, "--steps", 3, "--device", "cpu", "--dtype", "float32", "--quiet")
    beside = ("--replay", tmp_path / "tasks.jsonl")
    run("train", tmp_path / "tasks.jsonl", "--model", model, *settings, *beside, *suites, "-o", tmp_path / "tuned")
    assert "beside them on 10 rows of replay, tasks (" in run("show", tmp_path / "tuned").replace("`", "")
    assert "3 steps → " in run("report", tmp_path / "tuned", "-o", tmp_path / "tuned.html")
    page = Page(tmp_path / "tuned.html")
    assert re.search(r"tuned kept \d+\.\d% of the old, new task", page.words)
    assert "Learning rate" in page.text and "Tokens/s" in page.text and "Gradient norm" in page.text
    assert "Loss of replay" in page.text and "Loss of the task" in page.text and "rows of tasks" in page.words
    assert "synth train " in page.words and "passes over the rows" in page.words
    told = re.search(r"epochs</dt>.*?([\d.]+)<", page.text)
    assert told and float(told[1]) > 1.2  # as many as were trained
    assert page.text.count('<svg class="plot"') == 2 and page.scripts == [] and "tasks.jsonl" in page.words


def training(folder: Path, entries: list[str], **record: Any) -> str:
    folder.mkdir()
    found = {"command": "train", "settings": {"learning_rate": 1e-5, "keep": 0.9, "lora": None}, "model": EVIL} | record
    (folder / "progress.json").write_text(json.dumps(found))
    (folder / "log.jsonl").write_text("".join(entry + "\n" for entry in entries))
    return str(folder)


def test_a_training_under_way(tmp_path: Path) -> None:
    log: list[dict[str, Any]] = [{"step": step, "loss": 2 / step} for step in range(1, 61)]
    log[40]["loss"] = float("nan")
    log[1] |= {"rate": 1e-4, "gradient": 2.5}  # as earlier releases logged them
    log[2] |= {"learning_rate": 9e-5, "grad_norm": 2.0}
    for step, old in ((0, 0.8), (60, 0.6)):
        suites = {"suites": {EVIL: old, "sums": step / 100}, "new": step / 100, "old": old, "kept": old / 0.8}
        log.append({"step": step, "evaluation": suites})
    source = training(tmp_path / "run", [*map(json.dumps, log), '{"step": 61, "lo'], reasons={EVIL: 3}, rejected=3)
    page = built(source, tmp_path / "page.html")
    assert "run kept 75.0% of the old, new task 0.0 → 60.0" in page.words
    assert "after step 60" in page.words and "The loss of 1 step is not a finite number" in page.words
    assert "step 0 0.0% 80.0% 100.0% 80.0% 0.0%" in page.words and "step 60 60.0% 60.0% 75.0%" in page.words
    assert "Learning rate" in page.text and "Gradient norm" in page.text
    assert "rate 1e-05 keep 0.9" in page.words and "lora" not in page.words
    assert "Floor of the old average" in page.words and "<img" not in page.text
    page = built(training(tmp_path / "begun", []), tmp_path / "page.html")
    assert "nothing was measured while it trained" in page.words and "No loss was logged yet." in page.words
    with pytest.raises(UsageError, match="is damaged"):
        build_report([training(tmp_path / "bad", ["[]"])], str(tmp_path / "bad.html"))


def test_a_long_loss_curve_stays_small() -> None:
    [plot] = loss_plot([(step, 1.0 + step % 7) for step in range(100_000)])
    assert len(plot) < 100_000 and "var(--soft)" in plot
    others = {"Learning rate": [(1, 1e-5), (2, 5e-6)], "Gradient norm": [(1, math.nan)], "Tokens/s": [(2, 4_000.0)]}
    [more] = loss_plot([(1, 2.0), (2, 1.0)], others)
    assert ">Learning rate<" in more and ">Tokens/s<" in more and ">Gradient norm<" not in more
    assert loss_plot([(1, float("inf"))]) == [] and curve_plot([], None) == []
