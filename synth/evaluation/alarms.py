"""Signs of damage that a verdict does not show: refusals, answers without end or in circles, another language."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from filters.verifiers.refusal import refuses
from synth.engines.base import Completion
from synth.generation.screen import repetitive

LETTERS = 40
"""An answer with fewer letters says nothing about its language."""

SURE = 0.9
"""Least probability of a language that is told."""

NOTEWORTHY = 0.05
"""An alarm is raised when a share has risen by more than this since the model that is compared with."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What shows in one answer; `language` is its two-letter code, or None where that cannot be told."""

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


@lru_cache(maxsize=1)
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
