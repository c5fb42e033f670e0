"""Which texts mark a model's thoughts in its traces: those of its chat template, or the user's."""

from dataclasses import dataclass

from synth.chat.format import ChatFormat
from synth.chat.thinking import Thinking
from synth.errors import UsageError


@dataclass(frozen=True, slots=True)
class Markers:
    """The texts that open and close thoughts; the default ones give way to those of the chat template, if any."""

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

    def thinking(self, chat: ChatFormat) -> Thinking:
        """How a model that is talked to in this way writes thoughts."""
        if chat.thinking.own and self == Markers():
            return chat.thinking
        return Thinking(f"{self.open}\n", f"\n{self.close}\n\n")
