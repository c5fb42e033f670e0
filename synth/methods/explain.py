"""Thoughts for human answers: the model is shown a question and its answer, and writes the thoughts that lead there.

A model that thinks forgets how when it is trained on answers without thoughts. STaR (arXiv 2203.14465) has a model
rationalise answers that it is given; here the human answer stays as it is, and the thoughts are verified without it:
put before an answer to the bare question, they must lead the model to a right one by themselves.

Differs from the paper: the answer is no hint within the question, and what comes after the thoughts is not taken.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pyarrow as pa

from filters.verdict import UNSCORABLE, WRONG, Task, Verdict
from synth.chat.answer_starts import AnswerStart, answer_starts
from synth.chat.format import ChatFormat
from synth.chat.turn import put_together
from synth.data.prompts import task_of
from synth.data.row import Message, Outcome, Row, digest
from synth.errors import UsageError
from synth.generation.chat_model import Answer, ChatModel, each_once
from synth.generation.prompt_files import fill
from synth.generation.screen import answer_fault
from synth.generation.verification import Verifier, check_reference, reference_fault
from synth.methods.reason import ReasonSettings, within
from synth.methods.self_output import choose
from synth.seeds import seed_of

COLUMNS = pa.schema(
    [
        ("samples_right", pa.int32()),  # of the samples drawn, those whose thoughts lead to a right answer
        ("tokens", pa.int32()),  # of the thoughts
    ]
)

_TELLTALE = re.compile(
    r"\b(?:given|provided|known|stated|reference|expected) (?:final |correct |right )?(?:answer|solution|result)\b"
    r"|\b(?:answer|solution|result) (?:is|was|that is|that was) (?:already )?(?:given|provided|known|stated)\b",
    re.IGNORECASE,
)


def explain(chat_model: ChatModel, verifier: Verifier, settings: ReasonSettings) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model.

    Raises:
        UsageError: the model is to answer without thinking.
    """
    if chat_model.mode == "plain":
        raise UsageError("`explain` writes thoughts, and `mode` plain has none: leave `mode` out")
    return _Explaining(chat_model, verifier, settings).complete


class _Explaining:
    """One model at work: asked for thoughts, without thinking if it can, and answering from them as after its own."""

    def __init__(self, chat_model: ChatModel, verifier: Verifier, settings: ReasonSettings) -> None:
        chat = chat_model.chat
        self.asking = chat_model.in_mode("plain") if "plain" in chat.modes else chat_model
        self.thinking = chat_model.in_mode("thinking") if "thinking" in chat.modes else chat_model
        self.verifier = verifier
        self.settings = settings
        self.prompt = settings.prompt()

    async def complete(self, row: Row) -> Outcome:
        """The method itself."""
        settings, task = self.settings, task_of(row)
        row.verifier = self.verifier.name
        if row.reference is None:
            return Outcome(row, "no reference: there is no answer to explain")
        if fault := reference_fault(await check_reference(self.verifier, task)):
            return Outcome(row, fault)
        drawn = await self.draw_all(row, task)
        right = [thoughts for thoughts in drawn if thoughts.right]
        row.samples, row.extra["samples_right"] = len(drawn), len(right)
        if not right:
            return Outcome(row, _why(drawn))
        kept = within(right, settings.length_limit)
        if not kept:
            return Outcome(
                row, f"too long: the shortest thoughts that lead there have {min(map(_tokens, right))} tokens"
            )
        if settings.select == "all":
            chosen = each_once(kept)
        else:
            chosen = [choose(kept, settings.select, random.Random(seed_of(settings.seed, row.id, "choice")))]
        rows = [row, *(replace(row, id=digest(row.id, n), extra=dict(row.extra)) for n in range(1, len(chosen)))]
        for one, thoughts in zip(rows, chosen, strict=True):
            turn: Message = {"role": "assistant", "content": row.reference.strip(), "reasoning_content": thoughts.text}
            one.messages = [*one.messages, turn]
            one.model = self.thinking.name
            one.verdict, one.answer = thoughts.verdict.kind, thoughts.verdict.answer
            one.extra |= {"tokens": _tokens(thoughts), **self.thinking.rendering(), "mode": "thinking"}
        return Outcome(row, None, rows[1:])

    async def draw_all(self, row: Row, task: Task) -> list[Answer]:
        """Thoughts for an answer, with the verdict on what they lead to: up to the first right ones, or all of them."""
        ask = fill(self.prompt, question=task.prompt, reference=row.reference or "")
        system = [turn for turn in row.messages if turn["role"] == "system"]
        prompt = await self.asking.prompt([*system, {"role": "user", "content": ask}])

        async def sample(number: int) -> Answer:
            sampling = replace(self.settings.sampling, seed=seed_of(self.settings.seed, row.id, "thoughts", number))
            completion = await self.asking.answer(prompt, sampling)
            turn = self.asking.chat.parse(completion.text)
            if fault := answer_fault(completion, self.asking.chat) or _telltale(turn.content, task):
                return Answer(completion, turn, Verdict(WRONG, None, fault))
            return Answer(completion, turn, await self.verdict(row, task, turn.content))

        if self.settings.select != "first" or self.settings.length_limit is not None:
            return list(await asyncio.gather(*map(sample, range(self.settings.samples))))
        drawn: list[Answer] = []
        while len(drawn) < self.settings.samples and not (drawn and drawn[-1].right):
            drawn.append(await sample(len(drawn)))
        return drawn

    async def verdict(self, row: Row, task: Task, thoughts: str) -> Verdict:
        """What the model answers, at its likeliest, to the bare question after these thoughts: right or not."""
        start = await self.thinking.chat.aside(lambda chat, messages: _after(chat, messages, thoughts), row.messages)
        completion = await self.thinking.answer(start.ids, replace(self.settings.sampling, temperature=0.0))
        whole = replace(completion, text=start.text + completion.text)
        if fault := answer_fault(whole, self.thinking.chat):
            return Verdict(WRONG, None, fault)
        return await self.verifier.check(self.thinking.chat.parse(whole.text).content, task)


def _after(chat: ChatFormat, messages: Sequence[Message], thoughts: str) -> AnswerStart:
    """The prompt for an answer that follows these thoughts."""
    turn: Message = {"role": "assistant", "content": "", "reasoning_content": thoughts}
    drawn = put_together(turn, chat.thinking, chat.begun)
    [start] = answer_starts(chat, messages, drawn, [len(drawn)])
    return start


def _tokens(thoughts: Answer) -> int:
    return len(thoughts.completion.token_ids)


def _telltale(thoughts: str, task: Task) -> str | None:
    """Why thoughts give away that the answer was known; None if they do not, or the task speaks so itself."""
    known = f"{task.prompt} {task.reference}".casefold()
    phrases = (match[0] for match in _TELLTALE.finditer(thoughts))
    return next((f"speaks of the answer: {phrase}" for phrase in phrases if phrase.casefold() not in known), None)


def _why(drawn: list[Answer]) -> str:
    """The reason for an answer with no thoughts that lead there: of the first thoughts, and why."""
    first = drawn[0].verdict
    if all(thoughts.verdict.kind == UNSCORABLE for thoughts in drawn):
        return f"no answer from the thoughts could be judged: {first.reason}"
    told = first.reason if first.answer is None else f"they lead to {first.answer}"
    return f"no thoughts lead to a right answer: of {len(drawn)} the first are {first.kind}: {told}"
