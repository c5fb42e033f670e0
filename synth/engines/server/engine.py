"""The server engine: any OpenAI-compatible `/v1/completions` (vLLM, SGLang, llama.cpp, TGI, LM Studio, gateways).

Chat completions are not used: chat templates are rendered in one place, and Magpie must send half a conversation.
"""

import os
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import httpx

from synth.engines.base import Completion, Engine, EngineOptions, Sampling, Tokenizer, Usage, sequence_room
from synth.engines.server.http import Http, PermanentError, TransientError, printable
from synth.engines.server.probe import Probe
from synth.engines.server.scores import check_prompt, prompt_scores
from synth.engines.server.wire import Choice, Dialect, Reply, read_reply, request_body
from synth.errors import RequestError, UsageError
from synth.values import LARGEST_WINDOW

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

API_KEYS = ("SYNTH_API_KEY", "OPENAI_API_KEY")
"""Environment variables that hold the key where none is given, in this order."""
DEFAULT_WINDOW = 4096
"""Tokens of prompt and completion, where server, options and tokenizer give no limit."""
LOOKUP_SECONDS = 30.0
SECONDS_PER_TOKEN = 0.1
"""Seconds added to the time-out for every token that may be drawn, as a server is silent while it generates."""
BYTES_PER_TOKEN = 1024
"""Bytes allowed per token of an answer: text, ids and log-probabilities as JSON."""


async def open_server(url: str, model: str | None, tokenizer: Tokenizer, options: EngineOptions) -> Engine:
    """Find out what the server at `url` runs and understands, and open an engine for it.

    Args:
        url: `http(s)://host:port`, with or without `/v1`.
        model: the name that the server gives the model; any other name or path (that of the tokenizer) will do
            where the server runs a single model.
        tokenizer: that of the model.
        options: `adapter` (what the server calls the model with it), `api_key` (else SYNTH_API_KEY or OPENAI_API_KEY of
            the environment), `concurrency`, `timeout`, `retries` and `max_length` are used.

    Raises:
        UsageError: a bad URL, no server there, no access, no such model, no `/v1/completions`, or a tokenizer that
            is not the model's.
    """
    http = Http(server_root(url), _authorisation(options), options)
    try:
        return await _open(http, options.adapter or model, tokenizer, options)
    except BaseException as error:
        await http.close()
        if isinstance(error, TransientError):
            problem = f"the server at {http.url} does not answer ({error}): is it running, and is the address right?"
            raise UsageError(problem) from error
        if isinstance(error, PermanentError):
            raise UsageError(_no_access(http, error)) from error
        raise


async def _open(http: Http, model: str | None, tokenizer: Tokenizer, options: EngineOptions) -> "ServerEngine":
    card = _choose_model(http, await _model_cards(http, model), model, exactly=options.adapter is not None)
    dialect = await Probe(http, card.id, tokenizer, options.timeout).dialect()
    software = await _software(http, card)
    return ServerEngine(
        http,
        card.id,
        tokenizer,
        dialect,
        max_length=_window(card, options, tokenizer),
        timeout=options.timeout,
        description=f"server {software}at {http.url}, model {printable(card.id, 80)}, {dialect}",
    )


class ServerEngine:
    """The `Engine` protocol over one server.

    A server that takes only OpenAI's own fields also stops at its own end-of-sequence token, and answers with text
    alone, which is tokenised anew.
    """

    name = "server"

    def __init__(
        self,
        http: Http,
        model: str,
        tokenizer: Tokenizer,
        dialect: Dialect,
        *,
        max_length: int,
        timeout: float,
        description: str,
    ) -> None:
        self.description = description
        self.usage = Usage()
        self.max_length = max_length
        self.dialect = dialect
        self._http = http
        self._model = model
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
            stop_texts = tuple(self._stop_text(token) for token in sampling.stop_ids)
            body = request_body(self._model, self._prompt(token_ids), ask, self.dialect, stop_texts=stop_texts)
            reply = await self._post(body, tokens=ask.n * room)
            if self.dialect.token_ids:
                check_prompt(reply, token_ids)
            fresh = [self._completion(choice, sampling) for choice in reply.choices[: ask.n]]
            self._count(reply, len(token_ids), sum(len(completion.token_ids) for completion in fresh))
            completions += fresh
        self.usage.requests += 1
        return completions * (sampling.n // wanted)

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
            raise RequestError(
                f"the server at {self._http.url} gives no log-probabilities of a prompt (echo with logprobs): "
                "use `engine` transformers for scores"
            )
        ask = Sampling(max_tokens=1, logprob=True)
        body = request_body(self._model, self._prompt(token_ids), ask, self.dialect)
        body |= {"echo": True, "max_tokens": self.dialect.echo}
        reply = await self._post(body, tokens=len(token_ids))
        scores[1:] = prompt_scores(reply, token_ids, self.dialect.echo, self.dialect.token_ids, self._decode)
        self._count(reply, len(token_ids), 0)
        self.usage.requests += 1
        return scores

    async def close(self) -> None:
        """See `Engine.close`."""
        await self._http.close()

    async def _post(self, body: dict[str, Any], tokens: int) -> Reply:
        """Send one request; `tokens` bounds its answer in size, and what may be drawn in time."""
        return await self._http.post(
            "/v1/completions",
            body,
            read_reply,
            silence=self._timeout + SECONDS_PER_TOKEN * body["max_tokens"],
            max_bytes=(1 << 20) + BYTES_PER_TOKEN * tokens,
        )

    def _count(self, reply: Reply, prompt_tokens: int, completion_tokens: int) -> None:
        counted = reply.prompt_tokens, reply.completion_tokens
        self.usage.prompt_tokens += prompt_tokens if counted[0] is None else counted[0]
        self.usage.completion_tokens += completion_tokens if counted[1] is None else counted[1]

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


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One entry of `/v1/models`, as far as it is used. `root` is the path that vLLM loaded."""

    id: str
    root: str | None = None
    owner: str | None = None
    window: int | None = None


def server_root(url: str) -> str:
    """`http(s)://host[:port][/path]` of a server, from its address with or without `/v1`.

    Raises:
        UsageError: not an address of that kind.
    """
    try:
        parsed = httpx.URL(url.strip())
    except httpx.InvalidURL as error:
        raise UsageError(f"{printable(url)!r} is not a URL ({error})") from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise UsageError(f"{printable(url)!r} is not the URL of a server: http://HOST:PORT/v1 or https://…")
    if parsed.query or parsed.fragment:
        raise UsageError(f"{printable(url)!r}: give the server's URL without ? and #")
    path = parsed.path.rstrip("/").removesuffix("/v1")
    return str(parsed.copy_with(path=path or "/")).rstrip("/")


def _authorisation(options: EngineOptions) -> dict[str, str]:
    key = options.api_key or next((os.environ[name] for name in API_KEYS if os.environ.get(name)), "")
    if not key:
        return {}
    if not (key.strip().isascii() and key.strip().isprintable()):
        raise UsageError("the API key holds characters that no key has: check `api_key` or the environment")
    return {"Authorization": f"Bearer {key.strip()}"}


def _no_access(http: Http, error: PermanentError) -> str:
    if error.status in (401, 403):
        return (
            f"the server at {http.url} gives no access ({error}): "
            f"set `api_key` or the environment variable {' or '.join(API_KEYS)}"
        )
    return f"the server at {http.url} is not an OpenAI-compatible server, or not at this address ({error})"


async def _model_cards(http: Http, model: str | None) -> list[ModelCard]:
    """The models that the server lists; none where it has no list and `model` says which to use."""
    try:
        body = await http.once("GET", "/v1/models", silence=LOOKUP_SECONDS)
    except PermanentError as error:
        if error.status == 404 and model is not None:
            return []
        raise
    listed = body.get("data") if isinstance(body, dict) else None
    entries = [entry for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    windows = {entry.get("id"): entry.get("max_model_len") for entry in entries if isinstance(entry.get("id"), str)}
    cards = []
    for entry in entries:
        if isinstance(entry.get("id"), str):
            root, owner, window, parent = (entry.get(key) for key in ("root", "owned_by", "max_model_len", "parent"))
            if window is None and isinstance(parent, str):  # an adapter has the window of its model
                window = windows.get(parent)
            cards.append(
                ModelCard(
                    entry["id"],
                    root=root if isinstance(root, str) else None,
                    owner=owner if isinstance(owner, str) else None,
                    window=window if isinstance(window, int) and 0 < window <= LARGEST_WINDOW else None,
                )
            )
    return cards


def _choose_model(http: Http, cards: list[ModelCard], model: str | None, *, exactly: bool) -> ModelCard:
    """The model of that name on a server, or, unless it is to be exactly that one, the only one that there is."""
    for card in cards:
        if model is not None and model in (card.id, card.root):
            return card
    if len(cards) == 1 and not exactly:
        return cards[0]
    if not cards and model is not None:
        return ModelCard(model)
    if not cards:
        raise UsageError(f"the server at {http.url} lists no model: name the one to use with `model`")
    names = ", ".join(printable(card.id, 80) for card in cards[:10]) + (", …" if len(cards) > 10 else "")
    raise UsageError(f"the server at {http.url} does not list {model!r}; name one of its models: {names}")


async def _software(http: Http, card: ModelCard) -> str:
    """The server's software for messages, such as "vLLM 0.32.0 "; empty where it is unknown."""
    if card.owner != "vllm":
        return ""
    try:
        body = await http.once("GET", "/version", silence=LOOKUP_SECONDS)
    except (PermanentError, TransientError):
        body = None
    version = body.get("version") if isinstance(body, dict) else None
    return f"vLLM {printable(version, 20)} " if version else "vLLM "


def _window(card: ModelCard, options: EngineOptions, tokenizer: Tokenizer) -> int:
    """Tokens of prompt and completion: the smaller of the server's and the option, else the tokenizer's limit."""
    given = [window for window in (card.window, options.max_length) if window is not None]
    if given:
        return min(given)
    limit: int = tokenizer.model_max_length
    return limit if limit <= LARGEST_WINDOW else DEFAULT_WINDOW


def _unshaped(sampling: Sampling) -> bool:
    """Whether tokens are drawn from the model's own distribution."""
    return sampling.temperature == 1 and sampling.top_p == 1 and sampling.top_k is None
