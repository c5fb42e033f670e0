"""Conversations far beyond the model's window must not hold up those of others."""

import asyncio
import random
import re
import string
from collections.abc import Callable
from typing import Any

import pytest

from synth.chat.format import LONG, ChatFormat
from synth.data.row import Row
from synth.engines.base import Engine, Sampling
from synth.errors import RequestError
from synth.generation.chat_model import ChatModel
from synth.methods.rate import following_difficulty

WORD = "".join(random.Random(0).choices(string.ascii_lowercase, k=300_000))
ASKED = [{"role": "user", "content": WORD}]
ANSWERED = [*ASKED, {"role": "assistant", "content": "It is 4."}]


@pytest.mark.parametrize(
    "ask",
    [
        lambda chat_model: chat_model.reply(ASKED, Sampling(max_tokens=4)),
        lambda chat_model: chat_model.logprobs(ANSWERED),
        lambda chat_model: following_difficulty(chat_model, Row("a", ANSWERED, "rate")),
    ],
    ids=["reply", "logprobs", "following difficulty"],
)
def test_long_texts_do_not_stop_the_event_loop(
    loop: Any, transformers_engine: Engine, chat: ChatFormat, ask: Callable[[ChatModel], Any]
) -> None:
    chat_model = ChatModel(transformers_engine, chat, "sample")

    async def turns() -> tuple[str, int]:
        """What became of it, and how often others had their turn meanwhile."""
        asking, count = asyncio.ensure_future(ask(chat_model)), 0
        while not asking.done():
            await asyncio.sleep(0.001)
            count += 1
        return str(asking.exception()), count

    reason, count = loop.run(turns())
    assert count > 10
    tokens = len(chat.template.token_ids(WORD))
    found = re.fullmatch(r"the prompt has (\d+) tokens; the model's window holds 51[23]", reason)
    assert found and tokens < int(found[1]) < tokens + 20


@pytest.mark.parametrize("length", [LONG - 1, LONG])
def test_long_and_short_texts_have_the_same_tokens(loop: Any, chat: ChatFormat, length: int) -> None:
    messages = [{"role": "user", "content": ("What is 2 + 3? " * length)[:length]}]

    async def both() -> tuple[list[list[int]], Any]:
        twice = [chat.aside(ChatFormat.answer_prompt, messages) for _ in range(2)]
        return await asyncio.gather(*twice), await chat.aside(ChatFormat.encode, messages)

    prompts, encoded = loop.run(both())
    assert prompts == [chat.answer_prompt(messages)] * 2
    assert encoded == chat.encode(messages)


def test_a_long_text_that_cannot_be_asked_is_refused(loop: Any, transformers_engine: Engine, chat: ChatFormat) -> None:
    chat_model = ChatModel(transformers_engine, chat, "sample")
    with pytest.raises(RequestError, match="control token"):
        loop.run(chat_model.reply([{"role": "user", "content": WORD + "<|end|>"}], Sampling(max_tokens=4)))
