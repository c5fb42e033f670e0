"""Models that score given tokens: loaded here, on a server, or in a user's own engine."""

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from synth.engines.base import Engine, EngineOptions, Tokenizer, Usage
from synth.engines.loading import load_config
from synth.engines.open import ENGINES, EngineChoice, choose_engine, open_engine, shown
from synth.errors import RequestError, UsageError

if TYPE_CHECKING:
    from synth.scoring.token_scores import TokenScorer

Result = TypeVar("Result")
NO_ENTROPY = (
    "`entropy` and `mask_confident_conflicts` need the model's whole distribution, of which {engine} gives the tokens' "
    "log-probabilities alone: leave `engine` at auto, so that the model runs here"
)


def open_scorer(
    engine: EngineChoice,
    model: str,
    tokenizer: Tokenizer,
    options: EngineOptions,
    loaded: Any = None,
    *,
    entropy: bool = False,
) -> "TokenScorer":
    """Load a model with transformers, or reach it on a server, for scoring alone.

    Args:
        engine: "auto" or "transformers" for a model that is loaded here, addresses of servers, or an engine of a
            user's as "module:function".
        model: a directory, or an id on the Hub.
        tokenizer: of the model.
        options: as for `open_engine`.
        loaded: the model of transformers, where it is in memory already.
        entropy: whether it gives entropies and ranks, too.

    Raises:
        UsageError: there is no such engine or model, the tokenizer is not the model's, or the engine gives no
            entropies.
    """
    kind, _ = choose_engine(engine)
    if kind not in ENGINES or not ENGINES[kind].here:
        if entropy:
            raise UsageError(NO_ENTROPY.format(engine=shown(engine)))
        return _EngineScorer(engine, kind, model, tokenizer, options)
    return _LocalScorer(model, tokenizer, options, loaded, entropy)


class _LocalScorer:
    def __init__(self, model: str, tokenizer: Tokenizer, options: EngineOptions, loaded: Any, entropy: bool) -> None:
        from synth.engines.adapters import said_of
        from synth.engines.hf.engine import load_model, window
        from synth.engines.hf.forward import Scorer

        check_vocabulary(model, tokenizer)
        if loaded is None:
            loaded = load_model(model, options)
        self.max_length = window(loaded, options.max_length)
        dtype = str(loaded.dtype).removeprefix("torch.")
        self.description = f"{type(loaded).__name__} on {loaded.device}, {dtype}{said_of(options.adapter)}"
        self.usage = Usage()
        self._vocabulary: int = loaded.get_input_embeddings().num_embeddings
        scorer = Scorer(loaded)
        self._score = scorer.predictions if entropy else scorer.score

    def score(
        self, sequences: Sequence[NDArray[np.int32]], wanted: Sequence[NDArray[np.bool_]]
    ) -> list[NDArray[np.float32] | RequestError]:
        """See `TokenScorer.score`."""
        import torch

        outside = [tokens.max() >= self._vocabulary for tokens in sequences]
        inside = [index for index, out in enumerate(outside) if not out]
        with torch.inference_mode():
            scores = iter(self._score([sequences[i] for i in inside], [wanted[i] for i in inside]))
        refused = f"a token id is outside the model's vocabulary of {self._vocabulary:,}"
        return [RequestError(refused) if out else next(scores) for out in outside]

    def close(self) -> None:
        """Free the model."""
        del self._score


class _EngineScorer:
    """A server, or an engine of a user's, driven on an event loop of its own."""

    def __init__(
        self, engine: EngineChoice, kind: str, model: str, tokenizer: Tokenizer, options: EngineOptions
    ) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="engine-scorer", daemon=True)
        self._thread.start()
        self._places = asyncio.Semaphore(options.concurrency)
        try:
            self._engine: Engine = self._await(open_engine(engine, model, tokenizer, options))
        except BaseException:
            self._loop.call_soon_threadsafe(self._loop.stop)
            raise
        spare = kind in ENGINES  # servers score a prompt only where one more token has room
        self.max_length = self._engine.max_length - spare
        self.description = self._engine.description
        self.usage = self._engine.usage

    def score(
        self, sequences: Sequence[NDArray[np.int32]], wanted: Sequence[NDArray[np.bool_]]
    ) -> list[NDArray[np.float32] | RequestError]:
        """See `TokenScorer.score`."""
        return self._await(self._score(sequences))

    async def _score(self, sequences: Sequence[NDArray[np.int32]]) -> list[NDArray[np.float32] | RequestError]:
        return list(await asyncio.gather(*map(self._score_one, sequences)))

    async def _score_one(self, tokens: NDArray[np.int32]) -> NDArray[np.float32] | RequestError:
        async with self._places:
            try:
                return await self._engine.logprobs(tokens.tolist())
            except RequestError as error:
                return error

    def close(self) -> None:
        """Leave the server, or free the model."""
        self._await(self._engine.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _await(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


def check_vocabulary(model: str, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer with ordinary tokens beyond a model's vocabulary, before its weights are loaded.

    Tokens that were added to a tokenizer alone (for padding, say) do no harm as long as no row holds them.

    Raises:
        UsageError: they do not go together, or the model cannot be read.
    """
    known = getattr(load_config(model).get_text_config(), "vocab_size", None)
    if known is not None and tokenizer.vocab_size > known:
        raise UsageError(
            f"tokenizer and model disagree: the tokenizer has {tokenizer.vocab_size:,} tokens, {model} knows "
            f"{known:,}. Give the tokenizer that came with the model"
        )
