"""Preference pairs as public data has them, shown and exported alike."""

import json
from pathlib import Path
from typing import Any

import pytest

from synth.data.pairs import is_pairs, pairs
from synth.data.read import open_source
from synth.errors import UsageError
from synth.exports.formats import Exported, form_of, format_of, in_format


def exported(folder: Path, *rows: dict[str, Any]) -> tuple[list[dict[str, Any]], Exported]:
    """The rows in the form that trainers take pairs in."""
    source = folder / "pairs.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    raw = open_source(str(source))
    read = pairs(raw)
    assert is_pairs(read.schema)
    made = in_format(read, format_of(form_of(raw.schema)))
    return [row for batch in made.batches() for row in batch.to_pylist()], made


ASKED = {"role": "user", "content": "2 + 2?"}
RIGHT, WRONG = ({"role": "assistant", "content": text} for text in ("4.", "5."))
BRIEF = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize(
    ("pair", "prompt"),
    [
        ({"prompt": "2 + 2?", "chosen": "4.", "rejected": "5."}, [ASKED]),
        ({"prompt": [ASKED], "chosen": "4.", "rejected": "5."}, [ASKED]),
        ({"chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG]}, [ASKED]),
        ({"chosen": json.dumps([ASKED, RIGHT]), "rejected": json.dumps([ASKED, WRONG])}, [ASKED]),
        (  # UltraFeedback, binarised
            {
                "prompt": "2 + 2?",
                "chosen": [ASKED, RIGHT],
                "rejected": [ASKED, WRONG],
                "messages": [ASKED, RIGHT],
                "score_chosen": 8.5,
            },
            [ASKED],
        ),
        ({"system": "Be brief.", "question": "2 + 2?", "chosen": "4.", "rejected": "5."}, [BRIEF, ASKED]),  # Orca
        ({"system": "Be brief.", "chosen": [ASKED, RIGHT], "rejected": [ASKED, WRONG]}, [BRIEF, ASKED]),
        ({"instruction": "Add.", "input": "2 + 2", "chosen": "4.", "rejected": "5."}, "Add.\n\n2 + 2"),
        (  # LLaMA-Factory
            {
                "conversations": [{"from": "human", "value": "2 + 2?"}],
                "chosen": {"from": "gpt", "value": "4."},
                "rejected": {"from": "gpt", "value": "5."},
            },
            [ASKED],
        ),
        ({"messages": [ASKED, RIGHT], "chosen": "4.", "rejected": "5."}, [ASKED]),
        (  # HH-RLHF
            {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4.", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5."},
            [ASKED],
        ),
        (
            {
                "chosen": "\n\nHuman: Hi\n\nAssistant: Hi.\n\nHuman: 2 + 2?\n\nAssistant: 4.",
                "rejected": "\n\nHuman: Hi\n\nAssistant: Hi.\n\nHuman: 2 + 2?\n\nAssistant: 5. ",
            },
            [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hi."}, ASKED],
        ),
        ({"prompt": "2 + 2?", "chosen": 4, "rejected": 5}, [ASKED]),
    ],
)
def test_pairs_in_the_forms_of_public_data(tmp_path: Path, pair: dict[str, Any], prompt: Any) -> None:
    [found], made = exported(tmp_path, pair)
    assert not made.left_out
    if isinstance(prompt, str):
        prompt = [{"role": "user", "content": prompt}]
    assert found["prompt"] == prompt
    answers = [
        text.rstrip(".") for side in ("chosen", "rejected") for text in [turn["content"] for turn in found[side]]
    ]
    assert answers == ["4", "5"] and {turn["role"] for turn in found["chosen"]} == {"assistant"}


def test_pairs_that_are_none_are_left_out_and_counted(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": [ASKED], "chosen": [RIGHT], "rejected": [WRONG]},
        {"prompt": [ASKED], "chosen": [RIGHT | {"content": None}], "rejected": [WRONG]},
        {"prompt": [ASKED], "chosen": [RIGHT], "rejected": []},
        {"prompt": [], "chosen": [RIGHT], "rejected": [WRONG]},
    ]
    found, made = exported(tmp_path, *rows)
    assert len(found) == 1 and made.left_out == 2
    assert "1 of 4 rows cannot be read" in made.source.notes[0]


def test_dialogues_that_are_none_or_lack_an_answer(tmp_path: Path) -> None:
    said = "\n\nHuman: Hi\n\nAssistant:"
    rows: list[dict[str, Any]] = [
        {"chosen": f"{said} Hello.", "rejected": f"{said} Go."},
        {"chosen": f"{said} Hello.", "rejected": said},
        {"chosen": "Human: is a word", "rejected": "no dialogue"},
        {"chosen": f"{said} Human: is a word", "rejected": f"{said} Go."},
    ]
    found, made = exported(tmp_path, *rows)
    assert [pair["chosen"][0]["content"] for pair in found] == ["Hello.", "Human: is a word"]
    assert all(pair["prompt"] == [{"role": "user", "content": "Hi"}] for pair in found)
    assert made.left_out == 1 and "turn 2 is empty in rejected" in made.source.notes[0]
    plain = {"chosen": "a text", "rejected": "another"}
    with pytest.raises(UsageError, match="none of its 2 rows can be written as preference, which takes what was asked"):
        exported(tmp_path, plain, plain)


def test_sides_that_differ_in_type_are_read_whole(tmp_path: Path) -> None:
    """What one bad row makes of a column must not reach the other rows."""
    rows: list[dict[str, Any]] = [
        {"prompt": [ASKED], "chosen": [RIGHT], "rejected": [7]},
        {"prompt": [ASKED], "chosen": [RIGHT], "rejected": [WRONG | {"role": [WRONG]}]},
        {"prompt": [{"content": "Brief."}, ASKED | {"role": [ASKED]}], "chosen": [RIGHT], "rejected": [WRONG]},
        {"prompt": [ASKED], "chosen": [RIGHT], "rejected": [WRONG]},
    ]
    found, _ = exported(tmp_path, *rows)
    assert {"prompt": [ASKED], "chosen": [RIGHT], "rejected": [WRONG]} in found
