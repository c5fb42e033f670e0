import io
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from synth.chat.format import ChatFormat
from synth.reports.terminal.rows import Signs
from tests.cli.running import SYNTH
from tests.conftest import Here


def test_rows_with_control_characters_made_harmless(here: Here, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    rows = [
        {
            "id": f"row{number}",
            "messages": [
                {"role": "user", "content": "Why?\nReally \x1b[31mred\x1b]0;title\x07?"},
                {"role": "assistant", "content": "[bold]Because[/bold] \u202eevil"},
            ],
        }
        for number in range(4)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = here("show", file, "-n", "2")
    assert done.returncode == 0, done.stderr
    assert "row1" in done.stdout and "row2" not in done.stdout
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout and "\u202e" not in done.stdout
    assert "\\x1b[31mred" in done.stdout and "\\u202eevil" in done.stdout
    assert "[bold]Because[/bold]" in done.stdout


def test_parts_of_turns(here: Here, tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "look_up", "arguments": '{"city": "Oslo\\u001b"}'}}
    called = {"role": "assistant", "content": "", "reasoning_content": "A call. " * 99, "tool_calls": [call]}
    turns = [{"role": "user", "content": "Rain?"}, called, {"role": "tool", "content": "No.", "name": "look_up"}]
    tools = [{"type": "function", "function": {"name": name}} for name in ("look_up", "add")]
    file = tmp_path / "rows.jsonl"
    row = {"messages": [*turns, {"role": "assistant", "content": "It is dry."}], "mode": "thinking", "tools": tools}
    file.write_text(json.dumps(row) + "\n")
    done = here("show", file)
    assert "mode thinking · tools look_up, add" in done.stdout
    names = [line[:12].strip() for line in done.stdout.splitlines()[1:] if line[:12].strip()]
    assert names == ["user", "thoughts", "calls", "tool look_up", "assistant"], done.stdout
    assert "… 291 more characters" in done.stdout and 'look_up({"city": "Oslo\\u001b"})' in done.stdout


def test_missing_input_is_one_line(here: Here, tmp_path: Path) -> None:
    done = here("show", str(tmp_path / "none.jsonl"))
    assert done.returncode == 2 and "none.jsonl" in done.stderr and "Traceback" not in done.stderr


def scored(chat: ChatFormat, model: str, answer: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": answer}]
    whole = chat.encode(turns)
    places = [place for place, flag in enumerate(whole.trained) if flag]
    logprobs: list[float | None] = [None] * len(whole.input_ids)
    for number, place in enumerate(places):
        logprobs[place] = -0.01 if number else -9.0
    labels = [token if flag else -100 for token, flag in zip(whole.input_ids, whole.trained, strict=True)]
    labels[places[1]] = -100
    return {
        "messages": turns,
        "input_ids": whole.input_ids,
        "labels": labels,
        "logprobs": logprobs,
        "scorer": f"{model} abc assistant",
    }


def test_scored_rows_are_heat_maps(here: Here, chat: ChatFormat, model: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(scored(chat, model, "It is 4.")) + "\n")
    environment = os.environ | {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "COLUMNS": "200"}
    done = subprocess.run([*SYNTH, "show", str(file)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "masked" in done.stdout and "perplexity" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "<|user|>" in line)
    assert "\x1b[2m<|user|>\x1b[0m" in line  # dim: not scored
    assert "48;2;192;0;0m" in line  # the hardest
    assert "⟦" in line and "⟧" in line and "\x1b[9m" not in line  # masked, and legible
    bare = here("show", file)  # no colours
    assert "⟦" in bare.stdout and "no colours here" in bare.stdout
    plain = here("show", file, "--plain")
    assert "<|user|>" not in plain.stdout and "It is 4." in plain.stdout


def test_a_terminal_of_few_letters_has_signs_of_its_own() -> None:
    narrow = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), force_terminal=True, color_system=None)
    signs = Signs(narrow)
    assert (signs.opening, signs.closing) == ("[[", "]]") and signs.legend().plain.isascii()


def test_scores_whose_tokenizer_is_missing_are_shown_as_conversations(
    here: Here, chat: ChatFormat, model: str, tmp_path: Path
) -> None:
    row = scored(chat, model, "It is 4.") | {"scorer": "/no/such/model abc assistant"}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    done = here("show", file)
    assert done.returncode == 0 and "It is 4." in done.stdout and "--model" in done.stderr
    again = here("show", file, "--model", model)
    assert "<|user|>" in again.stdout


def shown(here: Here, tmp_path: Path, row: dict[str, Any], width: int = 100) -> str:
    file = tmp_path / "shown.jsonl"
    file.write_text(json.dumps(row) + "\n")
    began = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        done = here("show", file)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 60  # minutes before anything was bounded
    return done.stdout


ASKED = {"role": "user", "content": "Why?"}
GOOD, POOR = {"role": "assistant", "content": "So."}, {"role": "assistant", "content": "No."}


@pytest.mark.parametrize(
    "pair",
    [
        {"prompt": [ASKED], "chosen": [GOOD], "rejected": [POOR]},
        {"prompt": "Why?", "chosen": "So.", "rejected": "No."},
        {"prompt": "Why?", "chosen": [ASKED, GOOD], "rejected": [ASKED, POOR]},
        {"chosen": [ASKED, GOOD], "rejected": [ASKED, POOR]},
        {
            "conversations": [{"from": "human", "value": "Why?"}],
            "chosen": {"from": "gpt", "value": "So."},
            "rejected": {"from": "gpt", "value": "No."},
        },
    ],
)
def test_pairs_stand_beside_each_other(here: Here, tmp_path: Path, pair: dict[str, Any]) -> None:
    lines = [line.split() for line in shown(here, tmp_path, pair | {"score": 3}).splitlines()]
    assert lines == [["score", "3"], ["user", "Why?"], ["chosen", "So.", "rejected", "No."]]
    assert [line.split() for line in shown(here, tmp_path, pair, width=60).splitlines()][-2:] == [
        ["chosen", "So."],
        ["rejected", "No."],
    ]


def test_plain_texts_are_shown(here: Here, tmp_path: Path) -> None:
    assert shown(here, tmp_path, {"text": "It was dark."}).split() == ["text", "It", "was", "dark."]
    long = {"id": "a", "messages": [], "text": "word " * 500, "reference": "x"}
    assert "word word" in shown(here, tmp_path, long)


def test_what_is_drawn_is_bounded(here: Here, tmp_path: Path) -> None:
    talk = {"messages": [ASKED, GOOD]}
    wide = shown(here, tmp_path, talk | {f"key{number}": "v" * (number % 50) for number in range(20_000)})
    assert "19,961 more" in wide and len(wide) < 10_000 and "So." in wide
    long = shown(here, tmp_path, {"messages": [ASKED | {"content": "Why is it " * 3_000_000}, GOOD]})
    assert "more characters" in long and len(long) < 50_000 and "So." in long
    many = shown(here, tmp_path, {"messages": [ASKED, GOOD] * 50_000})
    assert "99,900 more turns" in many


def test_what_is_no_data_set(here: Here, tmp_path: Path) -> None:
    tuned = tmp_path / "tuned"
    tuned.mkdir()
    (tuned / "log.jsonl").touch()
    (tuned / "run.json").write_text(json.dumps({"command": "train", "settings": {}, "model": "M", "accepted": 3}))
    done = here("show", str(tuned))
    assert done.returncode == 0 and "M, being trained on 3 rows" in done.stdout and "synth report" in done.stdout
    (tuned / "README.md").write_text("---\ntags: [synth]\n---\n# tuned\n\n`M`, trained\x1b[2J\n")
    done = here("show", str(tuned))
    assert done.stdout.startswith("# tuned\n\n`M`, trained\\x1b[2J")
    scores = tmp_path / "scores"
    scores.mkdir()
    (scores / "scores.json").write_text('{"models": []}')
    done = here("show", str(scores))
    assert done.returncode == 2 and "is damaged" in done.stderr


def test_scores_that_are_no_numbers_are_shown_as_the_conversation(
    here: Here, tmp_path: Path, chat: ChatFormat, model: str
) -> None:
    row = scored(chat, model, "It is four.")
    file = tmp_path / "rows.jsonl"
    odd = row | {"logprobs": ["x", *row["logprobs"][1:]]}
    file.write_text(json.dumps(row) + "\n" + json.dumps(odd) + "\n")
    done = here("show", file)
    assert done.returncode == 0 and done.stdout.count("assistant  It is four.") == 2, done.stderr
