"""Signs of damage that a verdict does not show.

Refusals, endless or repetitive answers, a change of language; of models that think: a switch that is not obeyed,
unfinished thoughts, and much shorter or longer ones.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from filters.verifiers.refusal import refuses
from synth.chat.thinking import Mode
from synth.engines.base import Completion
from synth.evaluation.switch import Observed
from synth.generation.screen import repetitive

LETTERS = 40
"""An answer with fewer letters says nothing about its language."""

SURE = 0.9
"""Least probability at which a language is reported."""

NOTEWORTHY = 0.05
"""An alarm is raised when a share has risen by more than this since the model that is compared with."""


MUCH = 2
"""An alarm is raised when thoughts are so many times as long as they were, or so many times shorter."""


@dataclass(frozen=True, slots=True)
class Signs:
    """The signs in one answer; `language` is its two-letter code, or None where it cannot be determined."""

    refused: bool
    repetitive: bool
    cut_off: bool
    language: str | None


def signs_of(completion: Completion) -> Signs:
    """The signs of one answer."""
    return Signs(
        refused=refuses(completion.text),
        repetitive=repetitive(completion.token_ids),
        cut_off=completion.finish == "length",
        language=language_of(completion.text),
    )


def language_of(text: str) -> str | None:
    """The language of prose. None for short texts, and for code and formulas, which have none.

    Only the first 2,000 characters are read.
    """
    start = text[:2_000]
    letters = sum(character.isalpha() for character in start)
    if letters < LETTERS or letters < 0.6 * len(start) or "```" in start:
        return None
    name, probability = _identifier().classify(start)
    return str(name) if probability >= SURE else None


def switch_alarms(before: Mapping[Mode, Observed], after: Mapping[Mode, Observed]) -> Iterator[str]:
    """What has changed for the worse of how a model thinks, for people.

    Args:
        before: what was seen of the model that is compared with, by mode.
        after: what was seen of the other.
    """
    told = {"thinking": "come without the thoughts that were asked for", "plain": "have thoughts that were not wanted"}
    for mode, was in before.items():
        now = after[mode]
        share_was, share_now = was.disobeyed, now.disobeyed
        if share_now - share_was > NOTEWORTHY:
            yield f"mode {mode}: {share_now:.0%} of the answers {told[mode]} ({share_was:.0%} before)"
        ends_was, ends_now = was.figures()["unended"], now.figures()["unended"]
        if ends_now - ends_was > NOTEWORTHY:
            yield f"mode {mode}: {ends_now:.0%} of the answers have thoughts that do not end ({ends_was:.0%} before)"
        long_was, long_now = was.figures()["thought_tokens"], now.figures()["thought_tokens"]
        if mode == "thinking" and long_was and long_now and not 1 / MUCH < long_now / long_was < MUCH:
            yield f"mode {mode}: thoughts have {long_now:,.0f} tokens ({long_was:,.0f} before)"


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
