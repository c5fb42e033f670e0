"""Thoughts end where the models' own markers say so, whole, cut off, or opened by the prompt; mentions are none."""

import time

import pytest

from filters.response.thoughts import after_thoughts, unwrapped
from filters.verdict import Task, VerifierSettings
from filters.verifiers.registry import checker

PAIRS = [
    ("<think>", "</think>"),
    ("<THINK>\n", "\n</THINK>\n\n"),
    ("<thinking>", "</thinking>"),
    ("<thinking>", "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<mm:think>", "</mm:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<think:opensource>", "</think:opensource>"),
    ("<thought>", "</thought>"),
    ("<Thought>\n", "\n</Thought>\n"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>"),
    ("analysisWe ", "assistantfinal"),
    ("<|begin_of_thought|>\n", "\n<|end_of_thought|>\n\n<|begin_of_solution|>\n"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|inner_prefix|>", "<|inner_suffix|>"),
    ("<|channel>thought\n", "<channel|>"),
    ("<unused94>thought\n", "<unused95>"),
    ("<|think|>", "<|end|><|begin|>assistant<|content|>"),
    ("<|im_start|>think\n", "<|im_start|>answer\n"),
    ("Here are my reasoning steps:\n", "\n[BEGIN FINAL RESPONSE]\n"),
]
PROSE = [
    ("Here is my thought process: ", " Here is my response: "),
    ("Here's my thought process:\n\n", "\n\nHere's my response:\n"),
    ("## Thinking\n\n", "\n\n## Final Response\n\n"),
]


@pytest.mark.parametrize(("opening", "closing"), PAIRS + PROSE)
def test_what_follows_the_thoughts_is_said(opening: str, closing: str) -> None:
    thought = "so I guess \\boxed{7}.\n```python\nx = 7\n```\nOr not."
    assert after_thoughts(f"{opening}{thought}{closing}It is 8.").strip() == "It is 8."
    assert after_thoughts(f"\n{opening}{thought}{closing}It\n\nis 8.\n").strip() == "It\n\nis 8."
    assert after_thoughts(f"{opening}{thought}") == ""
    assert after_thoughts(f"{opening}{thought}{closing}It is 8. {PAIRS[0][0]}No, 9").strip() == ""


@pytest.mark.parametrize(("opening", "closing"), PAIRS)
def test_the_prompt_may_have_opened_the_thoughts(opening: str, closing: str) -> None:
    assert after_thoughts(f"so I guess 7{closing}It is 8.").strip() == "It is 8."


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<think>a</think>It is 1. <think>b, 2</think>Done.", "Done."),
        ("<think>a <reasoning>b</reasoning> 7", ""),
        ("<think>I could write '<think>' or `</think>` here</think>8", "8"),
        ("<|channel|>final<|message|>8<|return|>", "8"),
        ("<|channel|>analysis<|message|>7<|end|>", ""),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary to=functions.f "
            '<|constrain|>json<|message|>{"x": 1}<|call|>',
            '{"x": 1}',
        ),
        ("[BEGIN FINAL RESPONSE]\n8\n[END FINAL RESPONSE]\n<|end|>", "8\n"),
        ("<|START_THINKING|>7<|END_THINKING|><|START_RESPONSE|>8<|END_RESPONSE|>", "8"),
        ("<think>\n\n</think>\n\n    return 8\n", "    return 8\n"),
        ("<think>a</think>", ""),
    ],
)
def test_forms_of_whole_responses(text: str, said: str) -> None:
    assert after_thoughts(text) == said


@pytest.mark.parametrize(
    "text",
    [
        "I think it is 8. That is my reasoning: thinking helps.",
        "The tag `<think>` opens thoughts and `</think>` closes them.",
        "Use `<think>…</think>` for that.",
        '```python\nimport re\n\nfound = re.findall(r"<think>(.*?)</think>", text)\n```\nThis finds them.',
        "```xml\n<reasoning>\n  why\n</reasoning>\n```\nThat is the file.",
        'found = re.sub("<think>.*?</think>", "", text)',
        "analysisReport(year=2024)",
        "Analysis: it is 8.",
        "Here is my response: 8",
        "a < b and [THE] # of ~ ``",
        "",
    ],
)
def test_what_only_looks_like_thoughts_stays(text: str) -> None:
    assert after_thoughts(text) == text


def test_tags_around_an_answer() -> None:
    assert unwrapped("\n<answer>\n8\n</answer>\n") == "\n8\n"
    assert unwrapped("<answer>8</answer> or 9") == "<answer>8</answer> or 9"


@pytest.mark.parametrize(
    "garbage",
    ["<think>", "</think>", "`<think>", "```\n<think>", "<", "[THINK]'", " \n", "<|end|>", "<answer>", "</answer>  "],
)
def test_garbage_ends_soon(garbage: str) -> None:
    started = time.process_time()
    for text in (garbage * (10**6 // len(garbage)), "x" + " " * 10**6 + garbage):
        unwrapped(after_thoughts(text))
    assert time.process_time() - started < 60


@pytest.mark.parametrize(
    ("name", "answer", "reference", "columns"),
    [
        ("math", "The answer is 8.", "8", {}),
        ("number", "8", "8", {}),
        ("choice", "The answer is (B).", "B", {}),
        ("exact", "Paris", "Paris", {}),
        ("regex", "Paris", "^Paris$", {}),
        ("json", '{"a": 8}', '{"a": 8}', {}),
        ("function-call", "f(a=8)", None, {"ground_truth": [{"f": {"a": [8]}}]}),
        ("function-call", "I cannot.", None, {"function": [{"name": "f"}]}),
        ("instructions", "no commas", None, {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}),
        ("refusal", "I'm sorry, but I can't help with that.", None, {"label": "refuse"}),
    ],
)
def test_no_verifier_reads_thoughts(name: str, answer: str, reference: str | None, columns: dict[str, object]) -> None:
    check = checker(VerifierSettings(name))
    task = Task(reference, "", columns)
    assert check(answer, task).kind == "right"
    assert check(f"[THINK]well, f(a=7), {{}}, (A): 9[/THINK]\n\n{answer}", task).kind == "right"
    assert check(f"<think>well, …</think>{answer}", task).kind == "right"
    assert check(f"<think>{answer}", task).kind == "wrong"
    assert check(f"<think>{answer}</think>", task).kind == "wrong"


def test_references_may_hold_thoughts() -> None:
    for name, answer in (("math", "8"), ("number", "8"), ("exact", "8"), ("json", "8"), ("choice", "B")):
        assert checker(VerifierSettings(name))(answer, Task(f"<think>7, or A</think>{answer}")).kind == "right", name
