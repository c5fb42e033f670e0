"""The server engine: any OpenAI-compatible `/v1/completions` (vLLM, SGLang, llama.cpp, TGI, LM Studio, gateways).

Chat completions are not used: chat templates are rendered in one place, and Magpie must send half a conversation.
"""

import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from synth.engines.base import Completion, Engine, EngineOptions, Sampling, Tokenizer, sequence_room
from synth.engines.server.addresses import Addresses
from synth.engines.server.http import printable
from synth.engines.server.identity import API_KEYS, DIES_OF_SCORES, Wanted
from synth.engines.server.order import Taken
from synth.engines.server.pool import Pool
from synth.engines.server.scores import check_prompt, prompt_scores
from synth.engines.server.wire import Choice, Reply, request_body
from synth.errors import RequestError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECONDS_PER_TOKEN = 0.1
"""Seconds added to the time-out for every token that may be drawn, as a server is silent while it generates."""
BYTES_PER_TOKEN = 1024
"""Bytes allowed per token of an answer: text, ids and log-probabilities as JSON."""

MOST_TIMES = 4
"""A text is not read as more than so many times the tokens that it is here."""


async def open_server(
    engine: str | Sequence[str], model: str | None, tokenizer: Tokenizer, options: EngineOptions
) -> Engine:
    """Find out what the servers run and understand, and open an engine over all of them.

    Args:
        engine: `http(s)://host:port` of one or several, with or without `/v1`; or a file with one a line.
        model: the name that the servers give the model; any other name or path (that of the tokenizer) will do
            where a server runs a single model.
        tokenizer: that of the model.
        options: `adapter` (what the servers call the model with it), `api_key` (else SYNTH_API_KEY or OPENAI_API_KEY of
            the environment), `concurrency` (of all of them together), `timeout`, `retries`, `patience`, `max_length`
            and `say` are used.

    Raises:
        UsageError: a bad URL or file; or none of the servers can be used: it is not there, gives no access, has no such
            model, no `/v1/completions`, or a tokenizer that is not the model's.
    """
    pool = Pool(Addresses(engine), Wanted(model, tokenizer, options), _authorisation(options))
    try:
        first = await pool.open()
    except BaseException:
        await pool.close()
        raise
    found, others = pool.first, len(pool.usage.servers) - 1
    beside = f" and {others} more" if others else ""
    return ServerEngine(
        pool,
        tokenizer,
        timeout=options.timeout,
        description=f"server {found.software}at {first.http.url}{beside}, model {printable(found.card.id, 80)}, "
        f"{found.dialect}",
    )


class ServerEngine:
    """The `Engine` protocol over a pool of servers, which may be one.

    A server that takes only OpenAI's own fields also stops at its own end-of-sequence token, and answers with text
    alone, which is tokenised anew.
    """

    name = "server"

    def __init__(self, pool: Pool, tokenizer: Tokenizer, *, timeout: float, description: str) -> None:
        self.description = description
        self.usage = pool.usage
        self.max_length = pool.first.window
        self.dialect = pool.first.dialect
        self._pool = pool
        self._tokenizer = tokenizer
        self._timeout = timeout
        self._stop_texts: dict[int, str] = {}

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        """See `Engine.generate`."""
        room = sequence_room(len(token_ids), self.max_length, sampling.max_tokens)
        wanted = 1 if sampling.temperature == 0 else sampling.n  # all greedy completions are the same
        completions: list[Completion] = []
        while len(completions) < wanted:  # some servers give one completion, whatever n is
            drawn = len(completions)
            ask = replace(sampling, max_tokens=room, n=wanted - drawn, seed=sampling.seed + drawn)
            completions += await self._complete(token_ids, ask, sampling)
        self.usage.requests += 1
        return completions * (sampling.n // wanted)

    async def _complete(self, token_ids: Sequence[int], ask: Sampling, sampling: Sampling) -> list[Completion]:
        """The completions of one request, `ask.n` at most."""
        stop_texts = tuple(self._stop_text(token) for token in sampling.stop_ids)
        body = request_body(self._prompt(token_ids), ask, self.dialect, stop_texts=stop_texts)

        def read(reply: Reply) -> Taken:
            if self.dialect.token_ids:
                check_prompt(reply, token_ids)
            choices = reply.choices[: ask.n]
            fresh = [self._completion(choice, sampling) for choice in choices]
            ours = sum(
                len(one.token_ids if choice.token_ids is None else choice.token_ids)
                for one, choice in zip(fresh, choices, strict=True)
            )
            exactly = all(choice.token_ids is not None for choice in choices)
            most = ours if exactly else ask.n * ask.max_tokens
            return Taken(
                fresh,
                self._prompt_tokens(reply, len(token_ids)),
                _plausible(reply.completion_tokens, ours, (ours, most)),
            )

        drawn: list[Completion] = await self._post(body, read, tokens=ask.n * ask.max_tokens)
        return drawn

    async def logprobs(self, token_ids: Sequence[int]) -> "NDArray[np.float32]":
        """See `Engine.logprobs`. vLLM needs room for one more token in its window.

        Numbers of other tokens than those given are refused (`prompt_scores`).
        """
        import numpy as np

        if not 0 < len(token_ids) <= self.max_length:
            raise RequestError(f"{len(token_ids)} tokens cannot be scored; the model's window holds {self.max_length}")
        scores = np.full(len(token_ids), np.nan, dtype=np.float32)
        if len(token_ids) == 1:
            return scores
        if self.dialect.echo is None:
            why = "it gives none (echo with logprobs): use `engine` transformers for scores"
            raise UsageError(
                f"the server at {self.usage.servers[0].url} cannot be asked for log-probabilities of a prompt: "
                f"{DIES_OF_SCORES if self._pool.first.dies_of_scores else why}"
            )
        echo = self.dialect.echo
        body = request_body(self._prompt(token_ids), Sampling(max_tokens=1, logprob=True), self.dialect)
        body |= {"echo": True, "max_tokens": echo}

        def read(reply: Reply) -> Taken:
            values = prompt_scores(reply, token_ids, echo, self.dialect.token_ids, self._decode)
            return Taken(values, self._prompt_tokens(reply, len(token_ids)), 0)

        scores[1:] = await self._post(body, read, tokens=len(token_ids))
        self.usage.requests += 1
        return scores

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._pool.close()

    async def _post(self, body: dict[str, Any], read: Callable[[Reply], Taken], tokens: int) -> Any:
        """Send one request; `tokens` bounds its answer in size, and what may be drawn in time."""
        return await self._pool.send(
            body,
            read,
            silence=self._timeout + SECONDS_PER_TOKEN * body["max_tokens"],
            max_bytes=(1 << 20) + BYTES_PER_TOKEN * tokens,
        )

    def _prompt_tokens(self, reply: Reply, sent: int) -> int:
        """The tokens of a prompt: those sent as ids are known, of a text the server's count is taken if it can be."""
        most = sent if self.dialect.token_ids else MOST_TIMES * sent
        return _plausible(reply.prompt_tokens, sent, (min(1, sent), most))

    def _prompt(self, token_ids: Sequence[int]) -> str | Sequence[int]:
        if self.dialect.token_ids:
            return [int(token) for token in token_ids]  # not numpy's integers: JSON has none
        text = self._decode(token_ids)
        return text.removeprefix(self._tokenizer.bos_token) if self.dialect.adds_bos else text

    def _completion(self, choice: Choice, sampling: Sampling) -> Completion:
        """The server's choice with whatever ended it taken off, whether or not the server did so."""
        text, ids, reason = choice.text, choice.token_ids, choice.stop_reason
        logprobs = choice.token_logprobs
        finish: Literal["stop", "length"] = choice.finish or "length"
        end = next((i for i, token in enumerate(ids or ()) if token in sampling.stop_ids), None)
        if ids is not None and end is not None:
            if logprobs is not None and len(logprobs) != len(ids):
                logprobs = None  # it is unknown which tokens they belong to
            if end + 1 < len(ids) or reason != ids[end]:
                text = self._decode(ids[:end])
            logprobs = None if logprobs is None else logprobs[: end + 1]
            finish, reason, ids = "stop", ids[end], ids[:end]

        ends: dict[str, int | str] = {stop: stop for stop in sampling.stop}
        if ids is None:
            ends |= {self._stop_text(token): token for token in sampling.stop_ids}
        first = min(((at, stop) for stop in ends if stop and (at := text.find(stop)) >= 0), default=None)
        if first is not None:
            at, stop = first
            if at + len(stop) < len(text):
                logprobs = None  # it is unknown which of them belong to the kept text
            text, finish, reason = text[:at], "stop", ends[stop]
        elif isinstance(reason, str):
            reason = ends.get(reason)
        if ids is None:
            ids = self._encode(text)
        elif isinstance(reason, str):
            ids = self._ids_of(text, ids)
        return Completion(ids, text, finish, reason, self._sum(logprobs, sampling))

    def _sum(self, logprobs: tuple[float | None, ...] | None, sampling: Sampling) -> float | None:
        """The sum of the drawn tokens' log-probabilities, where they are those of the model itself."""
        raw = self.dialect.logprobs == "raw" or _unshaped(sampling)
        if not sampling.logprob or not raw or not logprobs:
            return None
        known = [value for value in logprobs if value is not None]
        return sum(known) if len(known) == len(logprobs) else None

    def _ids_of(self, text: str, ids: Sequence[int]) -> tuple[int, ...]:
        """The drawn tokens that make `text`, a beginning of what was drawn.

        Where `text` ends inside a token, the part of that token is tokenised anew.
        """
        kept = bisect_right(range(len(ids) + 1), len(text), key=lambda n: len(self._decode(ids[:n]))) - 1
        while kept > 0 and not text.startswith(self._decode(ids[:kept])):  # ends in part of a character
            kept -= 1
        rest = text[len(self._decode(ids[:kept])) :]
        return (*ids[:kept], *self._encode(rest))

    def _stop_text(self, token: int) -> str:
        if token not in self._stop_texts:
            self._stop_texts[token] = self._decode([token])
        return self._stop_texts[token]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False)) if text else ()


def _authorisation(options: EngineOptions) -> dict[str, str]:
    key = options.api_key or next((os.environ[name] for name in API_KEYS if os.environ.get(name)), "")
    if not key:
        return {}
    if not (key.strip().isascii() and key.strip().isprintable()):
        raise UsageError("the API key holds characters that no key has: check `api_key` or the environment")
    return {"Authorization": f"Bearer {key.strip()}"}


def _plausible(counted: int | None, ours: int, bounds: tuple[int, int]) -> int:
    """A server's count of tokens where it can be true, else ours."""
    return counted if counted is not None and bounds[0] <= counted <= bounds[1] else ours


def _unshaped(sampling: Sampling) -> bool:
    """Whether tokens are drawn from the model's own distribution."""
    return sampling.temperature == 1 and sampling.top_p == 1 and sampling.top_k is None
