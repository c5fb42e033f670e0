"""Models that think, asked in their modes: a scripted engine draws what such models draw."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from synth.chat.derive import chat_format
from synth.chat.format import ChatFormat
from synth.data.row import Row
from synth.engines.base import Completion, Sampling, Usage
from synth.errors import UsageError
from synth.generation.asking import Asking, by_row
from synth.generation.chat_model import ChatModel
from synth.generation.screen import answer_fault
from synth.methods.magpie import MagpieSettings, magpie
from synth.methods.self_output import SelfOutputSettings, self_output
from synth.scoring.encoding import RowEncoder, rendering
from tests.synth.tokenizers import IM, small_tokenizer, stored_format

HYBRID = (
    "{%- set ns = namespace(last=-1) -%}"
    "{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor -%}"
    "{%- for m in messages -%}{{- '<|im_start|>' + m.role + '\n' -}}"
    "{%- if m.role == 'assistant' and loop.index0 > ns.last -%}"
    "{{- '<think>\n' + (m.reasoning_content or '') + '\n</think>\n\n' -}}{%- endif -%}"
    "{{- m.content + '<|im_end|>\n' -}}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}"
    "{%- if enable_thinking is defined and not enable_thinking -%}{{- '<think>\n\n</think>\n\n' -}}{%- endif -%}"
    "{%- endif -%}"
)


class Scripted:
    """An engine that draws what a function says to a prompt's text, in tokens one character each."""

    name = description = "scripted"
    max_length = 4096

    def __init__(self, chat: ChatFormat, draw: Callable[[str], str]) -> None:
        self.chat, self.draw, self.usage = chat, draw, Usage()
        self.asked: list[tuple[list[int], Completion]] = []

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        text = self.draw(self.chat.tokenizer.decode(list(token_ids)))
        ids = [number for sign in text for number in self.chat.template.token_ids(sign)]
        done = len(ids) < sampling.max_tokens
        ids = ids[: sampling.max_tokens]
        said = self.chat.tokenizer.decode(ids)
        end = self.chat.end_ids[0] if done else None
        completion = Completion(tuple(ids), said, "stop" if done else "length", end, -1.0)
        self.asked.append((list(token_ids), completion))
        return [completion]

    async def logprobs(self, token_ids: Sequence[int]) -> Any:
        raise AssertionError("nothing is scored here")

    async def close(self) -> None:
        """There is nothing to free."""


def thinker(prompt: str) -> str:
    if prompt.endswith("user\n"):
        return "What is two and two?"
    if prompt.endswith("</think>\n\n"):
        return "Four."
    return "<think>\nTwo and two …\n</think>\n\nIt is **four**."


@pytest.fixture
def chat() -> ChatFormat:
    return chat_format(small_tokenizer(HYBRID, IM, bos=None, eos="<|im_end|>"))


def model(chat: ChatFormat, draw: Callable[[str], str] = thinker, **options: Any) -> tuple[ChatModel, Scripted]:
    engine = Scripted(chat, draw)
    return ChatModel(engine, chat, "m", **options), engine


def test_magpie_in_both_modes_trains_on_what_was_drawn(chat: ChatFormat, loop: Any) -> None:
    chat_model, engine = model(chat)
    asking = Asking(mode="both", thinking_share=0.4)
    method = by_row(asking, 0, chat_model, lambda one: magpie(one, MagpieSettings(turns=2)))
    outcomes = [loop.run(method(Row(f"row {number}", [], "magpie"))) for number in range(60)]
    assert {outcome.reason for outcome in outcomes} == {None}
    thinking = [outcome.row for outcome in outcomes if outcome.row.extra["mode"] == "thinking"]
    assert 0.25 < len(thinking) / 60 < 0.55
    drawn = {(*prompt, *completion.token_ids, chat.end_ids[0]) for prompt, completion in engine.asked}
    for row in (outcome.row for outcome in outcomes):
        thought = ["reasoning_content" in turn for turn in row.messages[1::2]]
        assert thought == [row.extra["mode"] == "thinking"] * 2
        examples = RowEncoder(chat).conversation(row.messages, **rendering(row.extra))
        for example in examples:
            trained = [index for index, wanted in enumerate(example.wanted) if wanted]
            assert tuple(example.ids[: trained[-1] + 1].tolist()) in drawn
        assert len(examples) == 2  # the prompt of the second turn holds no thoughts, or no empty ones, of the first


def test_self_output_judges_the_answer_and_keeps_the_thoughts(chat: ChatFormat, loop: Any) -> None:
    chat_model, _ = model(chat)
    seen: list[str] = []

    class Judge:
        name, votes = "judge", False

        async def check(self, response: str, task: Any) -> Any:
            from filters.verdict import RIGHT, Verdict

            seen.append(response)
            return Verdict(RIGHT, response)

        def gold(self, task: Any) -> None:
            return None

        def vote(self, verdicts: Sequence[Any]) -> list[Any]:
            return list(verdicts)

    judge: Any = Judge()
    method = by_row(
        Asking(mode="thinking"), 0, chat_model, lambda one: self_output(one, judge, SelfOutputSettings(samples=1))
    )
    outcome = loop.run(method(Row("r", [{"role": "user", "content": "2+2?"}], "self-output")))
    assert outcome.reason is None and seen[-1] == "It is **four**."
    assert outcome.row.messages[-1]["reasoning_content"] == "Two and two …"


def test_thoughts_that_do_not_end(chat: ChatFormat, loop: Any) -> None:
    chat_model, _ = model(chat, lambda prompt: "Why?" if prompt.endswith("user\n") else "<think>\nhm " + "h m " * 300)
    for thought_tokens, most in ((None, 100), (50, 100)):
        settings = MagpieSettings(answer=Sampling(max_tokens=most, temperature=0))
        one = ChatModel(chat_model.engine, chat, "m", thought_tokens=thought_tokens).in_mode("thinking")
        assert loop.run(magpie(one, settings)(Row("r", [], "magpie"))).reason == "answer thoughts do not end"


def test_budgets_of_thoughts_and_answers_are_apart(chat: ChatFormat, loop: Any) -> None:
    def long(prompt: str) -> str:
        return "Why is that so?" if prompt.endswith("user\n") else f"<think>\n{'x' * 200}\n</think>\n\n{'y' * 80}."

    def reason(max_tokens: int, thought_tokens: int | None) -> str | None:
        settings = MagpieSettings(answer=Sampling(max_tokens=max_tokens, temperature=0))
        one = ChatModel(Scripted(chat, long), chat, "m", thought_tokens=thought_tokens).in_mode("thinking")
        found: str | None = loop.run(magpie(one, settings)(Row("r", [], "magpie"))).reason
        return None if found in (None, "answer repetition") else found

    assert reason(120, 400) is None
    assert reason(40, 400) == "answer cut off"
    assert reason(400, 100) == "answer cut off"
    assert reason(120, None) == "answer thoughts do not end"
    assert reason(400, None) is None


def test_what_cannot_work_is_refused(chat: ChatFormat) -> None:
    turns = "{% for m in messages %}{{ '<|im_start|>' + m.role + m.content + '<|im_end|>' }}{% endfor %}"
    plain = chat_format(small_tokenizer(turns, IM, bos=None, eos="<|im_end|>"))
    with pytest.raises(UsageError, match=r"`mode` thinking: .* no modes"):
        by_row(Asking(mode="both"), 0, model(plain)[0], lambda one: magpie(one, MagpieSettings()))
    with pytest.raises(UsageError, match="`mode` often is unknown; there are thinking, plain, both"):
        Asking(mode="often")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="`thinking_share` must be between 0 and 1, not 1"):
        Asking(thinking_share=1)
    with pytest.raises(UsageError, match="`thought_tokens` must be at least 1"):
        Asking(thought_tokens=0)


def test_settings_are_recorded_where_they_are_given() -> None:
    assert Asking().record() == {}
    assert Asking({"reasoning_effort": "high"}, "both", 0.3, 100).record() == {
        "template_args": {"reasoning_effort": "high"},
        "mode": "both",
        "thinking_share": 0.3,
        "thought_tokens": 100,
    }


GPT_OSS_ENDS = "<|end|><|start|>assistant"
GPT_OSS = [  # as gpt-oss draws its answers after `<|start|>assistant`
    f"<|channel|>analysis<|message|>Simple.{GPT_OSS_ENDS}<|channel|>final<|message|>Four.",
    f"<|channel|>analysis<|message|>Need 2+2.\n\nFour.{GPT_OSS_ENDS}<|channel|>final<|message|>**4**\n\n- so\n",
    f"<|channel|>analysis<|message|>One.{GPT_OSS_ENDS}<|channel|>analysis<|message|>Two."
    f"{GPT_OSS_ENDS}<|channel|>final<|message|>4",
    f"<|channel|>commentary<|message|>I will add.{GPT_OSS_ENDS}<|channel|>final<|message|>4",
    f"<|channel|>analysis<|message|>Hm.{GPT_OSS_ENDS}<|channel|>commentary<|message|>Let me see."
    f"{GPT_OSS_ENDS}<|channel|>final<|message|>4",
    "<|channel|>final<|message|>Four, of course.",
    f"<|channel|>analysis<|message|>{GPT_OSS_ENDS}<|channel|>final<|message|>4",
    f" <|channel|>analysis<|message|> Spaced. {GPT_OSS_ENDS} <|channel|>final<|message|> 4 ",
]
GPT_OSS_BROKEN = {
    "<|channel|>analysis<|message|>It never ends": "thoughts do not end",
    "Four.": "no channel",
    f"<|channel|>final<|message|>4{GPT_OSS_ENDS}<|channel|>analysis<|message|>or 5?": "thoughts after the answer",
    f"<|channel|>analysis<|message|>a{GPT_OSS_ENDS}<|channel|>final<|message|>4<|start|>": "template debris: <|start|>",
}


def _says(text: str, _: str) -> str:
    return text


def test_answers_on_channels_are_accepted_and_trained_on_as_drawn(loop: Any) -> None:
    chat = stored_format("gptoss")
    question = [{"role": "user", "content": "2+2?"}]
    for text in GPT_OSS:
        chat_model, engine = model(chat, partial(_says, text))
        row = Row("r", list(question), "self-output")
        completion = loop.run(chat_model.reply(row.messages, Sampling(max_tokens=1000)))
        assert answer_fault(completion, chat) is None, text
        turn = chat_model.put(row, completion)
        assert turn.content.strip("* \n-so") and "<|" not in turn.content + (turn.reasoning or "")
        [example] = RowEncoder(chat).conversation(row.messages, **rendering(row.extra))
        [(prompt, drawn)] = engine.asked
        assert example.ids.tolist() == [*prompt, *drawn.token_ids, drawn.stop_reason]
        assert example.wanted.sum() == len(drawn.token_ids) + 1
    for text, fault in GPT_OSS_BROKEN.items():
        completion = Completion((1, 2, 3), text, "stop", chat.end_ids[0])
        assert answer_fault(completion, chat) == fault
