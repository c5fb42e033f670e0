"""What a server runs: found out of the first one of a pool, with which all others are compared.

Greedy and seeded rows are the same whichever server answers only where all run the same weights, read prompts in the
same form, and have room for the same answers.
"""

from dataclasses import dataclass

from synth.engines.base import EngineOptions, Tokenizer
from synth.engines.server.cards import LOOKUP_SECONDS, ModelCard, choose_model, model_cards, software, takes_adapters
from synth.engines.server.http import Http, TransientError, printable
from synth.engines.server.probe import Probe, same_weights
from synth.engines.server.retries import insisted
from synth.engines.server.wire import Dialect
from synth.errors import UsageError
from synth.values import LARGEST_WINDOW

DEFAULT_WINDOW = 4096
"""Tokens of prompt and completion, where server, options and tokenizer give no limit."""
API_KEYS = ("SYNTH_API_KEY", "OPENAI_API_KEY")
"""Environment variables that hold the key where none is given, in this order."""
DIES_OF_SCORES = (
    "it is vLLM started with --enable-lora, which dies of that: start one without adapters, or with the adapter merged "
    "into the model, or use `engine` transformers for scores"
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a server runs.

    Attributes:
        card: the model, as the server calls it.
        dialect: the requests that it takes.
        window: tokens of prompt and completion.
        marks: log-probabilities that tell its weights, None where it gives none.
        says: what its answers call the model, where they name it.
        software: the server's, for people.
        dies_of_scores: whether it must not be asked to score a prompt.
    """

    card: ModelCard
    dialect: Dialect
    window: int
    marks: tuple[float, ...] | None
    says: str | None
    software: str
    dies_of_scores: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """The model that is asked for, of which a server is to be one.

    Attributes:
        model: what it is called; any other name or path will do where the server runs a single model.
        tokenizer: the model's.
        options: `adapter`, `timeout` and `max_length` are used.
    """

    model: str | None
    tokenizer: Tokenizer
    options: EngineOptions

    async def find(self, http: Http, *, marks: bool) -> Identity:
        """Find out what a server runs.

        Args:
            http: the way to it.
            marks: whether others are to be compared with it, by its log-probabilities too.

        Raises:
            UsageError: it does not run the model, has no `/v1/completions`, or another tokenizer.
            PermanentError, TransientError: it does not answer.
        """
        card, cards = await self._card(http)
        dies = await takes_adapters(http, cards)
        probe = Probe(http, card.id, self.tokenizer, self.options.timeout)
        dialect = await probe.dialect(scores=not dies)
        seen = await probe.marks(dialect) if marks else None
        named = await software(http, card)
        return Identity(card, dialect, self._window(card), seen, probe.says, named, dies)

    async def same(self, http: Http, first: Identity) -> Identity:
        """Check that a server runs what the first one does.

        Raises:
            UsageError: it does not; the message is one line.
            PermanentError, TransientError: it does not answer, or lists no model: it may be loading one.
        """
        card, cards = await self._card(http, starting=True)
        called = self.model is not None and self.model in (card.id, card.root)
        if not called and not card.names & first.card.names:
            raise UsageError(
                f"the server at {http.url} runs {printable(card.id, 80)}, the first server "
                f"{printable(first.card.id, 80)}"
            )
        window = self._window(card)
        if window < first.window:
            raise UsageError(
                f"the server at {http.url} has a window of {window:,} tokens, the first server {first.window:,}: "
                f"give `max_length` {window}"
            )
        if first.dialect.echo is not None and await takes_adapters(http, cards):
            raise UsageError(f"the server at {http.url} cannot score: {DIES_OF_SCORES}")
        probe = Probe(http, card.id, self.tokenizer, self.options.timeout)
        if not await probe.speaks(first.dialect):
            if not cards:
                raise _no_model(http)
            raise UsageError(f"the server at {http.url} does not take the requests that the first server takes")
        marks = await probe.marks(first.dialect) if first.marks is not None else None
        if not same_weights(first.marks, marks):
            raise UsageError(
                f"the server at {http.url} runs other weights than the first server: after the same prompts its "
                "log-probabilities are others"
            )
        named = await software(http, card)
        return Identity(card, first.dialect, first.window, marks, probe.says, named, first.dies_of_scores)

    async def _card(self, http: Http, *, starting: bool = False) -> tuple[ModelCard, list[ModelCard]]:
        model = self.options.adapter or self.model
        cards = await insisted(lambda silence: model_cards(http, model, silence), LOOKUP_SECONDS)
        if starting and not cards and model is None:
            raise _no_model(http)
        return choose_model(http, cards, model, exactly=self.options.adapter is not None), cards

    def _window(self, card: ModelCard) -> int:
        """Tokens of prompt and completion: the smaller of the server's and the option, else the tokenizer's limit."""
        given = [window for window in (card.window, self.options.max_length) if window is not None]
        if given:
            return min(given)
        limit: int = self.tokenizer.model_max_length
        return limit if limit <= LARGEST_WINDOW else DEFAULT_WINDOW


def _no_model(http: Http) -> TransientError:
    return TransientError(f"the server at {http.url} lists no model")
