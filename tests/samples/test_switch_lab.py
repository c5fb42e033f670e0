"""The lab of the switch, in small: sets are made once, and a model is trained and asked in both modes."""

import json
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from samples.lab import switch
from samples.lab.switch import ARMS, COLUMNS, Lab, table


def test_arms_are_of_different_names_and_recipes() -> None:
    assert len({arm.name for arm in ARMS}) == len({(arm.target, arm.replay) for arm in ARMS}) == len(ARMS)
    assert set(switch.SHOWN) <= {"before training", *(arm.name for arm in ARMS)}


def test_an_arm_in_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switch, "OLD", ("totals",))
    lab = Lab(tmp_path, 0.02, "dev")
    lab.data.mkdir()
    [arm] = [arm for arm in ARMS if arm.target == "human" and arm.replay == "plain"]
    before, after = lab.scores([arm], 0)
    assert before["kept"] is None and after["kept"] > 0.5
    assert before["obeyed, thinking"] == before["obeyed, plain"] == 1
    assert before["thought_tokens"] > 5
    [trained] = (tmp_path / "trained").rglob("model.safetensors")
    made = trained.stat().st_mtime_ns
    assert lab.scores([arm], 0) == [before, after]
    assert trained.stat().st_mtime_ns == made


def test_empty_thoughts_are_learnt_where_a_trainer_takes_all_that_follows_the_prompt(tmp_path: Path) -> None:
    lab = Lab(tmp_path, 0.02)
    lab.data.mkdir()
    row = json.loads(lab.target("empty").read_text().splitlines()[0])
    learnt = [number for number, label in zip(row["input_ids"], row["labels"], strict=True) if label != -100]
    tokenizer = AutoTokenizer.from_pretrained(switch.MODEL)
    assert tokenizer.decode(learnt) == f"<think>\n\n</think>\n\n{row['messages'][-1]['content']}<|end|>"


def test_the_table_has_mean_and_deviation() -> None:
    runs = [dict.fromkeys(COLUMNS, share) | {"thought_tokens": 10} for share in (0.5, 0.7)]
    lines = table({"one": runs}).splitlines()
    assert lines[2] == "| one |" + " 60.0 ± 14.1 |" * len(COLUMNS) + " 10 |"
