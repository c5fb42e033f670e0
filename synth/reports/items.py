"""The items of an evaluation with each model's answers, for the searchable page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from synth.data.read import Rows, open_source
from synth.data.store.path import File
from synth.errors import UsageError
from synth.reports.figures import Ints, Turn, column, conversations, small_batches, split_answer
from synth.reports.heat_maps import cut, evenly
from synth.reports.page import packed

MOST_ITEMS = 4_000
TEXT_CHARS = 8_000
ALL_CHARS = 80_000_000
"""Characters in the page at most: of one text, and of all, before compression."""
BLOCK_ITEMS = 100
REASON_CHARS = 500

VERDICTS = ("right", "wrong", "unscorable")
SIGNS = ("refused", "repetitive", "cut_off")


@dataclass(frozen=True, slots=True)
class Items:
    """The items of an evaluation in the page.

    Attributes:
        index: what the items are filtered by: for each its suite (`s`), its place there (`i`), and for each model its
            verdict (`v`), as numbers of VERDICTS.
        blocks: the texts, packed.
        shown: items in the page.
        total: items in all.
        telling: items that are wrong, or, of several models, on which one differs from the first.
        telling_shown: those of them that are in the page.
        limit: characters of a text at most.
    """

    index: dict[str, Any]
    blocks: list[str]
    shown: int
    total: int
    telling: int
    telling_shown: int
    limit: int


def take_items(folders: Sequence[File], suites: Sequence[str]) -> Items:
    """Read some models' answers to the same items.

    Where there are more than MOST_ITEMS, those that tell most come first: the ones on which models differ.

    Args:
        folders: each model's answers, as `synth.evaluation.run` leaves them.
        suites: their names, in order.

    Raises:
        UsageError: answers cannot be read, or they are not to the same items.
    """
    sources = [open_source(str(folder)) for folder in folders]
    keys = [_keys(rows, suites) for rows in sources]
    for rows, (places, _) in zip(sources, keys, strict=True):
        if not np.array_equal(places, keys[0][0]):
            raise UsageError(f"{rows.source} and {sources[0].source} answer different items; run synth eval again")
    places, verdicts = keys[0][0], np.stack([codes for _, codes in keys])
    telling = (verdicts != verdicts[0]).any(axis=0) if len(keys) > 1 else verdicts[0] != VERDICTS.index("right")
    first, rest = np.flatnonzero(telling), np.flatnonzero(~telling)
    first_shown = first[evenly(len(first), MOST_ITEMS)]
    picked = np.sort(np.concatenate([first_shown, rest[evenly(len(rest), MOST_ITEMS - len(first_shown))]]))
    limit = min(TEXT_CHARS, ALL_CHARS // max(1, len(picked) * (len(folders) + 2)))
    asked, answers = _prompts(sources[0], picked, limit), [_answers(rows, picked, limit) for rows in sources]
    entries = [
        [turns, reference, versions]
        for (turns, reference), versions in zip(asked, zip(*answers, strict=True), strict=True)
    ]
    return Items(
        index={
            "block": BLOCK_ITEMS,
            "s": places[picked, 0].tolist(),
            "i": places[picked, 1].tolist(),
            "v": verdicts[:, picked].tolist(),
        },
        blocks=[packed(entries[start : start + BLOCK_ITEMS]) for start in range(0, len(entries), BLOCK_ITEMS)],
        shown=len(picked),
        total=len(places),
        telling=len(first),
        telling_shown=len(first_shown),
        limit=limit,
    )


def _keys(rows: Rows, suites: Sequence[str]) -> tuple[Ints, Ints]:
    """Of each item its suite and its place there, (n, 2), and its verdict."""
    numbers = {name: number for number, name in enumerate(suites)}
    places, verdicts = [], []
    for batch in _batches(rows):
        for suite, item, verdict in zip(
            column(batch, "suite"), batch.column("item").to_pylist(), column(batch, "verdict"), strict=True
        ):
            if suite not in numbers or item is None or verdict not in VERDICTS:
                raise UsageError(f"{rows.source} does not belong to these scores; run synth eval again")
            places.append((numbers[suite], item))
            verdicts.append(VERDICTS.index(verdict))
    return np.array(places, np.int64).reshape(-1, 2), np.array(verdicts, np.int64)


def _batches(rows: Rows) -> Iterator[pa.RecordBatch]:
    if missing := {"suite", "item", "verdict", "messages", "tokens", *SIGNS} - set(rows.schema.names):
        raise UsageError(f"{rows.source} holds no answers of an evaluation: there is no column {min(missing)}")
    return small_batches(rows)


def _picked(rows: Rows, picked: Ints) -> Iterator[pa.RecordBatch]:
    """The rows of these numbers, which ascend."""
    start = 0
    for batch in _batches(rows):
        mine = picked[(picked >= start) & (picked < start + batch.num_rows)] - start
        if len(mine):
            yield batch.take(pa.array(mine))
        start += batch.num_rows


def _prompts(rows: Rows, picked: Ints, limit: int) -> list[tuple[list[Turn], str]]:
    """The prompt of each item, and its reference."""
    prompts = []
    for batch in _picked(rows, picked):
        tokens = batch.column("tokens").to_pylist()
        for turns, reference, answered in zip(conversations(batch), column(batch, "reference"), tokens, strict=True):
            asked = turns if answered is None else split_answer(turns)[0]
            prompts.append((cut(asked, limit)[0], _middle_cut(reference or "", limit)))
    return prompts


def _answers(rows: Rows, picked: Ints, limit: int) -> list[tuple[str | None, str, int, int]]:
    """For each row the answer (None where the model was not asked), why it is not right, tokens, and signs as bits."""
    answers: list[tuple[str | None, str, int, int]] = []
    for batch in _picked(rows, picked):
        signs = zip(*(batch.column(name).to_pylist() for name in SIGNS), strict=True)
        for turns, reason, tokens, shown in zip(
            conversations(batch),
            column(batch, "verdict_reason"),
            batch.column("tokens").to_pylist(),
            signs,
            strict=True,
        ):
            answer = _middle_cut(turns[-1][1], limit) if turns and tokens is not None else None
            bits = sum(bool(sign) << bit for bit, sign in enumerate(shown))
            answers.append((answer, (reason or "")[:REASON_CHARS], tokens or 0, bits))
    return answers


def _middle_cut(text: str, limit: int) -> str:
    """A text of about `limit` characters: the beginning and the end of a longer one, as results are at the end."""
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    return f"{text[:head]}\n… {len(text) - limit:,} characters left out …\n{text[head - limit :]}"
