"""Contamination: every planted leak is found, clean text passes, and odd input breaks nothing."""

import json
import random
from pathlib import Path

import polars as pl
import pytest

from filters.contamination import Item, answer_column, as_written, contaminated, question_column


def frame(prompts: list[str | None], answers: list[str | None] | None = None) -> pl.DataFrame:
    rows = {"prompt": prompts, "answer": answers or [None] * len(prompts)}
    return pl.DataFrame(rows, schema={"prompt": pl.String, "answer": pl.String})


def texts(count: int, least: int, most: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    words = [f"w{number}" for number in range(5000)]
    return [" ".join(chance.choices(words, k=chance.randint(least, most))) for _ in range(count)]


def disguise(text: str, chance: random.Random) -> str:
    """The text with other case, punctuation and white space."""
    words = [chance.choice([str.upper, str.title, str.lower])(word) for word in text.split()]
    return "".join(word + chance.choice([" ", ", ", ".\n", " — ", "!  ", "\u00a0"]) for word in words)


@pytest.mark.parametrize(("least", "most"), [(1, 7), (8, 12), (13, 150)])
def test_every_planted_leak_is_found_and_named(least: int, most: int) -> None:
    chance = random.Random(1)
    items: list[Item] = [("bench", number, text) for number, text in enumerate(texts(300, least, most, 2))]
    items = list({text: (name, number, text) for name, number, text in items}.values())
    around = texts(300, 30, 60, 3)
    whole = [text for _, _, text in items]
    disguised = [disguise(text, chance) for text in whole]
    embedded = [f"{other} {text}. {other}" for text, other in zip(disguised, around, strict=False)]
    for leaks in [whole, disguised] + ([embedded] if least >= 8 else []):
        for rows in (frame([*leaks]), frame([None] * len(leaks), [*leaks])):
            for (name, number, _), reason in zip(items, contaminated(rows, items), strict=True):
                assert reason is not None
                assert reason.startswith(f"contaminated: {name} item {number}: “w")


def test_clean_text_passes() -> None:
    items: list[Item] = [("bench", number, text) for number, text in enumerate(texts(2000, 2, 60, 4))]
    assert contaminated(frame([*texts(3000, 1, 200, 5)], [*texts(3000, 1, 200, 6)]), items).null_count() == 3000


def test_the_reason_shows_the_words_found_within_bounds() -> None:
    item = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May."
    row = f"Here is a problem. {item} How many did she sell?"
    assert contaminated(frame([row]), [("gsm8k", 17, item)]).to_list() == [
        "contaminated: gsm8k item 17: “natalia sold clips to 48 of her friends in april and then she sold half as many"
        " clips in may”"
    ]
    long = " ".join(texts(1, 500, 500, 7)[0].split())
    reason = contaminated(frame([long]), [("b", 0, long)])[0]
    assert reason.endswith(" …”")
    assert len(reason) < 200
    letters = " ".join(["x" * 10_000] * 20)
    assert len(contaminated(frame([letters]), [("b", 0, letters)])[0]) < 200


def test_thirteen_words_in_a_row_are_needed_and_enough() -> None:
    item = texts(1, 40, 40, 8)[0].split()
    twelve, thirteen = item[5:17], item[5:18]
    padding = ["other"] * 20
    rows = frame([" ".join([*padding, *words, *padding]) for words in (twelve, thirteen)])
    assert contaminated(rows, [("b", 0, " ".join(item))]).is_null().to_list() == [True, False]


def test_eight_words_are_enough_in_a_short_row() -> None:
    item = texts(1, 40, 40, 9)[0].split()
    rows = frame([" ".join(["why", *item[3 : 3 + count], "so"]) for count in (7, 8)])
    assert contaminated(rows, [("b", 0, " ".join(item))]).is_null().to_list() == [True, False]


def test_an_item_of_a_few_words_is_found_whole_only() -> None:
    rows = frame(["what is 2+2?", "Tell me, what is 2+2?", "what is 2"])
    assert contaminated(rows, [("b", 3, "What is 2 + 2?")]).to_list() == [
        "contaminated: b item 3: “what is 2 2”", None, None
    ]  # fmt: skip


def test_boilerplate_of_a_benchmark_says_nothing() -> None:
    boiler = "write a python function that takes a list of integers and returns the value of"
    items: list[Item] = [("mbpp", number, f"{boiler} {text}") for number, text in enumerate(texts(11, 14, 14, 10))]
    row = f"{boiler} something quite different from the others which nobody has asked for so far"
    assert contaminated(frame([row]), items).null_count() == 1
    assert contaminated(frame([row]), items[:10]).null_count() == 0
    assert contaminated(frame([items[4][2]]), items)[0].startswith("contaminated: mbpp item 4: “")


def test_answers_of_benchmarks_are_leaks_too() -> None:
    question, answer, other = texts(3, 30, 40, 12)
    rows = frame(["Something else?", "Another?", None], [f"{other} {answer.upper()}!", other, question])
    found = contaminated(rows, [("b", 7, question)], [("b", 7, answer)])
    assert found[0].startswith(f"contaminated: answer of b item 7: “{answer[:20]}")
    assert found[1] is None and found[2].startswith("contaminated: b item 7: “w")


def test_short_answers_of_benchmarks_are_anybody_s() -> None:
    """Twelve words or fewer, in rows of any length; thirteen are found."""
    twelve, thirteen = " ".join(texts(1, 12, 12, 13)), " ".join(texts(1, 13, 13, 14))
    rows = frame(["q"] * 4, ["42", twelve, f"{twelve} and more " * 9, thirteen])
    answers: list[Item] = [("b", 0, "42"), ("b", 1, twelve), ("b", 2, thirteen)]
    assert contaminated(rows, [], answers).is_null().to_list() == [True, True, True, False]


def test_a_short_row_is_no_part_of_a_long_answer() -> None:
    """Eight words in a row that an answer shares are ordinary; those that a question shares are a leak."""
    long, row = " ".join(texts(1, 30, 30, 15)), "the sum of the angles of a triangle is 180 degrees"
    rows = frame(["What is it?"], [row])
    assert contaminated(rows, [("b", 0, "Why?")], [("b", 0, f"{row} {long}")])[0] is None
    assert contaminated(rows, [("b", 0, f"{row} {long}")])[0] is not None


def test_question_and_answer_count_as_one_item() -> None:
    shared = " ".join(texts(1, 14, 14, 15))
    asked: list[Item] = [("b", number, f"{shared} {number}") for number in range(10)]
    assert contaminated(frame([shared]), asked, asked).null_count() == 0


def test_the_words_in_a_row_are_a_setting() -> None:
    item = texts(1, 40, 40, 16)[0].split()
    row = " ".join(["other"] * 20 + item[5:15] + ["other"] * 20)
    items: list[Item] = [("b", 0, " ".join(item))]
    assert contaminated(frame([row]), items, long=11).null_count() == 1
    assert contaminated(frame([row]), items, long=10).null_count() == 0
    assert contaminated(frame([" ".join(item[:5])]), items, short=5).null_count() == 0
    assert contaminated(frame([" ".join(item[:5])]), items, short=6).null_count() == 1
    for long, short in ((7, 8), (5, 0)):
        with pytest.raises(ValueError, match="not fewer for long"):
            contaminated(frame(["x"]), items, long=long, short=short)


def test_the_prompt_is_shown_before_the_answer() -> None:
    one, other = texts(2, 20, 20, 11)
    assert contaminated(frame([one], [other]), [("a", 0, other), ("b", 1, one)])[0].startswith("contaminated: b item 1")


ODD = [None, "", " ", "\x00", "�" * 40, "\u202e", "!!!", "你好,请把这句话翻译成英文。", "a", "ab " * 500_000]


@pytest.mark.parametrize("items", [[], [("b", 0, "")], [("b", number, text or "") for number, text in enumerate(ODD)]])
def test_odd_input(items: list[Item]) -> None:
    cases: list[list[str | None]] = [[], [None], ["x"], ODD]
    for prompts in cases:
        rows = frame(prompts, prompts[::-1])
        assert len(contaminated(rows, items)) == len(prompts)
    if len(items) > 1:
        assert contaminated(frame(["你好 请把这句话翻译成英文!"]), items).null_count() == 0


def test_question_columns() -> None:
    assert question_column(["question", "answer"]) == "question"
    assert question_column(["problem", "solution", "answer"]) == "problem"
    assert question_column(["task_id", "prompt", "canonical_solution", "test"]) == "prompt"
    assert question_column(["task_id", "text", "code", "test_list"]) == "text"
    with pytest.raises(ValueError, match="question, problem"):
        question_column(["id"])
    assert answer_column(["question", "answer"]) == "answer"
    assert answer_column(["problem", "answer", "solution"]) == "solution"
    assert answer_column(["task_id", "prompt", "canonical_solution", "test"]) == "canonical_solution"
    assert answer_column(["task_id", "text", "code", "test_list"]) == "code"
    assert answer_column(["prompt"]) is None
    assert as_written("2+2 = <<2+2=4>>4 eggs") == ["2+2 = <<2+2=4>>4 eggs", "2+2 = 4 eggs"]
    assert as_written("4 eggs") == ["4 eggs"]


def test_real_benchmarks_do_not_hold_each_other(data: Path) -> None:
    items: list[Item] = []
    answers: list[Item] = []
    for name in ("gsm8k", "math500", "humaneval", "mbpp"):
        for file in sorted((data / name).glob("*test*.jsonl")) or sorted((data / name).glob("*.jsonl"))[:1]:
            rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
            column = question_column(rows[0])
            items += [(name, number, row[column]) for number, row in enumerate(rows)]
            solved = answer_column(rows[0])
            assert solved is not None
            answers += [(name, number, text) for number, row in enumerate(rows) for text in as_written(row[solved])]
    assert len(items) > 1000
    alone = [item for item in answers if len(item[2].split()) >= 20]
    assert len(alone) > 1500
    found = contaminated(frame([None] * len(alone), [text for _, _, text in alone]), items, answers)
    assert found.null_count() <= 0.01 * len(alone)  # those of nothing but boilerplate
    reasons = contaminated(frame([text for _, _, text in items]), items)
    assert reasons.null_count() == 0
    for name in {name for name, _, _ in items}:
        clean = [text for other, _, text in items if other != name]
        found = contaminated(frame([*clean]), [item for item in items if item[0] == name])
        assert found.null_count() == len(clean)
