"""The `transformers` engine: any causal language model of transformers, with dynamic batching, on one device.

The model runs in a thread of its own. Requests reach it through a queue and are answered in batches, so that the event
loop stays free for the methods. It is the reference for numbers, and what a machine without vLLM uses.
"""

import asyncio
import contextlib
import copy
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synth.engines.adapters import merged, read_adapter, said_of
from synth.engines.base import Completion, Engine, EngineOptions, Sampling, Tokenizer, Usage, sequence_room
from synth.engines.device import cache_memory, pick_device, pick_dtype
from synth.engines.hf.decoding import Decoder, SequenceState
from synth.engines.hf.forward import Scorer
from synth.engines.hf.stopping import completion
from synth.engines.loading import load_causal_model, window_of
from synth.errors import RequestError, RunError, SynthError, UsageError

_SCORED_AT_ONCE = 64
"""Scoring requests taken between two decoding steps."""


@dataclass(slots=True, eq=False)
class _Request:
    """A request that is waited for: `generate` (with `sampling`) or `logprobs` (without)."""

    token_ids: list[int]
    sampling: Sampling | None
    room: int
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    completions: dict[int, Completion] = field(default_factory=dict)


_Answer = tuple[_Request, Any]
"""A request with its result, or with the error that it gets instead."""


async def open_transformers(model: str, tokenizer: Tokenizer, options: EngineOptions) -> Engine:
    """Load a model (a directory, or an id on the Hub) and start its engine.

    Raises:
        UsageError: there is no such model, it is not a causal language model, or the options do not suit it.
    """
    return await asyncio.to_thread(lambda: TransformersEngine(load_model(model, options), tokenizer, options))


def load_model(model: str, options: EngineOptions) -> Any:
    """Load the model in the dtype and on the device of `options`, its adapter merged into it, in eval mode.

    Raises:
        UsageError: as for `open_transformers`.
    """
    device = pick_device(options.device)
    loaded = load_causal_model(model, pick_dtype(options.dtype, device)).to(device)
    return loaded if options.adapter is None else merged(loaded, read_adapter(options.adapter))


class TransformersEngine:
    """An `Engine` over a model object of transformers."""

    name = "transformers"

    def __init__(self, model: Any, tokenizer: Tokenizer, options: EngineOptions | None = None) -> None:
        """Start the model's thread.

        Args:
            model: a causal language model in eval mode, on its device.
            tokenizer: its tokenizer; copied, since it is used from the model's thread.
            options: `concurrency` (rows side by side), `max_length` and `gpu_memory` are read here.

        Raises:
            UsageError: the model's cache cannot be batched, or the window does not suit it.
        """
        options = options or EngineOptions()
        self.usage = Usage()
        self.model = model
        """The model, to be read between requests; None once the engine is closed."""
        self.max_length = window(model, options.max_length)
        dtype = str(model.dtype).removeprefix("torch.")
        where = f"on {model.device}, {dtype}{said_of(options.adapter)}"
        self.description = f"transformers, {type(model).__name__} {where}"
        # A fast tokenizer that encodes in one thread while it decodes in another raises "Already borrowed".
        self._tokenizer = copy.deepcopy(tokenizer)
        self._vocabulary = model.get_input_embeddings().num_embeddings
        memory = cache_memory(model.device, options.gpu_memory, model.get_memory_footprint())
        self._decoder = Decoder(model, self._tokenizer, self.usage, options.concurrency, memory)
        self._scorer = Scorer(model)
        self._to_score: list[_Request] = []
        self._inbox: SimpleQueue[_Request | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._unanswered: set[_Request] = set()
        self._stopped: str | None = None
        self._cancelled = False
        self._thread = threading.Thread(target=self._run, name="transformers-engine", daemon=True)
        self._thread.start()

    async def generate(self, token_ids: Sequence[int], sampling: Sampling) -> list[Completion]:
        """Continue one prompt; see `Engine.generate`."""
        room = sequence_room(len(token_ids), self.max_length, sampling.max_tokens)
        result: list[Completion] = await self._ask(token_ids, sampling, room)
        return result

    async def logprobs(self, token_ids: Sequence[int]) -> NDArray[np.float32]:
        """Score given tokens; see `Engine.logprobs`."""
        sequence_room(len(token_ids), self.max_length + 1, 1)
        result: NDArray[np.float32] = await self._ask(token_ids, None, 0)
        return result

    async def close(self) -> None:
        """Stop the thread and free the model; requests under way fail with RunError."""
        self._inbox.put(None)
        await asyncio.to_thread(self._thread.join)

    async def _ask(self, token_ids: Sequence[int], sampling: Sampling | None, room: int) -> Any:
        ids = list(token_ids)
        if not 0 <= min(ids) <= max(ids) < self._vocabulary:
            raise RequestError(f"a token id is outside the model's vocabulary of {self._vocabulary}")
        loop = asyncio.get_running_loop()
        request = _Request(ids, sampling, room, loop, loop.create_future())
        with self._lock:
            if self._stopped is not None:
                raise RunError(self._stopped)
            self._unanswered.add(request)
        self._inbox.put(request)
        try:
            return await request.future
        except asyncio.CancelledError:
            self._cancelled = True
            raise
        finally:
            with self._lock:
                self._unanswered.discard(request)

    # What follows runs in the model's thread.

    def _run(self) -> None:
        """Serve requests until closed, or until the model fails."""
        reason = "the engine was closed"
        try:
            with torch.inference_mode():
                while self._take_requests():
                    _deliver(self._generate())
                    _deliver(self._score())
        except Exception as error:  # whatever it is, those who wait must be told
            reason = str(error) if isinstance(error, SynthError) else f"the model failed: {error!r}"
        with self._lock:
            self._stopped = reason
            _deliver([(request, RunError(reason)) for request in self._unanswered])
        self.model = None
        del self._decoder, self._scorer  # the model is freed with them
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _take_requests(self) -> bool:
        """Queue new requests, waiting for one when there is nothing to do; False once closed."""
        if self._cancelled:
            self._cancelled = False
            self._decoder.drop(lambda sequence: sequence.owner.future.cancelled())
            self._to_score = [request for request in self._to_score if not request.future.cancelled()]
        while True:
            try:
                request = self._inbox.get(block=not (self._decoder or self._to_score))
            except Empty:
                return True
            if request is None:
                return False
            self.usage.requests += 1
            if request.sampling is None:
                self._to_score.append(request)
            else:
                self._decoder.add(_drafts(request, request.sampling))

    def _generate(self) -> list[_Answer]:
        """One step of decoding, and the requests whose last completion ended with it."""
        answers: list[_Answer] = []
        for sequence in self._decoder.step() if self._decoder else ():
            request, settings = sequence.owner, sequence.sampling
            if sequence.error:
                answers.append((request, sequence.error))
                continue
            logprob = sequence.logprob if settings.logprob else None
            request.completions[sequence.sample] = completion(
                self._tokenizer, sequence.tokens, sequence.stop_ids, settings.stop, logprob
            )
            if len(request.completions) == settings.n:
                answers.append((request, [request.completions[i] for i in range(settings.n)]))
        return answers

    def _score(self) -> list[_Answer]:
        """Score the requests at the head of the queue."""
        requests, self._to_score = self._to_score[:_SCORED_AT_ONCE], self._to_score[_SCORED_AT_ONCE:]
        self.usage.prompt_tokens += sum(len(request.token_ids) for request in requests)
        return list(zip(requests, self._scorer.score([r.token_ids for r in requests]), strict=True))


def _drafts(request: _Request, sampling: Sampling) -> list[SequenceState]:
    stop_ids = frozenset(sampling.stop_ids)
    return [
        SequenceState(request, request.token_ids, sampling, sample, request.room, stop_ids)
        for sample in range(sampling.n)
    ]


def _deliver(answers: list[_Answer]) -> None:
    """Hand answers to the event loops of the requests, with one wake-up for each loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[_Answer]] = {}
    for answer in answers:
        by_loop.setdefault(answer[0].loop, []).append(answer)
    for loop, its_answers in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: the request is no longer waited for
            loop.call_soon_threadsafe(_resolve, its_answers)


def _resolve(answers: list[_Answer]) -> None:
    for request, result in answers:
        if request.future.done():
            continue
        if isinstance(result, Exception):
            request.future.set_exception(result)
        else:
            request.future.set_result(result)


def window(model: Any, wanted: int | None) -> int:
    """Tokens that prompt and completion hold at most: what was asked for, within what the model can take.

    Raises:
        UsageError: more was asked for, or nothing, of a model that names no window.
    """
    longest = window_of(model.config)
    if wanted is None:
        if longest is None:
            raise UsageError(f"{type(model).__name__} names no window of its own; set the maximum length")
        return longest
    if wanted < 2 or (longest is not None and wanted > longest):
        raise UsageError(f"the maximum length must be between 2 and the model's window of {longest}, not {wanted}")
    return wanted
