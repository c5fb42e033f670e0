"""What values settings may have, and who refuses others."""

import math
from pathlib import Path
from typing import Any

import pytest

from synth.errors import UsageError
from synth.methods.describe import questions
from synth.methods.magpie import System, system_prompts
from synth.methods.rephrase import ratio
from synth.values import Fraction, Order, Rows, Shares, checked


@checked
def called(rows: Rows, *, share: Fraction | None = None, order: Order = "append", name: str = "") -> int:
    return rows


@pytest.mark.parametrize("given", [{"rows": 1}, {"rows": 10**12, "share": None}, {"rows": 2, "share": 1}])
def test_values_within_are_passed_on(given: dict[str, Any]) -> None:
    assert called(**given) == given["rows"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rows": 0}, "`rows` 0 is too small: at least 1"),
        ({"rows": 10**13}, "`rows` 10000000000000 is too large: at most 1,000,000,000,000"),
        ({"rows": 1.5}, "`rows` is a whole number, not 1.5"),
        ({"rows": "3"}, "`rows` is a whole number, not '3'"),
        ({"rows": math.inf}, "`rows` is a whole number, not inf"),
        ({"rows": 1, "share": math.nan}, "`share` nan is no number"),
        ({"rows": 1, "share": 1.1}, "`share` 1.1 is too large: at most 1"),
        ({"rows": 1, "order": "sideways"}, "`order` is one of interleave, shuffle, append, not sideways"),
    ],
)
def test_others_are_refused_by_name(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        called(**given)
    assert str(raised.value) == said


def test_a_missing_argument_is_python_s_business() -> None:
    with pytest.raises(TypeError, match="rows"):
        called()  # type: ignore[call-arg]


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), (" 100% ", 1.0), ("0", 0.0)])
def test_shares_that_are_written(text: str, share: float) -> None:
    assert Shares(0, 1).read(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["5", "1", "", "x%", "-1%", "200%", "nan"])
def test_what_is_no_share(text: str) -> None:
    with pytest.raises(ValueError, match=r"share|percent|too large"):
        Shares(0, 1).read(text)


def test_system_prompts_come_from_a_text_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "systems.jsonl"
    file.write_text('{"text": "Be brief."}\n\n{"text": "Be kind.", "weight": 2}\n', encoding="utf-8")
    assert system_prompts(f"@{file}") == (System("Be brief."), System("Be kind.", 2.0))
    assert system_prompts("Be brief.") == (System("Be brief."),)
    assert system_prompts([System("a")]) == (System("a"),) and system_prompts(None) == ()
    file.write_text('["Be brief."]\n', encoding="utf-8")
    with pytest.raises(UsageError, match=r"`system`: .* line 1 is not"):
        system_prompts(f"@{file}")
    with pytest.raises(UsageError, match=r"`system`: nowhere cannot be read"):
        system_prompts("@nowhere")


def test_questions_come_from_a_list_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "questions.txt"
    file.write_text("What is heard?\n\n Who speaks? \n", encoding="utf-8")
    assert questions(file) == questions(str(file)) == ("What is heard?", "Who speaks?")
    assert questions(["Who?"]) == ("Who?",)


def test_a_ratio_is_written_or_a_number() -> None:
    assert ratio("1:2") == ratio(0.5) == 0.5 and ratio("0:1") == 0
    for wrong in ("1", "1:0", "-1:1", "a:b", -0.5, math.inf):
        with pytest.raises(UsageError, match="is no ratio"):
            ratio(wrong)
