import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from synth.chat import ChatFormat

SHOW = [sys.executable, "-c", "from cli.main import main; main()", "show"]


def test_rows_with_control_characters_made_harmless(tmp_path: Path) -> None:
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
    done = subprocess.run([*SHOW, str(file), "-n", "2"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "row1" in done.stdout and "row2" not in done.stdout
    assert "\x1b" not in done.stdout and "\x07" not in done.stdout and "\u202e" not in done.stdout
    assert "\\x1b[31mred" in done.stdout and "\\u202eevil" in done.stdout
    assert "[bold]Because[/bold]" in done.stdout


def test_missing_input_is_one_line(tmp_path: Path) -> None:
    done = subprocess.run([*SHOW, str(tmp_path / "none.jsonl")], capture_output=True, text=True)
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


def test_scored_rows_are_heat_maps(chat: ChatFormat, model: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(scored(chat, model, "It is 4.")) + "\n")
    environment = os.environ | {"FORCE_COLOR": "1", "COLORTERM": "truecolor", "COLUMNS": "200"}
    done = subprocess.run([*SHOW, str(file)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert "masked" in done.stdout and "perplexity" in done.stdout
    line = next(line for line in done.stdout.splitlines() if "<|user|>" in line)
    assert "\x1b[2m<|user|>\x1b[0m" in line  # dim: not scored
    assert "48;2;192;0;0m" in line  # the hardest
    assert "\x1b[9m" in line  # struck through: masked
    plain = subprocess.run([*SHOW, str(file), "--plain"], capture_output=True, text=True)
    assert "<|user|>" not in plain.stdout and "It is 4." in plain.stdout


def test_scores_whose_tokenizer_is_missing_are_shown_as_conversations(
    chat: ChatFormat, model: str, tmp_path: Path
) -> None:
    row = scored(chat, model, "It is 4.") | {"scorer": "/no/such/model abc assistant"}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    done = subprocess.run([*SHOW, str(file)], capture_output=True, text=True)
    assert done.returncode == 0 and "It is 4." in done.stdout and "--model" in done.stderr
    again = subprocess.run([*SHOW, str(file), "--model", model], capture_output=True, text=True)
    assert "<|user|>" in again.stdout
