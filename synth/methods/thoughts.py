"""Thoughts in an answer: `<think>` what the model works out for itself `</think>`, then what it says.

A reasoning model writes its thoughts before its answer, between two markers. Some chat templates open them in the
prompt, so that what is drawn begins in the middle of the thoughts. A trace is put back together with its markers, and
its answer alone is judged: what stands in the thoughts is never taken for the answer.
"""

from dataclasses import dataclass

from synth.chat.format import ChatFormat
from synth.errors import UsageError


@dataclass(frozen=True, slots=True)
class Trace:
    """An answer, split into thoughts and the rest.

    `thoughts` are None where the answer has none. `fault` says why the markers make no sense; the rest is empty then.
    """

    thoughts: str | None = None
    answer: str = ""
    fault: str | None = None

    @property
    def working(self) -> str:
        """The working: the thoughts, or the answer where it has none."""
        return self.thoughts or self.answer


@dataclass(frozen=True, slots=True)
class Markers:
    """The texts that open and close the thoughts."""

    open: str = "<think>"
    close: str = "</think>"

    def __post_init__(self) -> None:
        """Refuse markers that cannot be told apart.

        Raises:
            UsageError: one is blank, has white space at its edges, or is part of the other.
        """
        for name, marker in (("think_open", self.open), ("think_close", self.close)):
            if not marker.strip() or marker != marker.strip():
                raise UsageError(f"`{name}` must be a text without white space at its edges, not {marker!r}")
        if self.open in self.close or self.close in self.open:
            raise UsageError(f"`think_open` {self.open} and `think_close` {self.close} cannot be told apart")

    def opening(self, prompt: str) -> str:
        """What a prompt holds of the answer to come: the marker that opens the thoughts at its end, or nothing."""
        at = prompt.rfind(self.open)
        return prompt[at:] if at >= 0 and not prompt[at + len(self.open) :].strip() else ""

    def take_apart(self, text: str) -> Trace:
        """The thoughts and the answer of a whole trace.

        Thoughts may occur once, at the start. Anything else is a fault, as it is unclear which part is the answer.
        """
        text = text.strip()
        if self.open not in text and self.close not in text:
            return Trace(answer=text)
        if self.open not in text:
            return Trace(fault="thoughts without a beginning")
        if not text.startswith(self.open):
            return Trace(fault="thoughts not at the start")
        thoughts, closed, answer = text.removeprefix(self.open).partition(self.close)
        if not closed:
            return Trace(fault="thoughts without an end")
        if any(marker in part for marker in (self.open, self.close) for part in (thoughts, answer)):
            return Trace(fault="thoughts opened or closed twice")
        if not thoughts.strip():
            return Trace(fault="empty thoughts")
        if not answer.strip():
            return Trace(fault="no answer after the thoughts")
        return Trace(thoughts.strip(), answer.strip())


def opening_of(chat: ChatFormat, markers: Markers) -> str:
    """What a model's chat template opens of an answer's thoughts in every prompt, or nothing."""
    return markers.opening(chat.asked_text([{"role": "user", "content": "Why?"}]))
