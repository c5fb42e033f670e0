"""An engine that answers as a test says: for what a model would say too seldom to be tested."""

from collections.abc import Callable, Sequence
from typing import Any

from synth.chat.format import ChatFormat
from synth.engines.base import Completion, Sampling, Usage
from synth.errors import RequestError
from synth.generation.chat_model import ChatModel


class Scripted:
    """`say` makes an answer of a prompt's text and the sampling; None is a request that fails, an ellipsis cuts it off.

    `asked` holds every request: the prompt's token ids, and the sampling.
    """

    name = "scripted"
    description = "scripted"
    max_length = 4096

    def __init__(self, chat: ChatFormat, say: Callable[[str, Sampling], str | None]) -> None:
        self.usage = Usage()
        self.asked: list[tuple[list[int], Sampling]] = []
        self._chat = chat
        self._say = say

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        """The answer, cut off where it is too long."""
        self.asked.append((list(token_ids), sampling))
        text = self._say(self._chat.tokenizer.decode(token_ids), sampling)
        if text is None:
            raise RequestError("refused by the server")
        ids = self._chat.tokenizer(text, add_special_tokens=False)["input_ids"]
        fits = len(ids) <= sampling.max_tokens
        whole = fits and not text.endswith("…")
        ids = ids[: sampling.max_tokens]
        text = text if fits else self._chat.tokenizer.decode(ids)
        return [Completion(tuple(ids), text, "stop" if whole else "length", None, -1.0)]

    @property
    def prompts(self) -> list[str]:
        """The texts of the prompts, in the order in which they were asked."""
        return [self._chat.tokenizer.decode(ids) for ids, _ in self.asked]

    async def logprobs(self, token_ids: Sequence[int]) -> Any:
        """Not asked for."""
        raise NotImplementedError

    async def close(self) -> None:
        """Nothing to free."""


def chat_model(chat: ChatFormat, say: Callable[[str, Sampling], str | None]) -> ChatModel:
    """One who answers as `say` says."""
    return ChatModel(Scripted(chat, say), chat, "scripted")


def always(chat: ChatFormat, text: str | None) -> ChatModel:
    """One who always answers the same."""
    return chat_model(chat, lambda prompt, sampling: text)
