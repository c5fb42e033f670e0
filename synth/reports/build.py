"""`synth report`: one HTML page about data sets, an evaluation or a training run.

Data sets take two passes over the rows: `synth.reports.figures` computes the figures, then the rows that the page
holds are read. The other two have modules of their own: `synth.reports.evaluation` and `synth.reports.training`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synth.data.files.names import short_name
from synth.data.pairs import SIDES, is_pairs
from synth.data.run.record import RunRecord, read_record
from synth.data.store.address import is_address
from synth.data.store.path import File, last_part, path_at
from synth.data.views import open_views
from synth.errors import UsageError
from synth.reports.datasets import (
    category_cards,
    length_panels,
    outcomes,
    perplexity_panels,
    short,
    table,
    tiles,
)
from synth.reports.evaluation import SCORES, build_scores_report
from synth.reports.figures import DataSet, Labels, Scan, column, conversations, scan_rows, small_batches, split_answer
from synth.reports.heat_maps import VERSIONS as MOST_VERSIONS
from synth.reports.heat_maps import Choice, choose, cut, evenly, heat_map, level
from synth.reports.page import Made, check_output, packed, render, save
from synth.reports.training import LOG, build_training_report
from synth.scoring.cells import Tokenizers

MOST_ROWS = 50_000
ROW_CHARS = 4_000
ALL_CHARS = 80_000_000
"""Characters of text in the page at most: of one row, and of all, before compression."""
PROMPT_CHARS = 2_000
BLOCK_ROWS = 500


@dataclass(slots=True)
class _Taken:
    """What the second pass takes: blocks of rows, what to filter them by, and heat maps."""

    limit: int
    """Characters of a row at most."""
    cut: bool
    """Whether any row has more characters than `limit`."""
    index: dict[str, list[Any]]
    """For each row its data set (d), status (s: 1 is rejected), method (m), verdict (v, null if none), characters
    (n), tokens (t) and perplexity (p, null where not scored)."""
    blocks: list[str] = field(default_factory=list)
    methods: Labels = field(default_factory=lambda: Labels(200))
    verdicts: Labels = field(default_factory=lambda: Labels(200))
    groups: list[dict[str, Any]] = field(default_factory=list)


def build_report(sources: Sequence[str], output: str, *, model: str | None = None, force: bool = False) -> Made:
    """Write the page.

    Args:
        sources: whatever `synth.data.views.open_views` reads; a run's directory brings its record and rejected rows.
            Or one directory that `synth eval` or `synth train` wrote.
        output: the file to write; it lands whole.
        model: whose tokenizer turns tokens into text, instead of the model named in the rows' `scorer`.
        force: replace a file that exists.

    Raises:
        UsageError: a source cannot be read, or the output exists, is a source or is not writable.
        RunError: the disk is full.
    """
    path = Path(output)
    here = [source for source in sources if not is_address(source)]
    check_output(path, [*here, *(str(Path(source) / file) for source in here for file in (SCORES, LOG))], force)
    for file, build in ((SCORES, build_scores_report), (LOG, build_training_report)):
        if with_page := next((source for source in sources if _has(source, file)), None):
            if len(sources) > 1 or model:
                raise UsageError(
                    f"{with_page} is no data set, but has a page of its own: report it alone, without `model`"
                )
            return build(path_at(with_page), path)
    notes: list[str] = []
    sets = [_open(source, name, notes) for source, name in zip(sources, _names(sources), strict=True)]
    choice = choose([scan for item in sets for _, scan in item.tables])
    tokenizers = Tokenizers(model)
    taken = _take(sets, choice, tokenizers)
    notes += [note for note in tokenizers.notes if note not in notes]
    size = save(path, _render(sets, choice, taken, notes))
    rows = sum(scan.rows for item in sets for _, scan in item.tables)
    return Made(f"{rows:,} rows", size, notes)


def _has(source: str, file: str) -> bool:
    """Whether a source is a directory with a file of that name."""
    folder = path_at(source)
    return folder.is_dir() and (folder / file).is_file()


def _names(sources: Sequence[str]) -> list[str]:
    """A name for each source, all different."""
    names: list[str] = []
    for source in sources:
        path = path_at(source)
        name = str(path)
        if source == "-":
            name = "standard input"
        elif path.exists():
            path = Path(os.path.abspath(path)) if isinstance(path, Path) else path
            is_rejected = path.is_dir() and path.name == "rejected"
            name = f"{path.parent.name}/rejected" if is_rejected else short_name(source)
        name = name.encode("utf-8", "replace").decode()
        unique = [name, *(f"{name} ({number})" for number in range(2, len(sources) + 1))]
        names.append(next(candidate for candidate in unique if candidate not in names))
    return names


def _open(source: str, name: str, notes: list[str]) -> DataSet:
    """The figures of a source and, where it is the directory of a run, of its rejected rows."""
    path = path_at(source)
    rows = open_views(source)
    is_rejected = path.is_dir() and last_part(path) == "rejected"
    opened = DataSet(name, [(rows, scan_rows(rows, rejected=is_rejected))], _record(path, notes))
    if (path / "rejected" / "state.json").is_file():
        side = open_views(str(path / "rejected"))
        opened.tables.append((side, scan_rows(side, rejected=True)))
    notes += [note for table, _ in opened.tables for note in table.notes]
    for _, scan in opened.tables:
        if scan.odd:
            notes.append(f"{name}: {scan.odd:,} log-probabilities are not finite numbers; they count as not scored")
    return opened


def _record(path: File, notes: list[str]) -> RunRecord | None:
    try:
        return read_record(path)
    except UsageError as error:
        notes.append(f"no counts of the run: {str(error).partition(';')[0]}")
        return None


def _take(sets: Sequence[DataSet], choice: Choice, tokenizers: Tokenizers) -> _Taken:
    """The second pass: the rows of the browser, and those of the heat maps."""
    tables = [(number, rows, scan) for number, item in enumerate(sets) for rows, scan in item.tables]
    starts = np.cumsum([0, *(scan.rows for *_, scan in tables)])
    picked = evenly(int(starts[-1]), MOST_ROWS)
    lengths = np.concatenate([scan.columns["chars"] for *_, scan in tables]).astype(np.int64)[picked]
    limit = level(np.minimum(lengths, ROW_CHARS), ALL_CHARS)
    taken = _Taken(limit, bool((lengths > limit).any()), {name: [] for name in "dsmvntp"})
    shown = [group[:MOST_VERSIONS] for group in choice.chosen]
    heated = {pair for group in shown for pair in group}
    versions: dict[tuple[int, int], dict[str, Any]] = {}
    waiting: list[Any] = []
    for place, (number, rows, scan) in enumerate(tables):
        first = int(starts[place])
        for batch in small_batches(rows):
            mine = picked[(picked >= first) & (picked < first + batch.num_rows)] - first
            waiting += _rows(batch, mine, taken.limit, scan.rejected)
            _index(taken, number, scan, mine + (first - starts[place]))
            while len(waiting) >= BLOCK_ROWS:
                taken.blocks.append(packed(waiting[:BLOCK_ROWS]))
                del waiting[:BLOCK_ROWS]
            for offset in range(batch.num_rows if heated else 0):
                row = first - int(starts[place]) + offset
                if (place, row) in heated:
                    name = scan.methods[int(scan.columns["method"][row])]
                    version = _version(batch.slice(offset, 1), tokenizers)
                    versions[place, row] = version | {"d": number, "m": short(name, 40)} if version else {}
            first += batch.num_rows
    if waiting:
        taken.blocks.append(packed(waiting))
    for group, all_of_it in zip(shown, choice.chosen, strict=True):
        if shown_versions := [versions[pair] for pair in group if versions[pair]]:
            taken.groups.append({"v": shown_versions, "of": len(all_of_it)})
    return taken


def _rows(batch: pa.RecordBatch, mine: NDArray[np.int64], limit: int, rejected: bool) -> list[list[Any]]:
    """Rows as the page's script reads them: id, turns, whether they were cut, the reason of rejection.

    A preference pair has two lists of turns more: the chosen and the rejected ones.
    """
    if not len(mine):
        return []
    kept = batch.take(pa.array(mine))
    reasons = column(kept, "reason") if rejected else [None] * len(mine)
    turns = conversations(kept)
    sides = [conversations(kept, side) for side in SIDES] if is_pairs(kept.schema) else [[()] * len(mine)] * 2
    shown: list[list[Any]] = []
    for name, reason, asked, chosen, other in zip(column(kept, "id"), reasons, turns, *sides, strict=True):
        all_turns, was_cut = cut([*asked, *chosen, *other], limit)
        ends = np.minimum(np.cumsum([len(asked), len(chosen), len(other)]), len(all_turns)).tolist()
        row = [(name or "")[:200], all_turns[: ends[0]], int(was_cut), (reason or "")[:1000]]
        if is_pairs(kept.schema):
            row += [all_turns[ends[0] : ends[1]], all_turns[ends[1] :]]
        shown.append(row)
    return shown


def _index(taken: _Taken, number: int, scan: Scan, mine: NDArray[np.int64]) -> None:
    columns = scan.columns
    methods = [taken.methods.code(short(name, 40)) for name in scan.methods]
    verdicts = [taken.verdicts.code(short(name, 40)) for name in scan.verdicts]
    perplexity = scan.perplexity()[mine]
    for name, values in {
        "d": [number] * len(mine),
        "s": [int(scan.rejected)] * len(mine),
        "m": [methods[code] for code in columns["method"][mine]],
        "v": [None if code < 0 else verdicts[code] for code in columns["verdict"][mine]],
        "n": columns["chars"][mine].tolist(),
        "t": columns["tokens"][mine].tolist(),
        "p": [float(f"{value:.4g}") if np.isfinite(value) else None for value in perplexity],
    }.items():
        taken.index[name] += values


def _version(row: pa.RecordBatch, tokenizers: Tokenizers) -> dict[str, Any] | None:
    """One row's heat map with its id and prompt; None where its tokens cannot be turned into text."""
    tokenizer = tokenizers.of(column(row, "scorer")[0])
    if tokenizer is None:
        return None
    prompt, _ = cut(split_answer(conversations(row)[0])[0], PROMPT_CHARS)
    return heat_map(row, tokenizer) | {"id": (column(row, "id")[0] or "")[:200], "prompt": prompt}


def _render(sets: Sequence[DataSet], choice: Choice, taken: _Taken, notes: Sequence[str]) -> str:
    lines = table(sets)
    unit, lengths = length_panels(sets)
    scans = [scan for item in sets for _, scan in item.tables]
    names = [short(item.name, 60) for item in sets]
    index = {
        "sets": names,
        "methods": taken.methods.names,
        "verdicts": taken.verdicts.names,
        "block": BLOCK_ROWS,
        "rows": taken.index,
    }
    return render(
        "rows",
        title=", ".join(names),
        names=names,
        scorers=list(dict.fromkeys(scorer for scan in scans for scorer in scan.scorers)),
        notes=notes,
        tiles=tiles(sets, lines),
        lines=lines,
        perplexity=perplexity_panels(sets),
        unit=unit,
        lengths=lengths,
        outcomes=outcomes(sets),
        cards=category_cards(sets),
        groups=len(taken.groups),
        all_groups=choice.groups,
        rows=len(taken.index["d"]),
        all_rows=sum(scan.rows for scan in scans),
        limit=taken.limit if taken.cut else None,
        heat=packed(taken.groups),
        index=packed(index),
        blocks=taken.blocks,
    )
