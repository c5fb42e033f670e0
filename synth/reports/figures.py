"""Computes in one pass over a data set: figures of every row, sums by method, values of its columns.

A token is scored where `logprobs` has a number for it, masked where it is scored but not trained on (`labels` is
-100), and hard where its perplexity exp(-logprob) is above `HARD` (arXiv 2501.14315). Token columns stay Arrow and
numpy: what is held grows by some 100 bytes a row, whatever the lengths.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import compute

from synth.data.columns import lists_of
from synth.data.pairs import SIDES, is_pairs
from synth.data.plain import TEXT
from synth.data.read import Rows
from synth.data.row import PARTED, conversations_of
from synth.data.run.record import RunRecord, category_of
from synth.data.schema.turns import holds_text
from synth.data.views import CALLS, THOUGHTS, pieces
from synth.errors import UsageError

HARD = 2.5
"""Perplexity above which a token counts as hard."""
BINS = 40
BIN_NATS = math.log(HARD) / 4
"""Width of a histogram's bins: `HARD` is an edge, and the last bin starts near a perplexity of 8,000."""
MOST_NATS = 300.0
"""A token's surprisal is capped here, so that no sum of perplexities overflows."""

BATCH_ROWS = 1_024
MOST_METHODS = 24
MOST_VALUES = 1_000
"""A column with more distinct values than this is not categorical."""
MOST_COLUMNS = 64
MOST_SCORERS = 4
OTHER = "(other)"

TOKENS = ("input_ids", "labels", "logprobs")
NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_null)
"""What lists of numbers hold; JSON lines can give lists of nothing but nulls."""
TEXTS = ("id", "parent", "reference", "answer", "text", "scorer", "reason")
"""String columns that are no categories, whatever they hold."""

Turn = tuple[str, str]
ANSWERS = ("assistant", CALLS)
"""Role and content."""
Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Labels:
    """Names as small numbers, in order of appearance; those beyond `most` share the number of `OTHER`."""

    def __init__(self, most: int = MOST_METHODS) -> None:
        self.names: list[str] = []
        self._most = most
        self._codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        """The number of a name."""
        if name not in self._codes:
            if len(self.names) >= self._most:
                return self.code(OTHER) if OTHER in self._codes else self._add(OTHER)
            self._add(name)
        return self._codes[name]

    def _add(self, name: str) -> int:
        self._codes[name] = len(self.names)
        self.names.append(name)
        return self._codes[name]


@dataclass(slots=True)
class Scan:
    """What a pass over one table found. `columns` are arrays with one value a row, in the order of the rows.

    method, verdict   numbers of `methods` and `verdicts` (-1: no verdict)
    chars, tokens     length of the conversation
    scored, hard, masked   tokens of each kind
    nats              sum of -logprob over the scored tokens
    prompt, id, parent     hashes, equal where the texts are (id and parent: 0 where there is none)
    """

    rejected: bool
    has_tokens: bool
    columns: dict[str, NDArray[np.generic]]
    methods: list[str]
    verdicts: list[str]
    histogram: Ints
    """Scored tokens by method and perplexity; shape `[methods, BINS]`."""
    categories: dict[str, dict[str, int]] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    """Rejected rows by the part of their reason before a colon."""
    scorers: list[str] = field(default_factory=list)
    odd: int = 0
    """Tokens whose log-probability is not finite; they count as not scored."""

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.columns["chars"])

    def perplexity(self) -> Floats:
        """Each row's own perplexity; NaN for rows without scored tokens."""
        scored = self.columns["scored"].astype(np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            own: Floats = self.columns["nats"].astype(np.float64) / scored
        perplexity: Floats = np.exp(np.where(scored > 0, own, np.nan))
        return perplexity


@dataclass(slots=True)
class DataSet:
    """One data set: its tables (accepted rows, rejected ones), and the record of its run where there is one."""

    name: str
    tables: list[tuple[Rows, Scan]]
    record: RunRecord | None = None

    @property
    def accepted(self) -> Scan | None:
        """The rows that are data; None where only rejected ones were given."""
        return next((scan for _, scan in self.tables if not scan.rejected), None)

    @property
    def rejected(self) -> Scan | None:
        """The rejected rows, where they were kept."""
        return next((scan for _, scan in self.tables if scan.rejected), None)


@dataclass(frozen=True, slots=True)
class Figures:
    """One line of the table. None where there is nothing to compute it from."""

    rows: int
    tokens: int
    scored: int
    mean_tokens: float | None
    mean_chars: float | None
    perplexity: float | None
    """exp(mean of -logprob over the scored tokens)."""
    row_mean: float | None
    """Mean over rows of the row's own perplexity."""
    row_deviation: float | None
    """Its standard deviation, of these rows as the whole population."""
    hard: float | None
    """Share of the scored tokens, as is `masked`."""
    masked: float | None


def figures(scan: Scan, method: int | None = None) -> Figures:
    """The figures of one method's rows, or of all rows."""
    columns = scan.columns
    mine = np.ones(scan.rows, bool) if method is None else columns["method"] == method
    rows = int(mine.sum())
    tokens, scored, hard, masked, chars = (
        int(columns[name][mine].sum()) for name in ("tokens", "scored", "hard", "masked", "chars")
    )
    own = scan.perplexity()[mine]
    own = own[np.isfinite(own)]
    return Figures(
        rows=rows,
        tokens=tokens,
        scored=scored,
        mean_tokens=tokens / rows if tokens else None,
        mean_chars=chars / rows if rows else None,
        perplexity=math.exp(float(columns["nats"][mine].sum()) / scored) if scored else None,
        row_mean=float(own.mean()) if len(own) else None,
        row_deviation=float(own.std()) if len(own) else None,
        hard=hard / scored if scored else None,
        masked=masked / scored if scored else None,
    )


def scan_rows(rows: Rows, *, rejected: bool = False) -> Scan:
    """Read a table once, from start to end.

    Raises:
        UsageError: a part of it is damaged, or a row's token columns have different lengths.
    """
    methods, verdicts = Labels(), Labels()
    has_tokens = all(name in rows.schema.names and lists_of(rows.schema.field(name).type, *NUMBERS) for name in TOKENS)
    scan = Scan(rejected, has_tokens, {}, methods.names, verdicts.names, np.zeros((MOST_METHODS + 1, BINS), np.int64))
    named = [item.name for item in rows.schema if holds_text(item.type) and item.name not in TEXTS][:MOST_COLUMNS]
    categories: dict[str, dict[str, int] | None] = {name: {} for name in named}
    parts: list[dict[str, NDArray[np.generic]]] = []
    first = 0
    for batch in small_batches(rows):
        part = _row_figures(batch, methods, verdicts, rows.source, first)
        if has_tokens:
            tokens, token_rows, nats, odd = _token_figures(batch, rows.source, first)
            part |= tokens
            scan.odd += odd
            bins = np.minimum((nats / BIN_NATS).astype(np.int64), BINS - 1)
            where = part["method"].astype(np.int64)[token_rows] * BINS + bins
            scan.histogram += np.bincount(where, minlength=scan.histogram.size).reshape(-1, BINS)
        parts.append(part)
        for name in named:
            categories[name] = _counted(categories[name], batch.column(name))
        if rejected:
            for reason in column(batch, "reason"):
                name = category_of(reason or "", scan.reasons)
                scan.reasons[name] = scan.reasons.get(name, 0) + 1
        if has_tokens and len(scan.scorers) < MOST_SCORERS and "scorer" in rows.schema.names:
            new = {text for text in column(batch, "scorer") if text} - set(scan.scorers)
            scan.scorers = [*scan.scorers, *sorted(new)][:MOST_SCORERS]
        first += batch.num_rows
    scan.columns = {
        name: np.concatenate([part.get(name, np.zeros(len(part["chars"]), kind)) for part in parts])
        if parts
        else np.zeros(0, kind)
        for name, kind in COLUMNS.items()
    }
    scan.histogram = scan.histogram[: len(methods.names)]
    scan.categories = {name: counts for name, counts in categories.items() if counts}
    return scan


COLUMNS: dict[str, type[np.generic]] = {
    **dict.fromkeys(("method", "verdict"), np.int16),
    **dict.fromkeys(("chars", "tokens", "scored", "hard", "masked", "prompt", "id", "parent"), np.int64),
    "nats": np.float64,
}


def small_batches(rows: Rows) -> Iterator[pa.RecordBatch]:
    """The rows in batches so small that their texts may become Python objects."""
    for batch in rows.readable():
        for start in range(0, batch.num_rows, BATCH_ROWS):
            yield batch.slice(start, BATCH_ROWS)


def conversations(batch: pa.RecordBatch, name: str = "messages") -> list[list[Turn]]:
    """The turns of each row in a column, piece by piece; none where it is null."""
    messages = batch.column(name)
    if messages.type == PARTED:
        return [pieces(turns or ()) for turns in conversations_of(messages)]
    lengths = compute.fill_null(compute.list_value_length(messages), 0).to_pylist()
    flat = messages.flatten()
    roles = compute.struct_field(flat, "role").to_pylist()
    contents = compute.struct_field(flat, "content").to_pylist()
    turns = iter([(role or "", content or "") for role, content in zip(roles, contents, strict=True)])
    return [[next(turns) for _ in range(length)] for length in lengths]


def split_answer(turns: Sequence[Turn]) -> tuple[Sequence[Turn], Sequence[Turn]]:
    """The turns before the last assistant turn (or plain text), and the rest; all and none where there is none."""
    last = max((index for index, (role, _) in enumerate(turns) if role in (*ANSWERS, TEXT)), default=len(turns))
    if last < len(turns) and turns[last][0] == CALLS and last and turns[last - 1][0] == "assistant":
        last -= 1
    if last and last < len(turns) and turns[last - 1][0] == THOUGHTS:
        last -= 1
    return turns[:last], turns[last:]


def column(batch: pa.RecordBatch, name: str) -> list[str | None]:
    """A column as texts; None throughout where there is no such column of texts."""
    if name in batch.schema.names and holds_text(batch.schema.field(name).type):
        texts: list[str | None] = batch.column(name).to_pylist()
        return texts
    return [None] * batch.num_rows


def method_label(method: str | None, model: str | None) -> str:
    """The name of a row's method. Rows that no method of ours made are human, unless a model is named."""
    if method is None or method == "input":
        return "input" if model else "human"
    return method


def _row_figures(
    batch: pa.RecordBatch, methods: Labels, verdicts: Labels, source: str, first: int
) -> dict[str, NDArray[np.generic]]:
    labels = map(method_label, column(batch, "method"), column(batch, "model"))
    chars, prompts = [], []
    names = ("messages", *SIDES) if is_pairs(batch.schema) else ("messages",)
    for number, (turns, *answers) in enumerate(
        zip(*(conversations(batch, name) for name in names), strict=True), first
    ):
        chars.append(sum(len(content) for part in (turns, *answers) for _, content in part))
        prompt = split_answer(turns)[0]
        prompts.append(hash(tuple(prompt)) if prompt else hash((source, number)))
    by_name: dict[str, list[int]] = {
        "method": [methods.code(label) for label in labels],
        "verdict": [-1 if verdict is None else verdicts.code(verdict) for verdict in column(batch, "verdict")],
        "chars": chars,
        "prompt": prompts,
        "id": [hash(text) if text else 0 for text in column(batch, "id")],
        "parent": [hash(text) if text else 0 for text in column(batch, "parent")],
    }
    return {name: np.array(values, COLUMNS[name]) for name, values in by_name.items()}


def _token_figures(
    batch: pa.RecordBatch, source: str, first: int
) -> tuple[dict[str, NDArray[np.generic]], Ints, Floats, int]:
    """Figures of each row, then the row and the nats of each scored token, and how many were not finite."""
    whole = np.logical_and.reduce([batch.column(name).is_valid().to_numpy(zero_copy_only=False) for name in TOKENS])
    kept = batch.select(list(TOKENS)).filter(pa.array(whole))
    lengths = [compute.list_value_length(kept.column(name)).to_numpy().astype(np.int64) for name in TOKENS]
    positions = np.flatnonzero(whole)
    for bad in np.flatnonzero((lengths[0] != lengths[1]) | (lengths[0] != lengths[2]))[:1]:
        counts = ", ".join(f"{length[bad]} {name}" for name, length in zip(TOKENS, lengths, strict=True))
        raise UsageError(
            f"{source}: row {first + positions[bad]} has {counts}, where there must be one of each per token; "
            "score it again with synth score-tokens"
        )
    row = np.repeat(positions, lengths[0])
    given = kept.column("logprobs").flatten()
    nats = -given.cast(pa.float64()).to_numpy(zero_copy_only=False)  # NaN where null
    labels = compute.fill_null(kept.column("labels").flatten().cast(pa.int64()), -100).to_numpy()
    scored = np.isfinite(nats)
    row, nats, labels = row[scored], np.clip(nats[scored], 0.0, MOST_NATS), labels[scored]
    size = batch.num_rows
    tokens = np.zeros(size, np.int64)
    tokens[positions] = lengths[0]
    of_rows: dict[str, NDArray[np.generic]] = {
        "tokens": tokens,
        "scored": np.bincount(row, minlength=size),
        "hard": np.bincount(row[nats > math.log(HARD)], minlength=size),
        "masked": np.bincount(row[labels == -100], minlength=size),
        "nats": np.bincount(row, weights=nats, minlength=size),
    }
    return of_rows, row, nats, len(given) - given.null_count - int(scored.sum())


def _counted(counts: dict[str, int] | None, values: pa.Array) -> dict[str, int] | None:
    """Counts of a column's values with those of one more batch; None once there are too many for a category."""
    if counts is None:
        return None
    for item in compute.value_counts(values.cast(pa.string())).to_pylist():
        if item["values"] is not None:
            counts[item["values"]] = counts.get(item["values"], 0) + item["counts"]
    return counts if len(counts) <= MOST_VALUES else None
