"""Token heat maps: selects rows to compare, and gives their tokens as text with log-probabilities."""

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from synth.data.columns import lists_of
from synth.data.row import PREDICTIONS
from synth.engines.base import Tokenizer
from synth.reports.figures import HARD, MOST_NATS, NUMBERS, Ints, Scan, Turn
from synth.scoring.cells import cells

ALL_TOKENS = 1_500_000
"""Tokens of all heat maps together at most; of more, groups are evenly chosen."""
VERSIONS = 24
"""Rows shown beside each other at most."""
MOST_TOKENS = 1_000
LEAD = 200
"""Tokens of a row shown at most, and of those before the first scored one."""

UNSCORED, SCORED, MASKED, SPECIAL = 0, 1, 2, 4
"""What a cell is; a special token adds SPECIAL."""


@dataclass(slots=True)
class Choice:
    """Rows for the heat maps: for each group the (scan, row) pairs that answer the same prompt.

    `groups` is how many there were to choose from.
    """

    chosen: list[list[tuple[int, int]]] = field(default_factory=list)
    groups: int = 0


def evenly(total: int, most: int) -> Ints:
    """At most `most` of the numbers 0 … total-1, evenly spread."""
    taken = min(total, most)
    return np.arange(taken, dtype=np.int64) * total // max(taken, 1)


def choose(scans: Sequence[Scan], most: int | None = None) -> Choice:
    """Choose groups of scored, accepted rows that answer the same prompt, or of which one is another's parent.

    In a group the first row of each data set and method comes before the second of any. Of more than `most` groups
    (None: of more than have `ALL_TOKENS`) those of more data sets and methods come first; among equals they are evenly
    chosen.
    """
    scored = [scan.columns["scored"] * (not scan.rejected) for scan in scans]
    if not any(tokens.any() for tokens in scored):
        return Choice()
    joined = {name: np.concatenate([scan.columns[name] for scan in scans]) for name in scans[0].columns}
    source = np.repeat(np.arange(len(scans)), [scan.rows for scan in scans])
    number = np.concatenate([np.arange(scan.rows) for scan in scans])
    prompts = joined["prompt"][_roots(joined["id"].astype(np.int64), joined["parent"].astype(np.int64))]
    candidates = np.flatnonzero(np.concatenate(scored))
    group = np.unique(prompts[candidates], return_inverse=True)[1]
    width = 1 + int(joined["method"].max())
    kinds = width * len(scans)
    version = source[candidates] * width + joined["method"][candidates]
    code = group * kinds + version
    order = np.argsort(code, kind="stable")
    _, starts, counts = np.unique(code[order], return_index=True, return_counts=True)
    place = np.empty(len(code), np.int64)  # among the rows of the same group, data set and method
    place[order] = np.arange(len(code)) - np.repeat(starts, counts)
    members: dict[int, list[int]] = defaultdict(list)
    kinds_of: dict[int, set[int]] = defaultdict(set)
    for at in np.lexsort((version, place, group)):
        members[int(group[at])].append(int(candidates[at]))
        kinds_of[int(group[at])].add(int(version[at]))
    levels: dict[int, list[list[int]]] = defaultdict(list)
    for number_of, rows in sorted(members.items(), key=lambda item: min(item[1])):
        levels[len(kinds_of[number_of])].append(rows)
    if most is None:
        shown = np.minimum(joined["tokens"].astype(np.int64), MOST_TOKENS)
        tokens = sum(int(shown[rows[:VERSIONS]].sum()) for rows in members.values())
        most = len(members) if tokens <= ALL_TOKENS else max(1, len(members) * ALL_TOKENS // tokens)
    chosen: list[list[int]] = []
    for size in sorted(levels, reverse=True):
        chosen += [levels[size][index] for index in evenly(len(levels[size]), most - len(chosen))]
    return Choice([[(int(source[row]), int(number[row])) for row in rows] for rows in chosen], len(members))


def _roots(ids: Ints, parents: Ints) -> Ints:
    """For each row the first of its ancestors that is there; the row itself where its parent is not."""
    order = np.argsort(ids, kind="stable")
    at = np.minimum(np.searchsorted(ids[order], parents), len(ids) - 1)
    has_parent = (parents != 0) & (ids[order][at] == parents)
    own = np.arange(len(ids))
    above = np.where(has_parent, order[at], own)
    root = above
    for _ in range(4):  # steps, not until nothing changes: ids may form a ring
        root = above[root]
    return np.where(root == own, own, root)


def heat_map(row: pa.RecordBatch, tokenizer: Tokenizer) -> dict[str, Any]:
    """One scored row (a batch of length 1) as JSON values.

    t: texts. k: kinds. l: log-probabilities in nats, a list where a cell has several tokens, null where none is
    scored. e, r: entropies in nats and ranks likewise, if the row has them. lead: cells before the first scored one.
    before, after: tokens left out. p, h, n: the row's perplexity, share of hard tokens, and tokens.
    """
    ids, labels, logprobs = (row.column(name)[0].as_py() for name in ("input_ids", "labels", "logprobs"))
    values = [None if value is None or not math.isfinite(value) else min(0.0, value) for value in logprobs]
    nats = [min(-value, MOST_NATS) for value in values if value is not None]
    first = next(index for index, value in enumerate(values) if value is not None)
    start = max(0, first - LEAD)
    end = min(len(ids), start + MOST_TOKENS)
    texts, kinds, lead = [], [], 0
    beside = {"l": values} | _predictions(row, len(ids))
    shown: dict[str, list[Any]] = {name: [] for name in beside}
    at = start
    for cell in cells(tokenizer, [int(token) for token in ids[start:end]]):
        own = range(at, at + cell.tokens)
        at += cell.tokens
        lead += at <= first
        scored = [index for index in own if values[index] is not None]
        kind = UNSCORED
        if scored:
            kind = MASKED if any(labels[index] in (-100, None) for index in scored) else SCORED
        texts.append(cell.text)
        kinds.append(kind | (SPECIAL if cell.special else 0))
        for name, of_all in beside.items():
            figures = [None if value is None else round(value, 4) for value in of_all[own.start : own.stop]]
            shown[name].append(None if not scored else figures[0] if cell.tokens == 1 else figures)
    return {
        "t": texts,
        "k": kinds,
        **shown,
        "lead": lead,
        "before": start,
        "after": len(ids) - end,
        "p": math.exp(sum(nats) / len(nats)),
        "h": sum(value > math.log(HARD) for value in nats) / len(nats),
        "n": len(ids),
    }


def _predictions(row: pa.RecordBatch, tokens: int) -> dict[str, list[Any]]:
    """The row's entropies and ranks, where it has both for every token."""
    found: dict[str, list[Any]] = {}
    for short, name in zip("er", PREDICTIONS.names, strict=True):
        there = name in row.schema.names and lists_of(row.schema.field(name).type, *NUMBERS)
        figures = row.column(name)[0].as_py() if there else None
        if figures is None or len(figures) != tokens:
            return {}
        found[short] = [None if value is None or not math.isfinite(value) else value for value in figures]
    return found


def cut(turns: Sequence[Turn], most: int, most_turns: int = 100) -> tuple[list[Turn], bool]:
    """Turns whose contents have `most` characters together at most, the longest cut first; and whether any was."""
    lengths = np.array([len(content) for _, content in turns[:most_turns]], np.int64)
    limit = level(lengths, most)
    kept = [(role[:40], content[:limit]) for role, content in turns[:most_turns]]
    return kept, len(turns) > most_turns or bool((lengths > limit).any())


def level(lengths: Ints, budget: int) -> int:
    """The limit for which the sum of min(length, limit) is within `budget`; the longest length if all fit."""
    ordered = np.sort(lengths)
    left = budget
    for index, length in enumerate(ordered):
        fair = left // (len(ordered) - index)
        if length > fair:
            return int(fair)
        left -= int(length)
    return int(ordered[-1]) if len(ordered) else 0
