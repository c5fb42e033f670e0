"""The value of each step of an answer, estimated by rollouts (Math-Shepherd, arXiv 2312.08935).

An answer is cut into steps. From the end of each step the model goes on several times, and the share of those
completions that end right is the step's value (the paper's soft estimation). The last step's needs no rollout: it is
that of the answer itself.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from synth.chat.answer_starts import AnswerStart, answer_starts
from synth.chat.thinking import Thinking, loose
from synth.data.row import Message
from synth.engines.base import Completion, Sampling
from synth.generation.chat_model import Answer, ChatModel

_BREAKS = {
    "line": re.compile(r"\n\s*"),
    "paragraph": re.compile(r"\n[^\S\n]*\n\s*"),
    "sentence": re.compile(r"\n\s*|(?<=[.!?])\s+|(?<=[。！？])"),
}
UNITS = tuple(_BREAKS)
"""The units into which an answer can be cut."""

_NUMBERING = re.compile(r"[\s*#>-]*\d+[.)]\s*")


def cut(text: str, unit: str, thinking: Thinking) -> list[tuple[int, int]]:
    """The (start, end) characters of each step of a stripped text; white space between steps belongs to none.

    A piece without words (a marker of thoughts, a bullet, the number of a list item) is part of the step after it.
    """
    breaks = [gap.span() for gap in _BREAKS[unit].finditer(text)] + [(len(text), len(text))]
    steps: list[tuple[int, int]] = []
    start = piece = 0
    for end, following in breaks:
        if _says_something(text[piece:end], thinking):
            steps.append((start, start + len(text[start:end].rstrip())))
            start = following
        piece = following
    if start < len(text) and steps:  # Nothing follows the last step.
        steps[-1] = (steps[-1][0], len(text))
    return steps or [(0, len(text))]


def _says_something(piece: str, thinking: Thinking) -> bool:
    bare = re.sub(f"{loose(thinking.opener)}|{loose(thinking.closer)}", "", piece)
    return re.search(r"\w", bare) is not None and not _NUMBERING.fullmatch(bare)


async def step_values(
    chat_model: ChatModel,
    messages: list[Message],
    trace: str,
    opening: str,
    steps: Sequence[tuple[int, int]],
    how: Callable[[int], Sampling],
    judge: Callable[[Completion], Awaitable[Answer]],
) -> list[float]:
    """The share of rollouts that end right after each step of a right trace, 0 to 1.

    Args:
        chat_model: the model.
        messages: what is answered.
        trace: the answer, with the white space that was drawn before it.
        opening: what the prompt already holds of the trace, if anything.
        steps: as `cut` gives them for the stripped trace.
        how: how the text is continued after the step of a number (from 1), `n` times.
        judge: gives the verdict on a completion whose text is a whole trace.

    Raises:
        RequestError: see `Engine.generate`.
    """
    drawn = trace[len(opening) :]
    shift = len(trace) - len(trace.lstrip()) - len(opening)
    starts = answer_starts(chat_model.chat, messages, drawn, [end + shift for _, end in steps[:-1]])

    async def value(number: int, start: AnswerStart) -> float:
        sampling = replace(how(number), stop_ids=chat_model.chat.answer_stop_ids, stop=chat_model.chat.answer_stop)
        completions = await chat_model.engine.generate(start.ids, sampling)
        whole = [replace(completion, text=opening + start.text + completion.text) for completion in completions]
        answers = await asyncio.gather(*map(judge, whole))
        return sum(answer.right for answer in answers) / len(answers)

    return [*await asyncio.gather(*(value(*numbered) for numbered in enumerate(starts, 1))), 1.0]
