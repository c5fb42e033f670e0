"""The interface to a model: token ids in, completions or log-probabilities out.

All code that depends on a model library is behind this protocol, so that a method reads the same over vLLM in
process, transformers on a laptop, or a server elsewhere.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from synth.errors import RequestError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sampling:
    """How one prompt is continued.

    `temperature` 0 is greedy. `top_k` is how many of the likeliest tokens may be drawn (None: all of them), of which
    `top_p` keeps its share. `seed` fixes the draw of this request alone. Generation ends at a token of
    `stop_ids`, at the end of the first occurrence of a string of `stop`, or after `max_tokens` tokens; whatever
    ended it is not part of the completion's text or tokens. Nothing else ends it: an engine adds no
    end-of-sequence id of its own (the chat format lists them all in `stop_ids`).
    """

    max_tokens: int = 1024
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int | None = None
    n: int = 1
    seed: int = 0
    stop_ids: tuple[int, ...] = ()
    stop: tuple[str, ...] = ()
    logprob: bool = False

    def chosen(self) -> dict[str, Any]:
        """The fields that a user chooses, by the names of the settings; the others belong to a single request."""
        chosen = {"max_tokens": self.max_tokens, "temperature": self.temperature, "top_p": self.top_p}
        return chosen if self.top_k is None else chosen | {"top_k": self.top_k}

    def __post_init__(self) -> None:
        """Refuse settings no engine can follow.

        Raises:
            UsageError: a value is out of its range.
        """
        if self.max_tokens < 1:
            raise UsageError(f"`max_tokens` must be at least 1, not {self.max_tokens}")
        if not 0 <= self.temperature < math.inf:
            raise UsageError(f"`temperature` must be 0 (greedy) or a number above it, not {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"`top_p` must be above 0 and at most 1, not {self.top_p}")
        if self.top_k is not None and self.top_k < 1:
            raise UsageError(f"`top_k` must be at least 1, not {self.top_k}")
        if self.n < 1:
            raise UsageError(f"`samples` must be at least 1, not {self.n}")


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation of a prompt.

    `token_ids` and `text` are without what ended it (a stop id, a stop string and what follows it).
    `finish` is "stop", or "length" where `max_tokens` or the model's window cut it off. `stop_reason` is the
    stop id or stop string that ended it. `logprob` is the sum over the drawn tokens (the stop id included), in
    nats, of the model's own log-probabilities (temperature 1, all tokens), where `Sampling.logprob` asked for it.
    `text` keeps special tokens and white space as drawn.
    """

    token_ids: tuple[int, ...]
    text: str
    finish: Literal["stop", "length"]
    stop_reason: int | str | None = None
    logprob: float | None = None


@dataclass(slots=True)
class ServerUsage:
    """What one server has done of the work of an engine.

    `state` is "well" where it gets requests. `requests` were answered; `errors` are tries that failed, or were
    overtaken by another. `seconds` are those in which it had something to do.
    """

    url: str
    state: str = "new"
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Usage:
    """Counts the tokens that an engine has processed, for the progress line and the summary.

    `servers` counts them by server, where there are any.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    servers: list[ServerUsage] = field(default_factory=list)


class Engine(Protocol):
    """A model that continues and scores token ids. Safe for thousands of concurrent awaits on one event loop."""

    name: str
    """"vllm", "transformers" or "server": part of a run's settings, as texts differ between them."""
    description: str
    """One line for people: the engine, the device and the dtype in use."""
    usage: Usage
    max_length: int
    """The window: a prompt and its completion together hold at most this many tokens."""

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        """Continue one prompt `sampling.n` times; the list has that length.

        Raises:
            RequestError: this request cannot be served (the prompt leaves no room in the window, the server
                refused it, …). Others are not affected.
            RunError: the engine is dead.
        """
        ...

    async def logprobs(self, token_ids: Sequence[int]) -> "NDArray[np.float32]":
        """Log-probability (nats, float32, shape `[len(token_ids)]`) of each token given those before it.

        The first is NaN: nothing precedes it.

        Raises:
            UsageError: this kind of engine does not score: vLLM in process.
            RequestError: as for `generate`.
            RunError: as for `generate`.
        """
        ...

    async def close(self) -> None:
        """Free the model. Requests under way fail with RunError."""
        ...


def unheard(line: str) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How an engine runs a model; each engine uses the options that it knows.

    `dtype` "auto" is the model's own on an accelerator and float32 on a CPU. `timeout` (seconds of silence, more
    for long completions) and `retries` (failures with which a request is given up, more where servers fail by chance)
    are those of one request to a server; after `patience` seconds without an answer of any server the run ends. `say`
    is told, in one line each, what becomes of servers. `adapter` is the directory
    of an adapter of peft that is applied to the model, or, on a server, what the model is called there with it.
    `engine_args` are arguments of vLLM's own, or of a user's engine. `concurrency` is that of one engine; there are
    `data_parallel` of them, each on `tensor_parallel` GPUs.
    """

    dtype: str = "auto"
    device: str = "auto"
    max_length: int | None = None
    concurrency: int = 256
    tensor_parallel: int = 1
    data_parallel: int = 1
    gpu_memory: float | None = None
    api_key: str | None = field(default=None, repr=False)
    timeout: float = 600.0
    retries: int = 6
    patience: float = 300.0
    say: Callable[[str], None] = field(default=unheard, repr=False, compare=False)
    adapter: str | None = None
    engine_args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def at_once(self) -> int:
        """Requests that all engines of a model work on at once."""
        return self.concurrency * self.data_parallel

    def single(self) -> Self:
        """The same options where one engine has one device."""
        return replace(self, tensor_parallel=1, data_parallel=1)


GPU_MEMORY = 0.9
"""Default share of a GPU's memory for vLLM where no other model is on the GPU."""

Tokenizer = Any
"""A transformers tokenizer (PreTrainedTokenizerBase); typed loosely since transformers is imported late."""


def sequence_room(prompt_tokens: int, max_length: int, max_tokens: int) -> int:
    """How many tokens may be drawn after a prompt: `max_tokens`, or less where the window is near.

    Raises:
        RequestError: the prompt alone fills the window.
    """
    if prompt_tokens == 0:
        raise RequestError("the prompt is empty")
    room = max_length - prompt_tokens
    if room < 1:
        raise RequestError(f"the prompt has {prompt_tokens} tokens; the model's window holds {max_length}")
    return min(room, max_tokens)
