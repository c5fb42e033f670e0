"""Reasoning traces: thoughts by a scripted model, values of steps on the sample model, the verifier `math` on both."""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from filters.verdict import Verdict
from samples.skills.registry import suite
from synth.chat.format import ChatFormat
from synth.chat.turn import Turn
from synth.data.row import Outcome, Row, digest
from synth.engines.base import Completion, Engine, Sampling, Usage
from synth.errors import UsageError
from synth.generation.chat_model import Answer, ChatModel
from synth.generation.verification import Verifier
from synth.methods.reason import ReasonSettings, reason, within
from synth.methods.rollouts import cut
from synth.methods.search import TURN_BACKS, join
from synth.methods.thoughts import Markers
from tests.synth.chat.test_format_odd_templates import THINKING
from tests.synth.tokenizers import CHATML, im_format

THINK = Markers().thinking(im_format(CHATML))
OPENED = CHATML.replace("assistant\n' }}", "assistant\n<think>\n' }}")
STRIPPED = CHATML.replace(
    "m.content", "(m.content.split('</think>') | last)"
)  # as DeepSeek-R1 and its distilled models


class Scripted:
    """An engine that says what a function of the prompt's text and the sample's number makes up."""

    name = "scripted"
    description = "scripted"
    max_length = 4096

    def __init__(self, chat: ChatFormat, say: Callable[[str, int], str]) -> None:
        self.chat = chat
        self.say = say
        self.usage = Usage()
        self.prompts: list[str] = []

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        prompt = self.chat.tokenizer.decode(token_ids)
        self.prompts += [prompt] * sampling.n
        texts = [self.say(prompt, len(self.prompts) - sampling.n + number) for number in range(sampling.n)]
        return [self.completion(text) for text in texts]

    def completion(self, text: str) -> Completion:
        """A text that ends in an ellipsis is one that was cut off."""
        ids = tuple(self.chat.tokenizer(text, add_special_tokens=False)["input_ids"])
        return Completion(ids, text, "length" if text.endswith("…") else "stop", 0, -1.0)

    async def logprobs(self, token_ids: Sequence[int]) -> Any:
        raise AssertionError("nothing is scored")

    async def close(self) -> None:
        pass


Ask = Callable[..., tuple[Outcome, Scripted]]


@pytest.fixture
def ask(loop: Any, verifier: Verifier) -> Ask:
    """One task, "What is 3 + 4?", put to a model that gives these answers in turn, or what a function says."""

    def run(script: list[str] | Callable[[str, int], str], template: str = CHATML, **given: Any) -> Any:
        chat = im_format(template)
        engine = Scripted(chat, script if callable(script) else lambda _, number: script[number])
        samples = given.pop("samples", 1 if callable(script) else len(script))
        settings = ReasonSettings(samples=samples, **given)
        row = Row("a", [{"role": "user", "content": "What is 3 + 4?"}], "reason", reference="7")
        return loop.run(reason(ChatModel(engine, chat, "m"), verifier, settings)(row)), engine

    return run


def content(row: Row) -> str:
    """A trace as drawn, whether the model's template has thoughts apart or not."""
    turn = row.messages[-1]
    assert turn["role"] == "assistant"
    thoughts = turn.get("reasoning_content")
    return str(turn["content"]) if thoughts is None else f"<think>\n{thoughts}\n</think>\n\n{turn['content']}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<think>a</think>7.", None),
        ("\n<think>\na\n</think>\n\n7.\n", None),
        ("7.", None),
        ("<think>a", "thoughts do not end"),
        ("a</think>7.", "thoughts within the answer: </think>"),
        ("Well. <think>a</think>7.", "thoughts within the answer: <think>"),
        ("</think>a<think>7.", "thoughts within the answer: </think>"),
        ("<think>a</think>7.<think>c</think>d", "thoughts are opened or closed twice: <think>"),
        ("<think>a</think>7.</think>c", "thoughts are opened or closed twice: </think>"),
        ("<think> \n</think>7.", "empty thoughts"),
        ("<think>a</think> \n", "empty"),
    ],
)
def test_traces_taken_apart(ask: Ask, text: str, fault: str | None) -> None:
    outcome, _ = ask([text])
    assert outcome.reason == (fault and f"no right trace: of 1 the first is wrong: {fault}")


@pytest.mark.parametrize(
    "template", [CHATML, OPENED, THINKING, STRIPPED], ids=["plain", "opened", "dropped", "stripped"]
)
def test_only_the_answer_after_the_thoughts_is_judged(ask: Ask, template: str) -> None:
    begin = "" if template == OPENED else "<think>\n"
    thought_right, said_right = (
        f"{begin}The answer is 7.\n</think>\n\nThe answer is 8.",
        f"{begin}The answer is 8.\n</think>\n\nThe answer is 7.",
    )
    outcome, _ = ask([thought_right, said_right], template)
    assert outcome.reason is None
    row = outcome.row
    assert content(row) == "<think>\nThe answer is 8.\n</think>\n\nThe answer is 7."
    assert (row.answer, row.samples, row.extra["samples_right"]) == ("7", 2, 1)
    outcome, _ = ask([thought_right], template)
    assert str(outcome.reason).startswith("no right trace: of 1 the first is wrong: ")


@pytest.mark.parametrize(
    ("script", "template", "fault"),
    [
        (["<think>The answer is 7."], CHATML, "thoughts do not end"),
        (["The answer is 7."], OPENED, "thoughts do not end"),
        (["So…</think>The answer is 7, or…"], OPENED, "cut off"),
        (
            ["<think>The answer is 7.</think>The answer is 8, no: <think>The answer is 7."],
            CHATML,
            "thoughts are opened or closed twice: <think>",
        ),
        (["<think>a</think>The answer is 7.<|im_start|>"], CHATML, "template debris: <|im_start|>"),
    ],
)
def test_traces_that_no_model_should_learn(ask: Ask, script: list[str], template: str, fault: str) -> None:
    outcome, _ = ask(script, template)
    assert outcome.reason == f"no right trace: of 1 the first is wrong: {fault}"


def test_markers_of_ones_own(ask: Ask) -> None:
    own = Markers("[THINK]", "[/THINK]")
    outcome, _ = ask(["[THINK]The answer is 8.[/THINK]The answer is 7."], markers=own)
    assert outcome.reason is None and outcome.row.answer == "7"
    outcome, _ = ask(["[THINK]The answer is 7."], markers=own)
    assert "thoughts do not end" in str(outcome.reason)


def test_the_chat_templates_own_markers_count(ask: Ask) -> None:
    """Markers of the template's own stand in traces without being named; mistakes are joined within them."""
    own = CHATML.replace(
        "+ m.content", "+ ('[THINK]' + m.reasoning_content + '[/THINK]' if m.reasoning_content else '') + m.content"
    )
    script = ["[THINK]So 8.[/THINK]The answer is 8.", "[THINK]The answer is 8.\nSo 7.[/THINK]The answer is 7."]
    outcome, _ = ask(script, own, search=1)
    turn = outcome.row.messages[-1]
    assert (turn["content"], outcome.row.answer, outcome.row.extra["turn_backs"]) == ("The answer is 7.", "7", 1)
    first, back, last = turn["reasoning_content"].split("\n\n")
    assert (first, last) == ("So 8.", "The answer is 8.\nSo 7.") and back in TURN_BACKS


TRACES = [
    "As I know it from school and from everyday life, 3 + 4 = 7. The answer is 7.",
    "As I know, 3 + 4 = 7. The answer is 7.",
    "The answer is 8.",
    "The answer is 7.",
]


@pytest.mark.parametrize(
    ("select", "limit", "taken"),
    [
        ("shortest", None, [3]),
        ("first", None, [0]),
        ("first", "mean", [1]),
        ("all", None, [0, 1, 3]),
        ("all", "mean", [1, 3]),
    ],
)
def test_selection_and_length(ask: Ask, select: str, limit: str | None, taken: list[int]) -> None:
    outcome, engine = ask(TRACES, select=select, length_limit=limit)
    assert [content(row) for row in (outcome.row, *outcome.more)] == [TRACES[number] for number in taken]
    assert len({row.id for row in (outcome.row, *outcome.more)}) == len(taken)
    assert len(engine.prompts) == (1 if (select, limit) == ("first", None) else 4)


def test_of_equal_traces_the_first_is_kept(ask: Ask) -> None:
    outcome, _ = ask([TRACES[0], TRACES[3], TRACES[0]], samples=3, select="all")
    assert [content(row) for row in (outcome.row, *outcome.more)] == [TRACES[0], TRACES[3]]


def test_a_limit_in_tokens(ask: Ask) -> None:
    outcome, _ = ask(TRACES, length_limit="3")
    assert str(outcome.reason).startswith("too long: the shortest right trace has ")
    right = [Answer(Completion(tuple(range(n)), "a", "length"), Turn("a"), Verdict("right")) for n in (4, 5, 9)]
    assert [trace.tokens for trace in within(right, "5")] == [4, 5]
    assert [trace.tokens for trace in within(right, "mean")] == [4, 5]


def test_mistakes_before_the_right_answer(ask: Ask) -> None:
    wrong = ["3 + 4 = 8. The answer is 8.", "3 + 4 = 9. The answer is 9.", "3 + 4 = 6. The answer is…"]
    outcome, _ = ask([*wrong, "3 + 4 = 7. The answer is 7."], search=5)
    row = outcome.row
    first, one, second, other, last = content(row).split("\n\n")
    assert {first, second} == set(wrong[:2])  # what was cut off is no mistake to learn from
    assert {one, other} <= set(TURN_BACKS) and one != other
    assert last == "3 + 4 = 7. The answer is 7."
    assert (row.answer, row.verdict, row.extra["turn_backs"], row.logprob) == ("7", "right", 2, None)
    assert row.extra["tokens"] > 60
    again, _ = ask([*wrong, "3 + 4 = 7. The answer is 7."], search=5)
    assert content(again.row) == content(row)
    outcome, _ = ask([*wrong, "The answer is 7."], search=1)
    assert outcome.row.extra["turn_backs"] == 1
    outcome, _ = ask(["The answer is 7.", "The answer is 7."], search=1)
    assert (outcome.row.extra["turn_backs"], outcome.row.logprob) == (0, -1.0)


@pytest.mark.parametrize("template", [CHATML, OPENED])
def test_mistakes_are_made_in_thoughts(ask: Ask, template: str) -> None:
    begin = "" if template == OPENED else "<think>\n"
    script = [f"{begin}So 8.\n</think>\n\nThe answer is 8.", f"{begin}So 7.\n</think>\n\nThe answer is 7."]
    outcome, _ = ask(script, template, search=2)
    opened, turn, rest = content(outcome.row).split("\n\n", 2)
    assert opened == "<think>\nSo 8." and turn in TURN_BACKS
    assert rest == "So 7.\n</think>\n\nThe answer is 7."


def test_a_joined_trace_that_reads_wrong_or_fills_the_window_stands_alone(ask: Ask) -> None:
    outcome, _ = ask(["The answer is 8.", "The answer is 7."], search=1)
    assert outcome.row.extra["turn_backs"] == 1
    outcome, _ = ask(
        ["So: \\boxed{8}. The answer is 8.", "The answer is 7."], search=1
    )  # a boxed answer is the one that counts
    assert (content(outcome.row), outcome.row.extra["turn_backs"]) == ("The answer is 7.", 0)
    outcome, _ = ask([" ".join(map(str, range(4000))), "The answer is 7."], search=1)
    assert (content(outcome.row), outcome.row.extra["turn_backs"]) == ("The answer is 7.", 0)


def test_joining() -> None:
    for seed in range(50):
        text = join(["a", "b", "c"], " d", THINK, random.Random(seed))
        pieces = text.split("\n\n")
        assert text.startswith(" a") and pieces[2::2] == ["b", "c", "d"]
        assert pieces[1] != pieces[3] != pieces[5]


@pytest.mark.parametrize(
    ("text", "unit", "steps"),
    [
        ("a\nb\n\n c", "line", ["a", "b", "c"]),
        ("a\nb\n \n\n c", "paragraph", ["a\nb", "c"]),
        ("It is 3.5. Is it? Yes!\nSo", "sentence", ["It is 3.5.", "Is it?", "Yes!", "So"]),
        ("你好。好吗？好", "sentence", ["你好。", "好吗？", "好"]),
        ("<think>\na\n\nb\n</think>\n\nc", "line", ["<think>\na", "b", "</think>\n\nc"]),
        ("1. a\n2) b. c", "sentence", ["1. a", "2) b.", "c"]),
        ("a\n---\nb\n---", "line", ["a", "---\nb\n---"]),
        ("3 + 4\n= 7.\n7.", "line", ["3 + 4", "= 7.\n7."]),
        ("---", "line", ["---"]),
    ],
)
def test_steps(text: str, unit: str, steps: list[str]) -> None:
    assert [text[start:end] for start, end in cut(text, unit, THINK)] == steps


def test_cutting_takes_time_by_length_alone() -> None:
    for text in ("a" + " " * 200_000 + "b", "a" + "\n" * 200_000 + "b", "a\n-" * 50_000, "-\n" * 100_000 + "a"):
        for unit in ("line", "paragraph", "sentence"):
            assert cut(text, unit, THINK)


@pytest.mark.parametrize("template", [CHATML, OPENED])
def test_the_value_of_a_step_is_the_share_that_ends_right(ask: Ask, template: str) -> None:
    begin = "" if template == OPENED else "<think>\n"
    trace = f"{begin}First.\nSecond.\n</think>\n\nThe answer is 7."

    def say(prompt: str, number: int) -> str:
        if "First." not in prompt:
            return trace
        if "Second." not in prompt:
            return ("\n" if prompt.endswith(".") else "") + (
                "So.\n</think>\nThe answer is 7." if number % 4 == 0 else "Hm."
            )
        return "\n</think>\nThe answer is 7."

    outcome, engine = ask(say, template, step_rollouts=4)
    extra = outcome.row.extra
    assert extra["steps"] == ["<think>\nFirst.", "Second.", "</think>\n\nThe answer is 7."]
    assert extra["step_values"] == [0.25, 1.0, 1.0]
    assert content(outcome.row) == "<think>\nFirst.\nSecond.\n</think>\n\nThe answer is 7."
    whole = engine.prompts[0] + trace
    assert all(whole.startswith(prompt) for prompt in engine.prompts)
    weak, _ = ask(say, template, step_rollouts=4, min_step_value=0.5)
    assert weak.reason == "weak step: after step 1 of 3, 0.25 ended right"
    assert weak.row.extra["step_values"] == [0.25, 1.0, 1.0]
    fine, _ = ask(say, template, step_rollouts=4, min_step_value=0.25)
    assert fine.reason is None


def test_of_all_right_traces_those_with_a_weak_step_are_left_out(ask: Ask) -> None:
    traces = ["A guess.\nThe answer is 7.", "3 + 4 = 7.\nThe answer is 7."]

    def say(prompt: str, number: int) -> str:
        if number < 2:
            return traces[number]
        return "\nThe answer is 8." if "guess" in prompt else "\nThe answer is 7."

    settings: dict[str, Any] = {"samples": 2, "select": "all", "step_rollouts": 2}
    outcome, _ = ask(say, min_step_value=0.5, **settings)
    assert outcome.reason is None and not outcome.more
    assert content(outcome.row) == traces[1]
    outcome, _ = ask(say, **settings)
    assert [row.extra["step_values"] for row in (outcome.row, *outcome.more)] == [[0.0, 1.0], [1.0, 1.0]]


@pytest.fixture(scope="module")
def valued(loop: Any, transformers_engine: Engine, chat: ChatFormat, verifier: Verifier) -> list[Outcome]:
    """Real tasks of two skills on the sample model, each with up to two mistakes, its steps valued."""
    sampling = Sampling(max_tokens=80, temperature=1.0)
    settings = ReasonSettings(3, 4, "random", search=2, step_rollouts=4, step_unit="sentence", sampling=sampling)
    method = reason(ChatModel(transformers_engine, chat, "sample"), verifier, settings)
    tasks = [pair for skill, size in (("two_step", 14), ("arithmetic", 4)) for pair in suite(skill, "dev", size)]
    rows = [
        Row(digest(question), [{"role": "user", "content": question}], "reason", reference=answer)
        for question, answer in tasks
    ]

    async def all_rows() -> list[Outcome]:
        return list(await asyncio.gather(*map(method, rows)))

    found: list[Outcome] = loop.run(all_rows())
    return found


def test_values_tell_right_steps_from_wrong_ones(valued: list[Outcome]) -> None:
    rows = [outcome.row for outcome in valued if outcome.reason is None]
    assert len(rows) >= 10
    after_right, after_wrong = [], []
    for row in rows:
        steps, values = row.extra["steps"], row.extra["step_values"]
        assert len(steps) == len(values) and " ".join(steps).split() == content(row).split()
        assert all(value in (0, 0.25, 0.5, 0.75, 1) for value in values)
        assert content(row).rstrip(".").endswith(str(row.answer))
        turns = [number for number, step in enumerate(steps) if step.startswith(("Wait", "Hmm", "No,"))]
        assert len(turns) == row.extra["turn_backs"]
        after_right.append(values[-2])  # all but "The answer is …" is worked out
        after_wrong += [values[turn - 1] for turn in turns]
    assert sum(row.extra["turn_backs"] > 0 for row in rows) >= 3
    assert sum(after_right) / len(after_right) > 0.8 > 0.3 > sum(after_wrong) / len(after_wrong)


def test_a_task_without_a_usable_reference_is_rejected_before_anything_is_drawn(
    loop: Any, transformers_engine: Engine, chat: ChatFormat, verifier: Verifier
) -> None:
    before = transformers_engine.usage.requests
    method = reason(ChatModel(transformers_engine, chat, "sample"), verifier, ReasonSettings())
    outcome = loop.run(method(Row("a", [{"role": "user", "content": "How many?"}], "reason")))
    assert outcome.reason == "reference unscorable: no reference"
    assert transformers_engine.usage.requests == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"samples": 0}, "`samples` must be at least 1"),
        ({"select": "longest"}, "`select` longest is unknown; take shortest"),
        ({"length_limit": "0"}, "`length_limit` must be mean or a number of tokens, not 0"),
        ({"length_limit": "-3"}, "not -3"),
        ({"search": -1}, "`search` must be 0 or more"),
        ({"search": 1, "samples": 1}, "`samples` 2 or more"),
        ({"step_rollouts": -1}, "`step_rollouts` must be 0 or more"),
        ({"step_unit": "word"}, "`step_unit` word is unknown; take line"),
        ({"min_step_value": 0.5}, "give `step_rollouts`"),
        ({"min_step_value": 2, "step_rollouts": 1}, "between 0 and 1"),
        ({"min_step_value": 0.5, "step_rollouts": 1, "search": 1}, "give one of the two"),
        ({"sampling": Sampling(temperature=0)}, "temperature 0"),
        ({"samples": 1, "step_rollouts": 2, "sampling": Sampling(temperature=0)}, "temperature 0"),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ReasonSettings(**settings)


@pytest.mark.parametrize("pair", [("", "b"), (" a", "b"), ("a", "a"), ("ab", "b"), ("a", "\n")])
def test_markers_that_cannot_be_told_apart(pair: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match="`think_"):
        Markers(*pair)
