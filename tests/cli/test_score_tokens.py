"""`synth score-tokens`, as a person runs it."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
import torch
import transformers
from pyarrow import parquet

from cli.main import main
from samples import skills
from synth.chat.format import ChatFormat
from synth.data.run import directory
from synth.scoring import token_scores
from tests.cli.running import Command

Synth = Callable[..., tuple[int, str, str]]


@pytest.fixture
def synth(capfd: pytest.CaptureFixture[str]) -> Synth:
    """Run a command in this process: its exit status, and what it wrote."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, out, err

    return run


def conversations(count: int) -> list[dict[str, Any]]:
    """Tasks with answers as people write them."""
    chance = Random(5)
    rows: list[dict[str, Any]] = []
    for question, answer in skills.suite("two_step", "train", count):
        human = skills.human_answer(chance, answer, "natural")
        turns = [{"role": "user", "content": question}, {"role": "assistant", "content": human}]
        rows.append({"messages": turns, "level": len(rows) % 3})
    return rows


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    return write(tmp_path / "talks.jsonl", conversations(60))


def load(path: Path) -> list[dict[str, Any]]:
    return list(datasets.load_from_disk(str(path)))


def copy_model(model: str, path: Path, change: Callable[[Any], None]) -> str:
    """The sample model with changed weights."""
    shutil.copytree(model, path)
    changed = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    with torch.no_grad():
        change(changed)
    changed.save_pretrained(path)
    return str(path)


def test_scores_are_those_of_a_plain_forward(
    synth: Synth, model: str, chat: ChatFormat, talks: Path, tmp_path: Path
) -> None:
    status, _, err = synth("score-tokens", talks, "--model", model, "--mask-above", 2.5, "-o", tmp_path / "out")
    assert status == 0, err
    rows = load(tmp_path / "out")
    assert len(rows) == 60 and [row["level"] for row in rows] == [n % 3 for n in range(60)]
    plain = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    masked = scored = 0
    for row in rows:
        ids = row["input_ids"]
        whole = chat.encode(row["messages"])
        assert ids == whole.input_ids
        with torch.inference_mode():
            logits = plain(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        for place, (label, logprob) in enumerate(zip(row["labels"], row["logprobs"], strict=True)):
            assert (logprob is not None) == whole.trained[place]
            if logprob is None:
                assert label == -100
                continue
            expected = logits[place - 1, ids[place]].item()
            assert logprob == pytest.approx(expected, abs=1e-4)
            if abs(expected + np.log(2.5)) > 1e-3:
                assert label == (ids[place] if expected >= -np.log(2.5) else -100)
            masked += label == -100
            scored += 1
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert (record["tokens"]["masked"], record["tokens"]["scored"]) == (masked, scored)
    assert 0.1 < masked / scored < 0.5 and f"{masked:,} masked" in err
    assert "perplexity" in (tmp_path / "out" / "README.md").read_text()
    [name] = {row["scorer"] for row in rows}
    assert name.startswith(f"{model} ") and name.endswith(" assistant")


def test_scored_once_masked_often(
    synth: Synth, model: str, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert synth("score-tokens", talks, "--model", model, "-o", tmp_path / "scored")[0] == 0
    direct = tmp_path / "direct"
    assert synth("score-tokens", talks, "--model", model, "--mask-above", 2.5, "-o", direct)[0] == 0

    def no_model(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("synth.api.score_tokens.open_scorer", no_model)
    again = tmp_path / "again"
    command = ["score-tokens", tmp_path / "scored", "--model", model, "--mask-above", 2.5]
    status, _, err = synth(*command, "-o", again)
    assert status == 0 and "nothing is loaded" in err
    for one, other in zip(load(direct), load(again), strict=True):
        assert one == other
    status, table, _ = synth(*command, "--preview", "--mask-random")
    masked = json.loads((direct / "run.json").read_text())["tokens"]["masked"]
    lines = {line[:24].strip(): line.split() for line in table.splitlines()}
    assert status == 0 and lines["above 2.5"][2] == lines["above 2.5, random"][3] == str(int(masked))
    histogram = [line for line in table.splitlines() if "–" in line or line.startswith("above 1000 ")]
    assert histogram and sorted(tmp_path.iterdir()) == sorted({talks, tmp_path / "scored", direct, again})
    # another choice of tokens is another scoring
    status, _, err = synth("score-tokens", tmp_path / "scored", "--model", model, "--train-on", "all")
    assert status == 1 and "a model was loaded" in err


def test_a_share_of_the_whole_corpus_with_its_controls(synth: Synth, model: str, talks: Path, tmp_path: Path) -> None:
    counts = {}
    with talks.open("a") as file:
        file.write(json.dumps({"messages": [{"role": "user", "content": "And?"}]}) + "\n")
    common = ["score-tokens", talks, "--model", model, "--mask-hardest", "20%", "--mask-over", "corpus"]
    for control in ("", "--mask-easiest", "--mask-random"):
        out = tmp_path / f"out{control}"
        assert synth(*common, *([control] if control else []), "--protect", "end-of-turn", "-o", out)[0] == 0
        rows = load(out)
        assert [row["reason"] for row in load(out / "rejected")] == ["no assistant turn to train on"] and len(
            rows
        ) == 60
        scored = [value for row in rows for value in row["logprobs"] if value is not None]
        taken = [
            value
            for row in rows
            for value, label in zip(row["logprobs"], row["labels"], strict=True)
            if value is not None and label == -100
        ]
        assert len(taken) == int(0.2 * len(scored) + 0.5)
        counts[control] = sum(taken) / len(taken)
        assert json.loads((out / "run.json").read_text())["source"].endswith("talks.jsonl")
    assert counts[""] < counts["--mask-random"] < counts["--mask-easiest"] <= 0
    assert not list(tmp_path.glob("*.scores"))
    status, _, err = synth(*common, "--protect", "end-of-turn", "-o", tmp_path / "out")
    assert status == 0 and "already holds 60 rows" in err and not list(tmp_path.glob("*.scores"))
    status, lines, _ = synth(*common, "--quiet")
    assert status == 0 and len(lines.splitlines()) == 60


def test_rows_that_cannot_be_trained_on_are_kept_with_the_reason(
    synth: Synth, model: str, talks: Path, tmp_path: Path
) -> None:
    def user(text: str) -> dict[str, str]:
        return {"role": "user", "content": text}

    def assistant(text: str) -> dict[str, str]:
        return {"role": "assistant", "content": text}

    rows: list[dict[str, Any]] = [
        {"messages": [user("What is 1 + 1?"), assistant("1 + 1 = 2. The answer is 2.")]},
        {"messages": None},
        {"messages": [user("And now?")]},
        {"messages": [user("Hi <|end|><|assistant|>there"), assistant("Yes.")]},
        {"messages": [user("Go on."), assistant("so it goes, " * 200)]},
        {"messages": [user("What is 3 + 1?"), assistant("3 + 1 = 4. The answer is 4."), user("Sure?")]},
        {"messages": [user("xyz"), assistant("Qq")]},
    ]
    source = write(tmp_path / "rows.jsonl", [{"n": n, **row} for n, row in enumerate(rows)])
    out = tmp_path / "out"
    command = ["score-tokens", source, "--model", model, "--mask-above", 1.5, "--max-length", 256]
    status, _, err = synth(*command, "-o", out)
    assert status == 0, err
    assert [row["n"] for row in load(out)] == [0, 5]
    rejected = {row["n"]: row["reason"] for row in load(out / "rejected")}
    assert rejected.keys() == {1, 2, 3, 4, 6}
    assert (
        rejected[1] == "no conversation: there is nothing in 'messages'"
        and rejected[2] == "no assistant turn to train on"
    )
    assert "control token" in rejected[3] and rejected[4].startswith("overlong: ")
    assert rejected[6].startswith("nothing left to train on: all ")
    command = ["score-tokens", source, "--model", model, "--max-length", 256]
    assert synth(*command, "--overlong", "window", "-o", tmp_path / "windows")[0] == 0
    long = next(row for row in load(tmp_path / "windows") if row["n"] == 4)
    assert len(long["input_ids"]) > 512 and long["logprobs"][-1] is not None
    assert synth(*command, "--overlong", "truncate", "-o", tmp_path / "cut")[0] == 0
    assert next(len(row["input_ids"]) for row in load(tmp_path / "cut") if row["n"] == 4) == 256


def test_columns_of_other_people_keep_their_values(synth: Synth, model: str, tmp_path: Path) -> None:
    rows = conversations(2)
    table = pa.table(
        {
            "messages": [row["messages"] for row in rows],
            "input_ids": [[1, 2], [3]],
            "labels": ["good", "bad"],
            "logprobs": [0.5, None],
        }
    )
    parquet.write_table(table, tmp_path / "theirs.parquet")
    status, out, err = synth("score-tokens", tmp_path / "theirs.parquet", "--model", model)
    assert status == 0, err
    found = [json.loads(line) for line in out.splitlines()]
    assert [row["input_labels"] for row in found] == ["good", "bad"]
    assert [row["input_input_ids"] for row in found] == [[1, 2], [3]]
    assert found[0]["input_logprobs"] == 0.5 and len(found[0]["input_ids"]) == len(found[0]["labels"]) > 20


def test_an_answer_is_protected(synth: Synth, model: str, chat: ChatFormat, talks: Path, tmp_path: Path) -> None:
    command = ["score-tokens", talks, "--model", model, "--mask-hardest", 0.99, "--protect", "answer"]
    status, _, err = synth(*command, "-o", tmp_path / "none")
    assert status == 2 and "synth verify" in err
    assert synth("verify", talks, "--verifier", "math", "-o", tmp_path / "verified")[0] == 0
    command[1] = tmp_path / "verified"
    assert synth(*command, "-o", tmp_path / "out")[0] == 0
    rows = load(tmp_path / "out")
    assert len(rows) == 60
    for row in rows:
        kept = [token for token in row["labels"] if token != -100]
        assert row["answer"] in chat.tokenizer.decode(kept)


TEXTS: list[dict[str, Any]] = [{"text": "2 + 2 = 4."}, {"text": ""}, {"text": "Hi <|end|> you"}, {"text": None}]


@pytest.mark.parametrize("column", ["text", "body"])
def test_plain_texts(synth: Synth, model: str, tmp_path: Path, column: str) -> None:
    source = write(tmp_path / "texts.jsonl", [{column: row["text"]} for row in TEXTS])
    named = [] if column == "text" else ["--text-column", column]
    command = ["score-tokens", source, "--model", model, *named]
    assert synth(*command, "-o", tmp_path / "out")[0] == 0
    rows = load(tmp_path / "out")
    assert [row[column] for row in rows] == ["2 + 2 = 4.", "Hi <|end|> you"]
    assert all(row["logprobs"][0] is None and None not in row["logprobs"][1:] for row in rows)
    assert all(row["labels"] == [-100, *row["input_ids"][1:]] for row in rows)
    assert [row["reason"] for row in load(tmp_path / "out" / "rejected")] == ["empty text"] * 2
    assert synth(*command, "--train-on", "all", "-o", tmp_path / "out")[0] == 0  # the same, said otherwise


def test_plain_texts_among_conversations(synth: Synth, model: str, tmp_path: Path) -> None:
    talk: dict[str, Any] = {
        "messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}],
        "text": "4?",
    }
    source = write(tmp_path / "both.jsonl", [talk, {"messages": [], "text": "2 + 2 = 4."}, {"messages": None}])
    assert synth("score-tokens", source, "--model", model, "-o", tmp_path / "out")[0] == 0
    spoken, text = load(tmp_path / "out")
    assert None in spoken["logprobs"][1:] and None not in text["logprobs"][1:]


def test_a_mask_over_plain_texts(synth: Synth, model: str, tmp_path: Path) -> None:
    source = write(tmp_path / "texts.jsonl", TEXTS)
    scored, masked = tmp_path / "scored", tmp_path / "masked"
    assert synth("score-tokens", source, "--model", model, "-o", scored)[0] == 0
    options = ["--model", model, "--mask-hardest", "30%", "--mask-over", "corpus", "--protect", "end-of-turn"]
    status, _, err = synth("score-tokens", scored, *options, "-o", masked)
    assert status == 0 and "scored before" in err
    rows = load(masked)
    assert [row["text"] for row in rows] == [row["text"] for row in load(scored)]
    assert all(row["labels"][-1] == row["input_ids"][-1] for row in rows)  # the end of sequence
    assert sum(label == -100 for row in rows for label in row["labels"][1:]) > 0


def test_rephrased_texts_are_scored(synth: Synth, model: str, tmp_path: Path) -> None:
    source = write(tmp_path / "pages.jsonl", [{"text": "Numbers such as 3 and 4 make 7. People count them."}] * 2)
    engine = ["--model", model, "--engine", "transformers", "--device", "cpu", "--max-tokens", 32]
    assert synth("rephrase", source, *engine, "--originals", "1:1", "-o", tmp_path / "rephrased")[0] == 0
    texts = load(tmp_path / "rephrased")
    assert synth("score-tokens", tmp_path / "rephrased", "--model", model, "-o", tmp_path / "scored")[0] == 0
    rows = load(tmp_path / "scored")
    assert [row["text"] for row in rows] == [row["text"] for row in texts] and len(rows) > 1
    assert all(None not in row["logprobs"][1:] for row in rows)


def test_prepared_tokens_are_scored_where_their_labels_train(
    synth: Synth, model: str, talks: Path, tmp_path: Path
) -> None:
    prepared, scored = tmp_path / "prepared", tmp_path / "scored"
    assert synth("lamol", "--prepare", talks, "--model", model, "--limit", 3, "-o", prepared)[0] == 0
    assert synth("score-tokens", prepared, "--model", model, "-o", scored)[0] == 0
    before, after = load(prepared), load(scored)
    assert len(after) == 3
    for one, two in zip(before, after, strict=True):
        assert (one["input_ids"], one["labels"]) == (two["input_ids"], two["labels"])
        assert [value is not None for value in two["logprobs"]] == [label != -100 for label in two["labels"]]
    status, _, err = synth("score-tokens", scored, "--model", model, "--mask-above", 1.5, "-o", tmp_path / "masked")
    assert status == 0 and "scored before" in err
    strange = [row | {"input_ids": [10**6] * len(row["input_ids"])} for row in before]
    source = write(tmp_path / "strange.jsonl", strange)
    status, _, err = synth("score-tokens", source, "--model", model, "-o", tmp_path / "none")
    assert load(tmp_path / "none" / "rejected")[0]["reason"] == "labels that are not its tokens"


def test_another_scorer(synth: Synth, model: str, talks: Path, tmp_path: Path) -> None:
    def disturb(changed: Any) -> None:
        changed.model.layers[0].mlp.down_proj.weight.mul_(1.5)

    other = copy_model(model, tmp_path / "other", disturb)
    assert synth("score-tokens", talks, "--model", model, "-o", tmp_path / "own")[0] == 0
    assert synth("score-tokens", talks, "--model", model, "--scorer", other, "-o", tmp_path / "others")[0] == 0
    own, others = load(tmp_path / "own"), load(tmp_path / "others")
    assert [row["input_ids"] for row in own] == [row["input_ids"] for row in others]
    assert all(one["logprobs"] != two["logprobs"] for one, two in zip(own, others, strict=True))
    assert others[0]["scorer"].startswith(other)


def test_a_broken_model_ends_the_run(synth: Synth, model: str, talks: Path, tmp_path: Path) -> None:
    broken = copy_model(model, tmp_path / "broken", lambda changed: changed.model.norm.weight.fill_(float("nan")))
    status, _, err = synth("score-tokens", talks, "--model", broken, "-o", tmp_path / "out")
    assert status == 1 and "the model is broken" in err and not (tmp_path / "out").exists()


def test_tokenizer_and_model_that_do_not_go_together(
    synth: Synth, model: str, talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_weights(*_: object, **__: object) -> None:
        raise AssertionError("weights were loaded")

    small = tmp_path / "small"
    shutil.copytree(model, small)
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"vocab_size": 100}))
    monkeypatch.setattr("synth.engines.hf.engine.load_model", no_weights)
    status, _, err = synth("score-tokens", talks, "--model", small, "-o", tmp_path / "out")
    assert status == 2 and "disagree" in err and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--mask-above", 2.5, "--mask-hardest", "20%"], "two ways"),
        (["--mask-hardest", "20"], "write 20%"),
        (["--mask-hardest", "much"], "no share"),
        (["--mask-random"], "as many tokens"),
        (["--mask-above", 2.5, "--mask-random", "--mask-easiest"], "two controls"),
        (["--protect", "everything"], "unknown"),
        (["--engine", "vllm"], "vllm in process"),
        (["--max-length", 100_000], "window"),
        (["--scorer", "no/such/model"], "no such directory"),
    ],
)
def test_bad_settings_fail_at_once(
    synth: Synth, model: str, talks: Path, tmp_path: Path, options: list[object], words: str
) -> None:
    status, _, err = synth("score-tokens", talks, "--model", model, *options, "-o", tmp_path / "out")
    assert status == 2 and words in err and not (tmp_path / "out").exists()


def in_small_steps(arguments: list[str]) -> None:
    """A command that lets rows land after every block, of which it takes many."""
    directory.BATCH_SECONDS, token_scores.BLOCK_ROWS, token_scores.BLOCK_SECONDS = 0.0, 128, 0.05
    main(arguments)


def test_killed_and_continued(synth: Synth, model: str, tmp_path: Path) -> None:
    source = write(tmp_path / "many.jsonl", conversations(400) * 3)
    command = ["score-tokens", source, "--model", model, "--mask-hardest", "20%", "--mask-random"]
    status, _, err = synth(*command, "-o", tmp_path / "whole")
    assert status == 0, err
    for number in (signal.SIGKILL, signal.SIGINT):
        before = len(list((tmp_path / "out").glob("data-*.arrow")))
        with Command(*command, "-o", tmp_path / "out", program=in_small_steps) as run:
            while len(list((tmp_path / "out").glob("data-*.arrow"))) < before + 2 and run.is_alive():
                time.sleep(0.02)
            os.kill(run.pid, number)
            assert run.wait() == (-signal.SIGKILL if number == signal.SIGKILL else 1)
        assert not (tmp_path / "out" / "run.json").exists()
    status, _, err = synth(*command, "-o", tmp_path / "out")
    assert status == 0, err
    whole, parts = load(tmp_path / "whole"), load(tmp_path / "out")
    assert [row["id"] for row in parts] == [row["id"] for row in whole] and len(whole) == 1_200
    assert all(one["labels"] == two["labels"] for one, two in zip(whole, parts, strict=True))
    for one, two in zip(whole, parts, strict=True):
        np.testing.assert_allclose(
            np.array(one["logprobs"], float), np.array(two["logprobs"], float), atol=1e-4, equal_nan=True
        )
    counts = [json.loads((tmp_path / name / "run.json").read_text())["tokens"]["scored"] for name in ("whole", "out")]
    assert counts[0] == counts[1]
