"""Summarises a curation step by step: how many rows each step removed, why, with examples."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import polars as pl

from synth.curation.pipeline import Removal

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


def summaries(removals: Iterable[Removal], frames: Iterable[pl.DataFrame] = ()) -> list[StepSummary]:
    """What each step did.

    Args:
        removals: what the steps removed.
        frames: all rows, for examples; without them there are none.
    """
    shown = [one for removal in removals for named in removal.examples.items() for one in _named(*named)]
    rows = _Shown(frames, {row for row, _, _ in shown}, {other for _, _, other in shown if other is not None})
    return [
        StepSummary(
            removal.step.text,
            removal.step.keeps,
            removal.seen,
            removal.removed,
            tuple(
                Category(name, count, tuple(rows.examples(_named(name, removal.examples[name]))))
                for name, count in removal.categories.most_common()
            ),
        )
        for removal in removals
    ]


def _named(category: str, examples: Iterable[tuple[int, str]]) -> Iterator[tuple[int, str, str | None]]:
    """Examples of a category, each with the id of the other row that its reason names, if it names one."""
    for row, particulars in examples:
        yield row, particulars, _NAMED.sub(r"\1", particulars) if category in _OF_ANOTHER else None


class _Shown:
    """The texts of some rows, found by their index or their id (the last that bears it)."""

    def __init__(self, frames: Iterable[pl.DataFrame], rows: set[int], ids: set[str]) -> None:
        self._texts: dict[int, tuple[str | None, str | None]] = {}
        self._places: dict[str, int] = {}
        wanted = pl.col("row").is_in(list(rows)) | pl.col("id").is_in(list(ids))
        for frame in frames:
            texts = pl.col("prompt", "answer").str.head(TEXT_LENGTH)
            for row, name, prompt, answer in frame.filter(wanted).select("row", "id", texts).iter_rows():
                self._texts[row] = prompt, answer
                self._places[name] = row

    def examples(self, named: Iterable[tuple[int, str, str | None]]) -> Iterator[Example]:
        for row, particulars, other in named:
            if row in self._texts:
                at = None if other is None else self._places.get(other)
                beside = None if at is None else Example(at, "the other", *self._texts[at])
                yield Example(row, particulars, *self._texts[row], beside)
