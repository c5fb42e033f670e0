import importlib.util
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cli.main import main
from samples import skills
from synth.data.read import open_source
from tests.cli.running import Command, start_and_kill

Run = Callable[..., tuple[int, str, str]]
FAST = ("--engine", "transformers", "--device", "cpu", "--max-tokens", 80)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object, command: str = "eval") -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main([command, *map(str, arguments)])
        out, err = capfd.readouterr()
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def suites(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two old suites and a new one, 12 items each."""
    folder = tmp_path_factory.mktemp("suites")
    for name, verifier in {"world": "exact", "tools": "json", "two_step": "math"}.items():
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as lines:
            for prompt, answer in skills.suite(name, "dev", 12):
                lines.write(json.dumps({"prompt": prompt, "reference": answer, "verifier": verifier}) + "\n")
    return folder


@pytest.fixture(scope="module")
def damaged(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sample model after noise on its weights: it has forgotten something of everything."""
    folder = tmp_path_factory.mktemp("models") / "damaged"
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    chance = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for weight in loaded.parameters():
            weight += 0.03 * torch.randn(weight.shape, generator=chance)
    loaded.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)
    return str(folder)


def test_one_model(run: Run, suites: Path, model: str) -> None:
    status, out, err = run(suites / "world.jsonl", "--model", model, *FAST)
    assert status == 0
    assert "world: 12 items, judged by exact" in err
    assert "world" in out and "100.0%  76–100" in out and "kept" not in out


def test_what_could_not_be_judged_is_told_with_the_reason(run: Run, model: str, tmp_path: Path) -> None:
    long = {"prompt": "word " * 2_000, "reference": "x", "verifier": "exact"}
    (tmp_path / "long.jsonl").write_text(json.dumps(long))
    status, out, _ = run(tmp_path / "long.jsonl", "--model", model, *FAST)
    assert status == 0
    assert "model: 1 answers of long could not be judged: not asked: the prompt has" in out


def test_two_models_and_all_that_is_measured(run: Run, suites: Path, model: str, damaged: str, tmp_path: Path) -> None:
    text = tmp_path / "text.jsonl"
    text.write_text(json.dumps({"text": "The longest river of Lumeria is the Swale."}) + "\n")
    old = (suites / "world.jsonl", suites / "tools.jsonl")
    options = (*old, "--new", suites / "two_step.jsonl", "--model", f"base={model}", "--model", damaged, *FAST)
    measures = ("--kl", "--text", f"text={text}", "--text-column", "text", "-o", tmp_path / "scores")
    status, out, _ = run(*options, *measures)
    assert status == 0
    assert "two_step (new)" in out and "old average" in out and "kept of the old" in out
    assert "KL, nats a token" in out and "perplexity of text" in out and "↓" in out
    base, tuned = json.loads((tmp_path / "scores" / "scores.json").read_text())["models"]
    assert (base["name"], tuned["name"], base["kept"]) == ("base", "damaged", None)
    world = tuned["suites"]["world"]
    moved = world["transitions"]
    assert sum(moved.values()) == 12 and moved["lost"] > 0
    assert world["right"] == moved["kept"] + moved["gained"] == round(world["accuracy"] * 12)
    averages = [sum(model["suites"][name]["accuracy"] for name in ("world", "tools")) / 2 for model in (base, tuned)]
    assert tuned["kept"] == pytest.approx(averages[1] / averages[0]) and tuned["kept"] < 0.9
    assert tuned["divergence"] > 0.05 and tuned["perplexity"]["text"] > base["perplexity"]["text"]
    assert "<svg" in (tmp_path / "scores" / "skills.svg").read_text()
    assert (tmp_path / "scores" / "skills.png").read_bytes().startswith(b"\x89PNG")
    rows = [
        row
        for batch in open_source(str(tmp_path / "scores" / "answers" / "damaged")).batches()
        for row in batch.to_pylist()
    ]
    assert len(rows) == 36 and {row["suite"] for row in rows} == {"world", "tools", "two_step"}
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "scores" / "answers").rglob("*.arrow")}
    status, _, err = run(*options, *measures[3:], *measures[:3])
    assert status == 0 and "tokens/s out" not in err  # nothing is asked twice
    assert {file: file.stat().st_mtime_ns for file in before} == before
    status, _, err = run(*options, "--limit", 5, "-o", tmp_path / "scores")
    assert status == 2 and "holds a run with other settings" in err


def test_an_answer_that_cannot_be_encoded_is_left_out_of_the_divergence(
    run: Run, suites: Path, model: str, damaged: str, tmp_path: Path
) -> None:
    """The first model's answer holds a control token as text, as answers of models do."""
    options = ("--new", suites / "two_step.jsonl", "--limit", 3, "--model", f"base={model}", "--model", damaged, *FAST)
    assert run(*options, "-o", tmp_path / "scores")[0] == 0
    answers = tmp_path / "scores" / "answers" / "base"
    [shard] = answers.glob("*.arrow")
    with pa.memory_map(str(shard)) as file:
        table = pa.ipc.open_stream(file).read_all()
    rows = table.to_pylist()
    rows[1]["messages"][-1]["content"] += "<|user|>And now?"
    with pa.OSFile(str(shard), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
        out.write_table(pa.Table.from_pylist(rows, table.schema))
    status, out, err = run(*options, "-o", tmp_path / "scores", "--kl")
    assert status == 0 and "1 answers of base are left out of the KL: " in err and "along 2 of its answers" in err
    assert "KL, nats a token" in out


@pytest.mark.parametrize("size", [511, 512, 513, 1500])
def test_texts_of_any_length_are_scored_whole(run: Run, model: str, tmp_path: Path, size: int) -> None:
    """A text as long as the window, and longer ones, equal what score-tokens finds."""
    tokenizer = AutoTokenizer.from_pretrained(model)
    words = " ".join(f"{number} plus {number + 2} is {2 * number + 2}." for number in range(200))
    text = tokenizer.decode(tokenizer.encode(words, add_special_tokens=False)[: size - 1])
    rows = [{"text": text}, {"text": "Short."}, {"text": None}]
    (tmp_path / "words.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = ("--text-column", "text", "--model", model)
    status, out, err = run("--text", tmp_path / "words.jsonl", *source, "--json", *FAST)
    assert status == 0 and "1 rows of words are left out of its perplexity" in err
    found = json.loads(out)["models"][0]["perplexity"]["words"]
    scores = tmp_path / "scores.jsonl"
    score = ("--overlong", "window", "--device", "cpu", "-o", scores)
    assert run(tmp_path / "words.jsonl", *source, *score, command="score-tokens")[0] == 0
    logprobs = [value for line in scores.open() for value in json.loads(line)["logprobs"] if value is not None]
    assert len(logprobs) >= size - 2
    assert found == pytest.approx(math.exp(-sum(logprobs) / len(logprobs)), rel=1e-4)


def test_json_on_standard_output(run: Run, suites: Path, model: str) -> None:
    status, out, err = run(suites / "world.jsonl", "--model", model, *FAST, "--limit", 3, "--json", "--quiet")
    assert status == 0 and err == ""
    assert json.loads(out)["models"][0]["suites"]["world"]["right"] == 3


def test_a_sweep(run: Run, suites: Path, model: str, damaged: str, tmp_path: Path) -> None:
    options = ("--model", f"base={model}", "--model", damaged, "--sweep", "0.1,0.5", "-o", tmp_path / "swept", *FAST)
    status, out, _ = run(suites / "world.jsonl", "--new", suites / "two_step.jsonl", *options)
    assert status == 0 and "take 0.1: " in out
    scores = json.loads((tmp_path / "swept" / "scores.json").read_text())
    assert [model["name"] for model in scores["models"]] == ["base", "damaged", "0.1", "0.5"]
    assert (Path(scores["sweep"]["model"]) / "model.safetensors").exists()
    assert (tmp_path / "swept" / "tradeoff.svg").exists()
    # the same ratios of another tuned model are not what is there
    merged = tmp_path / "swept" / "merged" / "0.5" / "model.safetensors"
    before = merged.read_bytes()
    status, _, err = run(suites / "world.jsonl", "--new", suites / "two_step.jsonl", *options)
    assert status == 0 and merged.read_bytes() == before and "merging" not in err
    other = tmp_path / "other"
    shutil.copytree(damaged, other)
    loaded = AutoModelForCausalLM.from_pretrained(other, dtype=torch.float32)
    with torch.no_grad():
        loaded.model.layers[2].mlp.up_proj.weight += 0.1  # in the middle of the file
    loaded.save_pretrained(other)
    changed = [other if argument == damaged else argument for argument in options]
    status, _, err = run(suites / "world.jsonl", "--new", suites / "two_step.jsonl", *changed)
    assert status == 2 and "was made of other models" in err and merged.read_bytes() == before
    # a merge that is refused, or that breaks off, takes nothing away
    (other / "model.safetensors").rename(other / "elsewhere")
    status, _, err = run(suites / "world.jsonl", "--new", suites / "two_step.jsonl", *changed, "--restart")
    assert status == 2 and "holds no weights" in err and merged.read_bytes() == before
    (other / "elsewhere").rename(other / "model.safetensors")
    status, _, _ = run(suites / "world.jsonl", "--new", suites / "two_step.jsonl", *changed, "--restart")
    assert status == 0 and merged.read_bytes() != before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "nothing to ask"),
        (("nowhere.jsonl",), "nowhere.jsonl does not exist"),
        (("WORLD", "--verifier", "maths"), "did you mean"),
        (("WORLD", "--kl"), "--kl compares"),
        (("WORLD", "--sweep", "0.5"), "say where they go"),
        (("WORLD", "--sweep", "0.5", "-o", "out"), "--sweep is between two models"),
        (("WORLD", "--sweep", "", "-o", "out"), "ratios lie between 0 and 1"),
        (("WORLD", "--sweep", "0.2,,0.4", "-o", "out"), "ratios lie between 0 and 1"),
        (("WORLD", "--sweep", "0.5,1", "-o", "out"), "ratios lie between 0 and 1"),
        (("WORLD", "--sweep", "nan", "-o", "out"), "ratios lie between 0 and 1"),
        (("WORLD", "--model", "samples/model"), "two models are called model"),
        (("WORLD", "--verifier", "judge"), "--judge"),
        (("WORLD", "--verifier", "number"), "judges none of the first 12 references"),
        (("WORLD", "--text", "nowhere.txt"), "nowhere.txt does not exist"),
        (("--text", "WORLD", "--text-column", "nowhere"), "no column of texts 'nowhere'"),
    ],
)
def test_bad_settings_are_found_before_a_model_is_loaded(
    run: Run, suites: Path, model: str, options: tuple[str, ...], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.engines.hf.engine.load_model", lambda *_: pytest.fail("a model was loaded"))
    named = [str(suites / "world.jsonl") if option == "WORLD" else option for option in options]
    status, _, err = run(*named, "--model", model, *FAST)
    assert status == 2 and message in err


def test_lm_eval_where_it_is_missing(run: Run, model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *at: None if name == "lm_eval" else found(name, *at))
    status, _, err = run("--lm-eval", "arc_easy", "--model", model, *FAST)
    assert status == 2 and "pip install lm-eval" in err


def test_a_task_of_lm_eval(model: str, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"q": f"{n} + 1", "good": f" {n + 1}"}) + "\n" for n in range(3)))
    task = tmp_path / "sums.yaml"
    task.write_text(
        f"task: sums\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {rows}}}}}\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: '{{q}} ='\ndoc_to_choice: ['{{good}}', ' apple']\n"
        "doc_to_target: 0\nmetric_list: [{metric: acc}]\n"
    )
    with Command("eval", "--lm-eval", task, "--model", model, *FAST, "-o", tmp_path / "scores") as process:
        assert process.wait() == 0, process.said
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    assert 0 <= scores["models"][0]["lm_eval"]["sums"]["acc"] <= 1


def test_killed_and_continued(run: Run, suites: Path, model: str, tmp_path: Path) -> None:
    options = (suites / "world.jsonl", suites / "tools.jsonl", "--model", model, *FAST, "--concurrency", 1)
    out = tmp_path / "out"
    journal = out / "answers" / "model" / "journal.jsonl"
    start_and_kill(["eval", *options, "-o", out], journal, rows=5)
    status, said, err = run(*options, "-o", out)
    assert status == 0 and "100.0%" in said, err
    rows = [row for batch in open_source(str(journal.parent)).batches() for row in batch.to_pylist()]
    assert [(row["suite"], row["item"]) for row in rows] == [(s, n) for s in ("world", "tools") for n in range(12)]


def test_a_hybrid_model_is_asked_in_both_modes(run: Run, suites: Path, hybrid: str, tmp_path: Path) -> None:
    """Obeying the switch is among the old abilities; the page has it, too."""
    command = (
        "--model",
        f"before={hybrid}",
        "--model",
        f"after={hybrid}",
        *FAST,
        "--limit",
        3,
        "-o",
        tmp_path / "scores",
    )
    status, out, err = run(suites / "world.jsonl", "--new", suites / "two_step.jsonl", *command, "--kl")
    assert status == 0, err
    assert "before can think before it answers, or not: all is asked in both modes (--mode takes one)" in err
    for name in ("two_step, thinking (new)", "two_step, plain (new)", "world, thinking", "world, plain"):
        assert name in out
    assert "thinks if asked to" in out and "answers at once if asked to" in out and "tokens of thoughts, median" in out
    first, second = json.loads((tmp_path / "scores" / "scores.json").read_text())["models"]
    assert first["modes"]["thinking"]["accuracy"] == 1 and first["modes"]["thinking"]["thought_tokens"] > 3
    assert first["modes"]["plain"]["accuracy"] == 1 and first["modes"]["plain"]["thought_tokens"] == 0
    assert second["kept"] == 1 and second["divergence"] == pytest.approx(0, abs=1e-6)
    batches = open_source(str(tmp_path / "scores" / "answers" / "before")).batches()
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert {row["mode"] for row in rows} == {"thinking", "plain"}
    assert all(bool(row["messages"][-1]["reasoning_content"]) is (row["mode"] == "thinking") for row in rows)
    status, _, err = run(tmp_path / "scores", "-o", tmp_path / "page.html", command="report")
    assert status == 0, err
    page = (tmp_path / "page.html").read_text()
    assert "thinks if asked to" in page and "tokens of thoughts, median" in page


def test_one_mode_alone(run: Run, suites: Path, model: str, hybrid: str) -> None:
    status, out, err = run(suites / "world.jsonl", "--model", hybrid, *FAST, "--limit", 2, "--mode", "plain")
    assert status == 0 and "in both modes" not in err
    assert "world " in out and "answers at once if asked to" in out and "thinks if" not in out
    status, _, err = run(suites / "world.jsonl", "--model", model, *FAST, "--mode", "thinking")
    assert status == 2 and "the chat template of model has no mode thinking" in err
    status, _, err = run(suites / "world.jsonl", "--model", model, *FAST, "--mode", "deep")
    assert status == 2 and "'deep' is not one of 'thinking', 'plain', 'both'" in err
