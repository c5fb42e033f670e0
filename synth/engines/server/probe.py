"""Find out what a server's `/v1/completions` understands, with a few one-token requests when it is opened."""

from collections.abc import Sequence
from dataclasses import replace

from synth.engines.base import Sampling, Tokenizer
from synth.engines.server.http import Http, PermanentError, TransientError
from synth.engines.server.retries import insisted
from synth.engines.server.wire import Dialect, Reply, read_reply, request_body
from synth.errors import UsageError

LADDER = (
    Dialect(token_ids=True, extensions=True),
    Dialect(token_ids=True, extensions=False),
    Dialect(token_ids=False, extensions=True),
    Dialect(token_ids=False, extensions=False),
)
"""From the most capable dialect to what every server takes; the first that works is used."""
PROBE_TEXT = "One, two, three: the quick brown fox jumps over 12 lazy dogs"
ONE_TOKEN = Sampling(max_tokens=1)
MARKS = 10
"""Log-probabilities by which the weights of two servers are compared."""
PLAIN_ANSWERS = 16
"""No server reads more tokens than so many times those sent, even where it takes the ids for text: it miscounts."""
SAME_LOGPROB = 0.02
"""Nats by which a number may differ between two requests because of rounding."""
SAME_WEIGHTS = 0.05
"""Nats by which the `MARKS` of the same weights may differ in the mean: other hardware, other number formats."""


class Probe:
    """Questions to one server about one model.

    Attributes:
        says: what the answers call the model, where they name it.
    """

    def __init__(self, http: Http, model: str, tokenizer: Tokenizer, silence: float) -> None:
        self._http = http
        self._model = model
        self._tokenizer = tokenizer
        self._silence = silence
        self._ids: list[int] = tokenizer.encode(PROBE_TEXT, add_special_tokens=False)
        self.says: str | None = None

    async def dialect(self, *, scores: bool) -> Dialect:
        """What the server understands.

        Args:
            scores: whether it may be asked to score a prompt.

        Raises:
            UsageError: it has no usable `/v1/completions`, or runs a model with another tokenizer.
        """
        dialect = await self._first_that_works()
        if dialect.returns_ids:
            await self._compare_tokenizers(dialect)
        if not dialect.token_ids:
            dialect = replace(dialect, adds_bos=await self._adds_bos(dialect))
        dialect = await self._with_logprobs(dialect)
        return replace(dialect, echo=await self._echo(dialect) if dialect.logprobs and scores else None)

    async def speaks(self, dialect: Dialect) -> bool:
        """Whether the server takes requests of a dialect that was found out of another server.

        Raises:
            UsageError: it runs a model with another tokenizer.
            TransientError: it does not answer.
        """
        try:
            reply = await self._ask(dialect)
            if dialect.echo is not None and not self._scored(await self._ask(dialect, echo=dialect.echo)):
                return False
        except PermanentError as error:
            if error.status in (401, 403):
                raise
            return False
        if (reply.choices[0].token_ids is not None) != dialect.returns_ids:
            return False
        if dialect.returns_ids:
            await self._compare_tokenizers(dialect)
        return True

    async def alive(self, dialect: Dialect) -> None:
        """One question, to know that the server answers."""
        await self._ask(dialect)

    async def marks(self, dialect: Dialect) -> tuple[float, ...] | None:
        """The log-probabilities of the likeliest next tokens after `MARKS` prompts; None where it gives none."""
        if dialect.logprobs is None:
            return None
        words = PROBE_TEXT.split()
        texts = [" ".join(words[:count]) for count in range(len(words) - MARKS + 1, len(words) + 1)]
        encode = self._tokenizer.encode
        prompts = [encode(text, add_special_tokens=False) if dialect.token_ids else text for text in texts]
        ask = replace(ONE_TOKEN, logprob=True)
        tops = [(await self._ask(dialect, prompt, sampling=ask)).choices[0].top_logprob for prompt in prompts]
        known = tuple(top for top in tops if top is not None)
        return known if len(known) == MARKS else None

    async def _first_that_works(self) -> Dialect:
        refusal: Exception | None = None
        for dialect in LADDER:
            try:
                reply = await self._ask(dialect)
            except PermanentError as error:
                if error.status in (401, 403):
                    raise
                # The plainest refusal is the last one: extensions and ids play no part in it.
                refusal = error
                continue
            except TransientError as error:
                if error.status is None:
                    raise
                refusal = error
                continue
            if not dialect.token_ids or self._read_as_ids(reply):
                return replace(dialect, returns_ids=reply.choices[0].token_ids is not None)
        raise UsageError(
            f"the server at {self._http.url} does not complete a prompt with model {self._model!r} ({refusal}). "
            "It must have /v1/completions: a server with chat completions alone cannot be used"
        )

    def _read_as_ids(self, reply: Reply) -> bool:
        """Whether ids were taken for ids: for something else (one prompt each, text) they are counted differently."""
        read, count = reply.choices[0].prompt_token_ids, reply.prompt_tokens
        if read is not None:
            return True  # they are compared afterwards
        return count in (None, len(self._ids)) or count == 0 or count > PLAIN_ANSWERS * len(self._ids)

    async def _compare_tokenizers(self, dialect: Dialect) -> None:
        """Check the tokenizer now: token ids of another vocabulary would be accepted and answered with rubbish."""
        reply = await self._ask(dialect, PROBE_TEXT)
        theirs = reply.choices[0].prompt_token_ids
        if theirs is not None and theirs != tuple(self._ids):
            raise UsageError(
                f"the server at {self._http.url} runs {self._model!r}, whose tokenizer is not that of `model`: "
                "give as `model` the directory or Hub id of the model that the server runs"
            )

    async def _adds_bos(self, dialect: Dialect) -> bool:
        """Whether the server puts a BOS token before a text prompt: by its count of tokens, else as we would."""
        ours = self._tokenizer(PROBE_TEXT)["input_ids"]
        if self._tokenizer.bos_token_id is None or ours[:1] != [self._tokenizer.bos_token_id]:
            return False
        reply = await self._ask(dialect, self._tokenizer.bos_token + PROBE_TEXT)
        return reply.prompt_tokens is None or reply.prompt_tokens > len(self._ids) + 1

    async def _with_logprobs(self, dialect: Dialect) -> Dialect:
        """Whether log-probabilities are given, and if so, whether temperature changes them (it should not)."""
        dialect = replace(dialect, logprobs="raw")
        try:
            replies = [
                await self._ask(dialect, sampling=replace(ONE_TOKEN, logprob=True, temperature=temperature))
                for temperature in (1.0, 2.0)
            ]
        except (PermanentError, TransientError):
            return replace(dialect, logprobs=None)
        at_one, at_two = (reply.choices[0] for reply in replies)
        if not at_one.token_logprobs:
            return replace(dialect, logprobs=None)
        if at_one.top_logprob is None or at_two.top_logprob is None:
            return replace(dialect, logprobs="processed")
        same = abs(at_one.top_logprob - at_two.top_logprob) <= SAME_LOGPROB
        return replace(dialect, logprobs="raw" if same else "processed")

    async def _echo(self, dialect: Dialect) -> int | None:
        """With which `max_tokens` the server scores a prompt by echoing it, None if it does not."""
        for max_tokens in (0, 1):
            try:
                reply = await self._ask(dialect, echo=max_tokens)
            except (PermanentError, TransientError):
                continue
            if self._scored(reply):
                return max_tokens
        return None

    def _scored(self, reply: Reply) -> bool:
        """Whether an echoed prompt came with the log-probability of each token but the first."""
        values = reply.choices[0].token_logprobs or ()
        return len(values) >= len(self._ids) and None not in values[1 : len(self._ids)]

    async def _ask(
        self,
        dialect: Dialect,
        prompt: str | Sequence[int] | None = None,
        *,
        sampling: Sampling = ONE_TOKEN,
        echo: int | None = None,
    ) -> Reply:
        """One request, sent again where the server is busy (it may be loading its model), or an answer was lost."""
        if prompt is None:
            prompt = self._ids if dialect.token_ids else PROBE_TEXT
        if echo is not None:
            sampling = replace(sampling, logprob=True)
        body = request_body(prompt, sampling, dialect) | {"model": self._model}
        if echo is not None:
            body |= {"echo": True, "max_tokens": echo}

        async def ask(silence: float) -> Reply:
            return read_reply((await self._http.once("POST", "/v1/completions", body, silence=silence)).body)

        reply = await insisted(ask, self._silence)
        self.says = reply.model
        return reply


def same_weights(first: Sequence[float] | None, other: Sequence[float] | None) -> bool:
    """Whether two servers run the same weights, as far as their marks tell; without marks of the first they may."""
    if first is None:
        return True
    if other is None:
        return False
    return sum(abs(a - b) for a, b in zip(first, other, strict=True)) / len(first) <= SAME_WEIGHTS
