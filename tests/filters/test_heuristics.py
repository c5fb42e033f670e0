"""Heuristics: what fails, what passes, and rows that are odd."""

import time
from typing import Any

import polars as pl
import pytest

from filters import heuristics
from filters.heuristics import Heuristic

SENTENCE = "The quick brown fox jumps over the lazy dog near the old river bank today."
ALL = [
    heuristics.characters("answer", 1, 100_000),
    heuristics.words("prompt", 1, 1_000),
    heuristics.words("text", 1, 1_000),
    heuristics.repeated_words(),
    heuristics.repeated_lines(),
    heuristics.symbols(),
    heuristics.digits(),
    heuristics.unfinished(),
    heuristics.refusal(),
    heuristics.template_debris(),
    heuristics.roles(),
]
SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "id": pl.String,
    "prompt": pl.String,
    "answer": pl.String,
    "text": pl.String,
    "roles": pl.List(pl.String),
}


def frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows with a prompt, an answer and roles where they name none."""
    filled = [
        {"id": str(at), "prompt": "Why?", "answer": SENTENCE, "roles": ["user", "assistant"], **row}
        for at, row in enumerate(rows)
    ]
    return pl.DataFrame([{"text": f"{row['prompt']}\n{row['answer']}", **row} for row in filled], schema=SCHEMA)


def reason(heuristic: Heuristic, answer: str | None, **row: Any) -> str | None:
    found: str | None = heuristic(frame([{"answer": answer, **row}]))[0]
    return found


@pytest.mark.parametrize(
    ("heuristic", "answer", "expected"),
    [
        (heuristics.characters("answer", 5, 9), "four", "too short: answer of 4 characters"),
        (heuristics.characters("answer", 5, 9), "fives", None),
        (heuristics.characters("answer", 5, 9), "nine char", None),
        (heuristics.characters("answer", 5, 9), "ten chars.", "too long: answer of 10 characters"),
        (heuristics.characters("answer", 2), "é", "too short: answer of 1 characters"),
        (heuristics.characters("answer", 1), None, "too short: answer of 0 characters"),
        (heuristics.characters("prompt", 5), "unused", "too short: prompt of 4 characters"),
        (heuristics.words("answer", 2, 3), "one", "too short: answer of 1 words"),
        (heuristics.words("answer", 2, 3), " one\n\n two ", None),
        (heuristics.words("answer", 2, 3), "one two three four", "too long: answer of 4 words"),
        (heuristics.words("answer", 2, 3), "x" * 1000, "too short: answer of 1 words"),
        (heuristics.words("answer", 2, 3), "x" * 1000 + " y", None),
        (heuristics.words("answer", 1), None, "too short: answer of 0 words"),
        (heuristics.words("answer", 5), "我喜欢面包", None),
        (heuristics.words("answer", 6), "我喜欢面包", "too short: answer of 5 words"),
        (heuristics.words("answer", 1, 4), "パンが好き", "too long: answer of 5 words"),
        (heuristics.words("answer", 3), "나는 빵을 좋아해", None),
    ],
)
def test_lengths(heuristic: Heuristic, answer: str | None, expected: str | None) -> None:
    assert reason(heuristic, answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("I am a fish, I am a fish, I am a fish, I am a fish,", "repeated words: 0.67 of the 5-grams occurred before"),
        ("no " * 100, "repeated words: 0.99 of the 5-grams occurred before"),
        ("no\n" * 100, "repeated words: 0.99 of the 5-grams occurred before"),
        ("我喜欢面包" * 10, "repeated words: 0.89 of the 5-grams occurred before"),
        (SENTENCE, None),
        ("one two three four", None),
        (None, None),
        ("", None),
        ("def f(x):\n        return x\n\n        # indented\n                y = 3", None),
        ("1. Eat well.\n2. Sleep well.\n3. Walk a lot.\n4. Read a book.\n5. See your friends.", None),
    ],
)
def test_repeated_words(answer: str | None, expected: str | None) -> None:
    assert reason(heuristics.repeated_words(), answer) == expected


def test_ngrams_do_not_cross_rows_and_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [f"{row} a b c d" if row % 3 else "x y z " * 5 for row in range(50)]
    whole = heuristics.repeated_words(3)(frame([{"answer": answer} for answer in answers])).to_list()
    monkeypatch.setattr(heuristics, "_SLICE", 7)
    assert heuristics.repeated_words(3)(frame([{"answer": answer} for answer in answers])).to_list() == whole
    assert [at for at, found in enumerate(whole) if found] == list(range(0, 50, 3))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The same line.\n" * 4, "repeated lines: 0.75 of the lines occurred before"),
        ("The same line. \n\n  The same line.\r\nAnother line.", "repeated lines: 0.33 of the lines occurred before"),
        ("if x {\n}\n}\n}\n}\n---\n---\n---", None),
        ("A first line\nA second line\nA third line\nA first line", None),
        ("好的，好\n" * 9, None),
        ("one line only", None),
        ("\n\n\n", None),
        (None, None),
    ],
)
def test_repeated_lines(answer: str | None, expected: str | None) -> None:
    assert reason(heuristics.repeated_lines(), answer) == expected


@pytest.mark.parametrize(
    ("heuristic", "answer", "expected"),
    [
        (heuristics.symbols(), "=-=-=-=-" * 10, "symbols: 1.0 of the characters"),
        (heuristics.symbols(), "🎉🔥 wow " * 10 + "🎉" * 60, "symbols: 0.62 of the characters"),
        (heuristics.symbols(), "--", None),
        (heuristics.symbols(shortest=0), "", None),
        (heuristics.symbols(), SENTENCE, None),
        (heuristics.symbols(), "for (int i = 0; i < n; i++) { total += values[i]; }", None),
        (heuristics.symbols(), "नमस्ते दुनिया, यह एक लंबा वाक्य है जो बिना चिह्नों के लिखा गया है।", None),
        (heuristics.digits(), "0123456789 " * 10, "digits: 0.91 of the characters"),
        (heuristics.digits(), "٠١٢٣٤٥٦٧٨٩ " * 10, "digits: 0.91 of the characters"),
        (heuristics.digits(), "42", None),
        (heuristics.digits(), SENTENCE, None),
        (heuristics.digits(), None, None),
    ],
)
def test_shares(heuristic: Heuristic, answer: str | None, expected: str | None) -> None:
    assert reason(heuristic, answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("To bake bread you need flour, water, and then you wai", "unfinished: ends with …er, and then you wai"),
        (
            "To bake bread you need flour, water, salt and yeast,  \n",
            "unfinished: ends with …ter, salt and yeast,",
        ),
        ("There are three kinds of bread that I know of (", "unfinished: ends with …"),
        ("It is a well known fact that bread is over-", "unfinished: ends with …"),
        ("Run this:\n```python\nprint(1)", "unfinished: a code fence is open"),
        ("```a``` and ```\nopen.", "unfinished: a code fence is open"),
        ("我们首先把面粉和水混合然后等待一个小时再把", "unfinished: ends with …"),
        ("Сначала смешайте муку с водой, потом подождите один час и", "unfinished: ends with …"),
    ],
)
def test_unfinished(answer: str, expected: str) -> None:
    found = reason(heuristics.unfinished(), answer)
    assert found is not None
    assert found.startswith(expected)


@pytest.mark.parametrize(
    "answer",
    [
        SENTENCE,
        "Paris",
        "42",
        "Neutral sentiment",
        None,
        "",
        " \n ",
        "Is that the way you would like to bake your bread?",
        'He said to all of us in the room: "I am leaving."',
        "(This is a remark in brackets that has quite a few words)",
        "Here is how that is done in a language of your choice:\n```python\nprint(1)\n```",
        "What you need for a good bread at home:\n- flour of a good kind\n- clean water",
        "What you need for a good bread at home:\n1. flour of a good kind\n2. clean water",
        "What you need for a good bread at home:\n* flour of a good kind\n• clean water",
        "| name | of | the | columns | here | now |\n|---|---|\n| a | b",
        "我们首先把面粉和水混合，然后等待一个小时。",
        "「パンを焼くには小麦粉と水を混ぜて待ちます」",
        "क्या आप घर पर रोटी बनाना चाहते हैं? आटा और पानी मिलाएँ।",
        "هل تريد أن تخبز الخبز في المنزل مع عائلتك اليوم؟",
        "วิธีทำขนมปังที่บ้านคือผสมแป้งกับน้ำแล้วรอหนึ่งชั่วโมง",
        "Have a wonderful day, my friend, and enjoy your bread ❤️",
        "So the area of the circle we looked at above is $12\\pi$",
        "Dear Sir, thank you for the bread that you sent us.\n\nSincerely,\nJane Doe",
        "You can read much more about the baking of bread at https://bread.org/how",
        "def area(width, height):\n    total = width * height\n    return total if total > 0 else nothing at all",
    ],
)
def test_finished(answer: str | None) -> None:
    assert reason(heuristics.unfinished(), answer) is None


@pytest.mark.parametrize(
    ("answer", "refused"),
    [
        ("I'm sorry, but I can't help with that.", True),
        ("I’m sorry, but I can’t assist with this request.", True),
        ("  \n I cannot provide instructions for that.", True),
        ("As an AI language model, I am not able to browse or help with it.", True),
        ("I must decline to answer this.", True),
        ("Sorry, no.", True),
        ("It is illegal to do so, and nobody should.", True),
        ("My apologies, I am unable to do that.", True),
        ("We do not support this.", True),
        ("It's not appropriate to say that.", True),
        ("That would be against the law.", True),
        ("Stealing is never acceptable.", True),
        ("I wont help you.", True),
        ("I cannot stress enough how good bread is.", False),
        ("Bread is not cake.", False),
        (SENTENCE, False),
        (SENTENCE * 10 + " I'm sorry, I cannot help with that.", False),
        (None, False),
        ("", False),
    ],
)
def test_refusal(answer: str | None, refused: bool) -> None:
    found = reason(heuristics.refusal(), answer)
    assert (found is not None) == refused
    assert found is None or found.startswith("refusal: ")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("Fine.<|im_end|>", "<|im_end|>"),
        ("<|start_header_id|>assistant", "<|start_header_id|>"),
        ("<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
        ("Fine. [/INST] More", "[/INST]"),
        ("<<SYS>> Be kind", "<<SYS>>"),
        ("<end_of_turn>", "<end_of_turn>"),
        ("Fine.</s>\n", "</s>"),
        ("<s> Fine.", "<s>"),
        ("Fine.\n### Instruction:\nNow", "### Instruction:"),
        ("Fine.\n\nUser: and now?", "User:"),
        ("Assistant: Fine.", "Assistant:"),
        ("**Human**: and now?", "**Human**:"),
        ("Use <s>old</s> in HTML <b>here</b>.", None),
        ("a <| b |> c, x < y | z > w, [INSTALL], # Human rights", None),
        ("The User: a history", None),
        (None, None),
    ],
)
def test_template_debris(answer: str | None, expected: str | None) -> None:
    assert reason(heuristics.template_debris(), answer) == (expected and f"template debris: {expected}")


def test_prompts_may_hold_transcripts_but_no_control_tokens() -> None:
    assert reason(heuristics.template_debris(), "Fine.", prompt="User: hi\nAssistant: hi\nWho spoke?") is None
    assert reason(heuristics.template_debris(), "Fine.", prompt="<|user|> hi") == "template debris: <|user|>"


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (["user", "assistant"], None),
        (["system", "user", "assistant", "user", "assistant"], None),
        (["developer", "user", "assistant"], None),
        (["user", "assistant", "tool", "tool", "assistant"], None),
        (["user", "user", "assistant"], "role order: user,user,assistant"),
        (["assistant", "user"], "role order: assistant,user"),
        (["user"], "role order: user"),
        (["user", "system", "assistant"], "role order: user,system,assistant"),
        (["user", "assistant", "user"], "role order: user,assistant,user"),
        (["user", "gpt"], "role order: user,gpt"),
        (["user", None], "empty turn: no role"),
        (["user", ""], "empty turn: no role"),
        ([], "empty turn: no turns"),
        (None, "empty turn: no turns"),
    ],
)
def test_roles(roles: list[str | None] | None, expected: str | None) -> None:
    assert reason(heuristics.roles(), SENTENCE, roles=roles) == expected


@pytest.mark.parametrize("empty", [None, "", " \n\t", "\u3000"])
def test_empty_turns(empty: str | None) -> None:
    assert reason(heuristics.roles(), empty) == "empty turn: no answer"
    assert reason(heuristics.roles(), SENTENCE, prompt=empty) == "empty turn: no prompt"


@pytest.mark.parametrize("heuristic", ALL)
def test_odd_frames(heuristic: Heuristic) -> None:
    none = {"prompt": None, "answer": None, "text": None, "roles": None}
    odd = {"answer": "\ufffd\x00\u200b👩‍👩‍👧 אבג नी 漢字 \U0001f600"}
    frames: list[list[dict[str, Any]]] = [[], [{}], [none], [none] * 3, [{}] * 3, [odd, none]]
    for rows in frames:
        reasons = heuristic(frame(rows))
        assert reasons.dtype == pl.String
        assert len(reasons) == len(rows)
    untyped = frame([none]).with_columns(pl.lit(None).alias(column) for column in ("prompt", "answer", "text", "roles"))
    assert len(heuristic(untyped)) == 1


def test_every_bound_is_a_setting() -> None:
    few = "one two three four five six"
    for loose, strict, answer in (
        (heuristics.symbols(), heuristics.symbols(shortest=4), "=-=-"),
        (heuristics.digits(), heuristics.digits(shortest=2), "42"),
        (heuristics.repeated_lines(), heuristics.repeated_lines(shortest=1), "}\n}\n}\n}"),
        (heuristics.unfinished(), heuristics.unfinished(words=6), few),
    ):
        assert reason(loose, answer) is None and reason(strict, answer) is not None
    assert reason(heuristics.unfinished(words=7), few) is None


def test_lengths_in_tokens() -> None:
    def pairs_of_letters(texts: list[str]) -> list[int]:
        return [(len(text) + 1) // 2 for text in texts]

    find = heuristics.tokens("answer", pairs_of_letters, 2, 3)
    rows = pl.DataFrame({"answer": ["ab", "abc", "abcdef", "abcdefg", None]})
    assert find(rows).to_list() == [
        "too short: answer of 1 tokens",
        None,
        None,
        "too long: answer of 4 tokens",
        "too short: answer of 0 tokens",
    ]
    assert find(rows.clear()).to_list() == []


def test_together_is_one_after_another() -> None:
    rows = frame([{}, {"answer": "I'm sorry, I can't help."}, {"answer": "no " * 50}, {"answer": None}, {"roles": []}])
    together = [reasons.to_list() for reasons in heuristics.apply(ALL, rows)]
    assert together == [heuristic(rows).to_list() for heuristic in ALL]
    assert heuristics.apply([], rows) == []


@pytest.mark.parametrize("unit", ["a", "a ", "\n", "```", "漢", "1", "<|", "I not ", "- a\n", " ", "User", "###"])
def test_long_rows_take_linear_time(unit: str) -> None:
    rows = frame([{"answer": unit * (2_000_000 // len(unit))}])
    start = time.process_time()
    heuristics.apply(ALL, rows)
    assert time.process_time() - start < 60
