"""What is sent to `/v1/completions` and what comes back: the OpenAI fields, and the extensions of vLLM and others."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from synth.engines.base import Sampling
from synth.engines.server.http import TransientError, printable
from synth.errors import UsageError

MAX_STOPS = 4
"""OpenAI's limit on stop strings, which many servers share. What does not fit is cut off on our side."""
SEED_MASK = 0x7FFFFFFF
"""Seeds are sent with 31 bits: the range that every server takes."""

EXTENSIONS: dict[str, Any] = {
    "return_token_ids": True,
    "skip_special_tokens": False,
    "spaces_between_special_tokens": False,
    "add_special_tokens": False,
    # Servers apply the model's generation_config or defaults of their own where these are left out; the model's
    # own distribution is what is asked for.
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}

FINISHES: dict[str | None, Literal["stop", "length"] | None] = {
    "stop": "stop",
    "eos_token": "stop",
    "stop_sequence": "stop",
    "length": "length",
    None: None,
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server understands, found out by asking it.

    `token_ids`: prompts go as token ids, else as text. `extensions`: it accepts the fields of `EXTENSIONS`.
    `returns_ids`: it gives the drawn token ids, as vLLM does, and so follows vLLM's other fields too.
    `adds_bos`: it puts a beginning-of-sequence token before a text prompt. `logprobs`: "raw" are those of the
    model, "processed" those after temperature. `echo`: the `max_tokens` with which it scores a prompt, if it does.
    """

    token_ids: bool
    extensions: bool
    returns_ids: bool = False
    adds_bos: bool = False
    logprobs: Literal["raw", "processed"] | None = None
    echo: int | None = None

    def __str__(self) -> str:
        return "token ids" if self.token_ids else "text prompts"


@dataclass(frozen=True, slots=True)
class Choice:
    """One completion as the server gives it.

    `token_logprobs` are in nats, None where there is no number; `top_logprob` is that of the likeliest token at
    the first position; `texts` are the tokens that they are of, as the server spells them. `prompt_token_ids` is the
    prompt as the server understood it.
    """

    text: str
    token_ids: tuple[int, ...] | None
    finish: Literal["stop", "length"] | None
    stop_reason: int | str | None
    token_logprobs: tuple[float | None, ...] | None
    top_logprob: float | None
    texts: tuple[str, ...] | None
    prompt_token_ids: tuple[int, ...] | None


@dataclass(frozen=True, slots=True)
class Reply:
    """A parsed answer: at least one choice; the tokens that the server counted and the model, where it says them."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    completion_tokens: int | None
    model: str | None = None


def request_body(
    prompt: str | Sequence[int],
    sampling: Sampling,
    dialect: Dialect,
    *,
    stop_texts: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The JSON of one request for `sampling.n` completions; the model's name is added by each server's own.

    `stop_texts` are the stop ids as text, for a server that may not know them as ids. Without extensions only
    fields that differ from OpenAI's defaults are sent: some servers refuse the others (TGI: top_p 1).

    `top_k` is no field of OpenAI's. A server that takes the extensions is sent it by vLLM's name; whether it heeds it
    cannot be told from its answers.

    Raises:
        UsageError: `top_k` is asked for, and the server does not take it.
    """
    if sampling.top_k is not None and not dialect.extensions:
        raise UsageError(
            "this server takes no top_k: go without (`top_k` 0), or use `engine` vllm or `engine` transformers"
        )
    body: dict[str, Any] = {
        "prompt": prompt if isinstance(prompt, str) else list(prompt),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "seed": sampling.seed & SEED_MASK,
    }
    if dialect.extensions:
        body |= EXTENSIONS
    if sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if sampling.top_k is not None:
        body["top_k"] = sampling.top_k
    if sampling.n > 1:
        body["n"] = sampling.n
    if dialect.returns_ids:
        body |= {"stop_token_ids": list(sampling.stop_ids), "ignore_eos": True}
        stops = sampling.stop
    else:
        # Not ignore_eos: llama.cpp takes it for "never draw the end of sequence".
        stops = tuple(dict.fromkeys(stop for stop in stop_texts + sampling.stop if stop))[:MAX_STOPS]
        if dialect.extensions:
            body["stop_token_ids"] = list(sampling.stop_ids)
    if stops:
        body["stop"] = list(stops)
    if sampling.logprob and dialect.logprobs:
        body["logprobs"] = 1
    return body


def read_reply(body: Any) -> Reply:
    """Parse an answer whose every part may be missing or of a wrong type.

    Raises:
        TransientError: there is no usable choice in it.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices:
        raise TransientError("the answer holds no choices", status=200)
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    return Reply(
        choices=tuple(_read_choice(choice) for choice in choices),
        prompt_tokens=_count(usage.get("prompt_tokens")),
        completion_tokens=_count(usage.get("completion_tokens")),
        model=body["model"] if isinstance(body.get("model"), str) else None,
    )


def _read_choice(choice: Any) -> Choice:
    if not isinstance(choice, dict) or not isinstance(choice.get("text"), str):
        raise TransientError("a choice of the answer has no text", status=200)
    finish = choice.get("finish_reason")
    if not isinstance(finish, str | None) or finish not in FINISHES:
        raise TransientError(f"the completion ended by {printable(finish, 40)!r}", status=200)
    reason = choice.get("stop_reason", choice.get("matched_stop"))  # vLLM's name, SGLang's name
    token_logprobs, top_logprob, texts = _read_logprobs(choice.get("logprobs"))
    return Choice(
        # Half a surrogate pair is legal JSON but no text: it could not be stored.
        text=choice["text"].encode("utf-8", "replace").decode("utf-8"),
        token_ids=_read_ids(choice.get("token_ids")),
        finish=FINISHES[finish],
        stop_reason=reason if isinstance(reason, int | str) and not isinstance(reason, bool) else None,
        token_logprobs=token_logprobs,
        top_logprob=top_logprob,
        texts=texts,
        prompt_token_ids=_read_ids(choice.get("prompt_token_ids")),
    )


def _read_ids(ids: Any) -> tuple[int, ...] | None:
    if ids is None:
        return None
    if not isinstance(ids, list) or any(_count(token) is None for token in ids):
        raise TransientError("the token ids of the answer are not token ids", status=200)
    return tuple(ids)


def _read_logprobs(logprobs: Any) -> tuple[tuple[float | None, ...] | None, float | None, tuple[str, ...] | None]:
    """The tokens' log-probabilities, the highest at the first position, and the tokens' texts.

    In OpenAI's form (`token_logprobs`, `top_logprobs`), or in the `content` list that llama.cpp gives instead.
    """
    if not isinstance(logprobs, dict):
        return None, None, None
    values, tops, texts = (logprobs.get(name) for name in ("token_logprobs", "top_logprobs", "tokens"))
    if values is None and isinstance(content := logprobs.get("content"), list):
        entries = [entry if isinstance(entry, dict) else {} for entry in content]
        values = [entry.get("logprob") for entry in entries]
        tops, texts = [entry.get("top_logprobs") for entry in entries], [entry.get("token") for entry in entries]
    if not isinstance(values, list):
        return None, None, None
    first = tops[0] if isinstance(tops, list) and tops else None
    if isinstance(first, list):
        first = {i: entry.get("logprob") for i, entry in enumerate(first) if isinstance(entry, dict)}
    numbers = [_number(value) for value in first.values()] if isinstance(first, dict) else []
    top = max((number for number in numbers if number is not None), default=None)
    spelt = isinstance(texts, list) and all(isinstance(text, str) for text in texts)
    return tuple(_number(value) for value in values), top, tuple(texts or ()) if spelt else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31
    return value if is_count else None
