"""Context-free samples: what a model writes after its beginning-of-sequence token alone (arXiv 2505.13811, 2605.26097).

They are drawn from the model's own distribution, so that training on them, or keeping to the model's distribution on
them, holds on to all that it would write, not to what is asked of it in one form. In 2605.26097 every step of a
training has a batch of them, drawn at temperature 1, end tokens ignored.

A row holds the very tokens that were drawn: its text could not always be cut into the same ones, and the markup that a
chat model writes here (whole conversations, often) is made of control tokens, which no text can give. Nothing is
rejected for what it says: a choice among samples would be of another distribution. `synth filter` makes one.
"""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import pyarrow as pa

from synth.data.row import BASE, IGNORED, SCORES, Outcome, Row
from synth.data.run.record import without
from synth.engines.base import Engine, Sampling, Tokenizer
from synth.errors import UsageError
from synth.generation.chat_model import NOT_OPEN
from synth.generation.runner import empty_rows
from synth.seeds import seed_of

COLUMNS = pa.schema(
    [
        *(BASE.field(name) for name in ("id", "method", "model")),
        ("text", pa.string()),  # as drawn, without what precedes it and the token that ended it
        SCORES.field("input_ids"),  # what precedes the sample, the sample, the token that ended it
        SCORES.field("labels"),  # every token that was drawn
    ]
)


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """The settings that determine the rows of a run, beside the model.

    Attributes:
        context: the tokens that precede each sample.
        seed: the run's seed.
        length: most tokens of a row, `context` included.
        stop_at_end: whether a row ends with the first end-of-sequence token.
        sampling: how tokens are drawn.
    """

    context: tuple[int, ...]
    seed: int = 0
    length: int = 512
    stop_at_end: bool = False
    sampling: Sampling = field(default_factory=Sampling)

    def __post_init__(self) -> None:
        """Refuse settings that cannot work.

        Raises:
            UsageError: a value is out of its range.
        """
        if self.sampling.temperature == 0:
            raise UsageError("`temperature` 0 would give the same row again and again: it must be above 0")
        if self.length <= len(self.context):
            raise UsageError(
                f"`length` {self.length} leaves no room for a sample: {len(self.context)} tokens precede it"
            )

    def record(self) -> dict[str, Any]:
        """The settings as JSON values, for `run.json` and the rows' ids."""
        drawn = without(self.sampling.chosen(), "max_tokens")
        return without(asdict(self), "sampling", "context") | drawn | {"context": list(self.context)}


def context_of(tokenizer: Tokenizer, begin: int | None = None, start: str | None = None) -> tuple[int, ...]:
    """The tokens that precede a context-free sample.

    They are those that the tokenizer puts before any text, where it does that; else its beginning-of-sequence token;
    else the one that the model's generation config names (`begin`; Qwen); else the end-of-sequence token, which stood
    before each text in training where documents were separated by it.

    Args:
        tokenizer: of the model.
        begin: the beginning-of-sequence id of the model's generation config.
        start: a text that takes their place, in which control tokens are written by their names.

    Raises:
        UsageError: there is no such token, or `start` is empty.
    """
    if start is not None:
        given: list[int] = tokenizer(start, add_special_tokens=False, verbose=False)["input_ids"]
        if not given:
            raise UsageError("`start` is empty; give a text, such as the name of a control token")
        return tuple(given)
    encoded = tokenizer("a", return_special_tokens_mask=True)
    if before := encoded["input_ids"][: encoded["special_tokens_mask"].index(0)]:
        return tuple(before)
    for token in (tokenizer.bos_token_id, begin, tokenizer.eos_token_id):
        if token is not None:
            return (token,)
    raise UsageError(
        "the model has neither a beginning-of-sequence nor an end-of-sequence token: give what precedes a sample as "
        "`start` TEXT"
    )


def sample_rows(settings: dict[str, Any], model: str) -> Callable[[int], Iterator[Row]]:
    """Endless empty rows; see `empty_rows`."""
    return empty_rows("sample", settings, model)


def sample(
    engine: Engine, settings: SampleSettings, end_ids: Sequence[int] = ()
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model: fills an empty row with a sample.

    Args:
        engine: the model.
        settings: how it is sampled.
        end_ids: its end-of-sequence tokens, where samples end with one.

    Raises:
        UsageError: the engine's window is shorter than a row, or a row is to end and no token ends one.
    """
    if settings.stop_at_end and not end_ids:
        raise UsageError("`stop_at_end`: the model has no end-of-sequence token")
    if engine is not NOT_OPEN and engine.max_length < settings.length:
        raise UsageError(f"`length` {settings.length:,}: the engine's window holds {engine.max_length:,} tokens")
    ask = replace(
        settings.sampling,
        max_tokens=settings.length - len(settings.context),
        stop_ids=tuple(end_ids) if settings.stop_at_end else (),
    )

    async def write(row: Row) -> Outcome:
        [drawn] = await engine.generate(settings.context, replace(ask, seed=seed_of(settings.seed, row.id, "sample")))
        tokens = [*drawn.token_ids, *([drawn.stop_reason] if isinstance(drawn.stop_reason, int) else [])]
        row.extra = {
            "text": drawn.text,
            "input_ids": [*settings.context, *tokens],
            "labels": [IGNORED] * len(settings.context) + tokens,
        }
        if drawn.finish == "stop" and not settings.stop_at_end:
            return Outcome(row, "ended early: the server does not ignore end tokens (`stop_at_end` takes such rows)")
        return Outcome(row, None if drawn.token_ids else "empty")

    return write
