"""A server whose answers prompt and seed decide: rows that several of them make can be compared letter by letter."""

import asyncio
import random
from typing import Any

from tests.synth.engines.misbehaving import Body, MisbehavingServer, answer_text, slow

MODELS = {"data": [{"id": "m", "max_model_len": 512}]}
WORDS = ["one", "two", "three", "four", "red", "green", "blue", "small", "large", "old", "new", "long"]


def written(body: Body) -> Any:
    """Twelve words, with the log-probabilities of an echoed prompt."""
    prompt = list(body["prompt"])
    dice = random.Random(f"{body.get('seed')} {prompt}")
    scored = [None, *(-float(token % 7) for token in prompt[1:])] if body.get("echo") else []
    values = [*scored, *[-1.0] * max(body["max_tokens"] > 0, not scored)]
    logprobs = {"token_logprobs": values, "top_logprobs": [{"a": -len(prompt) / 10}]} if "logprobs" in body else None
    return answer_text(" ".join(dice.choices(WORDS, k=12)), logprobs=logprobs)(body)


def serve(arguments: list[str]) -> None:
    """Answer for ever: on a port, each request after some seconds."""
    port, seconds = arguments

    async def forever() -> None:
        server = MisbehavingServer(answer=written, models=MODELS)
        server.always = slow(float(seconds))
        await server.listen(int(port))
        await asyncio.Event().wait()

    asyncio.run(forever())
