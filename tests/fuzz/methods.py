"""Methods of a user's own, for `synth run`: each takes what the command hands to it."""

from dataclasses import replace

import pyarrow as pa

from synth.data.prompts import task_of
from synth.data.row import Outcome, Row
from synth.engines.base import Sampling
from synth.generation.chat_model import ChatModel
from synth.generation.verification import Verifier


async def answered(row: Row, model: ChatModel, sampling: Sampling) -> str:
    """The model's answer."""
    return (await model.reply(row.messages, sampling)).text


async def copied(row: Row) -> str | None:
    """The reference, where there is one."""
    return row.reference


async def tried(row: Row, model: ChatModel, sampling: Sampling, verifier: Verifier) -> Outcome:
    """The second of two answers, and how many of them are right in a column of its own."""
    right = 0
    for number in range(2):
        reply = await model.reply(row.messages, replace(sampling, seed=sampling.seed + number))
        right += (await verifier.check(reply.text, task_of(row))).kind == "right"
    row.extra["right"] = right
    row.messages = [*row.messages, {"role": "assistant", "content": reply.text}]
    return Outcome(row)


tried.columns = pa.schema([("right", pa.int32())])  # type: ignore[attr-defined]
