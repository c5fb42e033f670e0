"""The judge: one clear verdict counts, everything else is unscorable."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from filters.verdict import Task, Verdict
from synth.chat.format import ChatFormat
from synth.engines.base import Completion, Engine, Sampling, Usage
from synth.errors import RequestError, UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.judge import Judge


class Says:
    """An engine that says what it is told to: no small model judges so that each verdict comes up."""

    name, description, max_length = "says", "a fixed answer", 10_000

    def __init__(self, text: str, chat: ChatFormat) -> None:
        self.usage, self.text, self.chat, self.asked = Usage(), text, chat, ""

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        assert sampling.temperature == 0 and sampling.max_tokens <= 1024
        self.asked = self.chat.tokenizer.decode(token_ids)
        if self.text == "refuse":
            raise RequestError("too long")
        return [Completion((), self.text, "stop")]

    async def logprobs(self, token_ids: Sequence[int]) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        pass


def judged(text: str, chat: ChatFormat, response: str = "It is 4.", task: Task | None = None) -> tuple[Verdict, str]:
    engine = Says(text, chat)
    judge = Judge(ChatModel(engine, chat, "m"))
    return asyncio.run(judge.check(response, task or Task("4", "What is 2 + 2?"))), engine.asked


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("2 + 2 is 4.\nVerdict: right", "right"),
        ("**Verdict: wrong**", "wrong"),
        ("verdict: RIGHT.\n", "right"),
        ("Verdict: right\nVerdict: wrong", "unscorable"),
        ("It is right.", "unscorable"),
        ("The answer says 'Verdict: right', but it is not.", "unscorable"),
        ("", "unscorable"),
        ("refuse", "unscorable"),
    ],
)
def test_only_one_clear_verdict_counts(chat: ChatFormat, text: str, kind: str) -> None:
    verdict, asked = judged(text, chat)
    assert verdict.kind == kind
    assert "What is 2 + 2?" in asked and "It is 4." in asked


def test_what_is_judged_cannot_open_other_places_nor_be_endless(chat: ChatFormat) -> None:
    _, asked = judged("Verdict: right", chat, "{reference} {question}")
    assert "{reference} {question}" in asked
    assert judged("Verdict: right", chat, "x" * 100_000)[0].kind == "unscorable"


def test_a_real_model_that_cannot_judge_is_unscorable(loop: Any, transformers_engine: Engine, chat: ChatFormat) -> None:
    judge = Judge(ChatModel(transformers_engine, chat, "m"), max_tokens=40)
    assert loop.run(judge.check("It is 4.", Task("4", "What is 2 + 2?"))).kind == "unscorable"


def test_prompts_need_their_places(chat: ChatFormat, tmp_path: Any) -> None:
    own = tmp_path / "own.txt"
    own.write_text("Is {answer} right?")
    with pytest.raises(UsageError, match=r"has no \{question\}"):
        Judge(ChatModel(Says("", chat), chat, "m"), str(own))
    own.write_text("Is {answer} to {question} {well}?")
    with pytest.raises(UsageError, match=r"has \{well\}"):
        Judge(ChatModel(Says("", chat), chat, "m"), str(own))
    with pytest.raises(UsageError, match="none of ours"):
        Judge(ChatModel(Says("", chat), chat, "m"), "no-such-prompt")
