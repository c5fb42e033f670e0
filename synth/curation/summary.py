"""Summarises a curation step by step: how many rows each step removed, why, with examples."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from synth.curation.pipeline import Curation, Removal

EXAMPLES = 3
"""Rows that are shown of each category."""

TEXT_LENGTH = 320
"""Characters of a prompt or an answer that an example has; more than people are shown of it."""

_OF_ANOTHER = {"exact duplicate", "near duplicate", "semantic duplicate", "alike", "represented", "longer"}
"""Categories whose particulars name another row."""

_NAMED = re.compile(r"^.*?(?:of|to|by) (.*?)(?:, (?:similarity|cosine) [\d.]+)?$")


@dataclass(frozen=True, slots=True)
class Example:
    """A row that was removed.

    Attributes:
        row: its index.
        particulars: why, beyond the category; empty where there is no more to say.
        prompt: its beginning, or None.
        answer: its beginning, or None.
        other: the row that it is too much like, if it is of the same set.
    """

    row: int
    particulars: str
    prompt: str | None
    answer: str | None
    other: "Example | None" = None


@dataclass(frozen=True, slots=True)
class Category:
    """Rows that were removed for one kind of reason, the most frequent kind first in `StepSummary.categories`."""

    name: str
    count: int
    examples: tuple[Example, ...] = ()


@dataclass(frozen=True, slots=True)
class StepSummary:
    """What one step did.

    Attributes:
        text: the step as it is written.
        keeps: whether it says which rows to keep, not which to remove.
        seen: rows that were left for it.
        removed: rows that it removed.
        categories: why.
    """

    text: str
    keeps: bool
    seen: int
    removed: int
    categories: tuple[Category, ...]

    @property
    def share(self) -> str:
        """How many rows it removed or kept, in words."""
        if not self.seen:
            return "no row was left to look at"
        count = self.seen - self.removed if self.keeps else self.removed
        return f"{count:,} of {self.seen:,} {'kept' if self.keeps else 'removed'} ({count / self.seen:.1%})"

    def lines(self, number: int) -> Iterator[str]:
        """The summary in lines, without examples."""
        yield f"{number}. {self.text}: {self.share}"
        if len(self.categories) > 1:
            for category in self.categories:
                yield f"  {category.count:>9,}  {category.name}"


def summaries(curation: Curation, frame: pl.DataFrame | None = None) -> list[StepSummary]:
    """What each step did.

    Args:
        curation: what became of the rows.
        frame: the rows, for examples; without it there are none.
    """
    places = {} if frame is None else {name: row for row, name in enumerate(frame["id"].to_list())}
    return [
        StepSummary(
            removal.step.text,
            removal.step.keeps,
            removal.seen,
            len(removal.rows),
            tuple(
                Category(name, count, () if frame is None else _examples(name, removal, frame, places))
                for name, count in removal.categories.most_common()
            ),
        )
        for removal in curation.removals
    ]


def _examples(category: str, removal: Removal, frame: pl.DataFrame, places: Mapping[str, int]) -> tuple[Example, ...]:
    examples: list[Example] = []
    for row, reason in zip(removal.rows, removal.reasons, strict=True):
        name, _, rest = reason.partition(":")
        if name != category:
            continue
        particulars = rest.strip()
        other = places.get(_NAMED.sub(r"\1", particulars)) if category in _OF_ANOTHER else None
        beside = None if other is None else _example(frame, other, "the other")
        examples.append(_example(frame, row, particulars, beside))
        if len(examples) == EXAMPLES:
            break
    return tuple(examples)


def _example(frame: pl.DataFrame, row: int, particulars: str, other: Example | None = None) -> Example:
    prompt, answer = (
        text if text is None else text[:TEXT_LENGTH] for text in frame.select("prompt", "answer").row(row)
    )
    return Example(row, particulars, prompt, answer, other)
