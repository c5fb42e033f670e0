"""The record of a run (`run.json`), and which settings must agree for the run to be continued."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from synth.data.row import Outcome
from synth.data.run.earlier import UNKNOWN, flattened, todays_settings
from synth.data.run.invocation import command_line
from synth.data.store.path import File
from synth.errors import UsageError

if TYPE_CHECKING:
    import pyarrow as pa


RECORDS = ("run.json", "progress.json")
"""The record of a run that is finished, and of one that is not."""

MOST_CATEGORIES = 1_000
"""Categories of reasons that are counted by name: those of a user's function may be as many as the rows."""

OTHER = "other"
"""What reasons beyond these are counted under."""

_SHARD = re.compile(r"data-\d{5,}\.arrow")
SHARD_LISTS = ("shards", "rejected_shards", "pair_shards")
"""Fields that list shards. While a run is under way they are counts: landings cost the same however many there are."""
_MOST_SHARDS = 10**7


def shard_name(number: int) -> str:
    """The name of a shard, counted from 0."""
    return f"data-{number:05d}.arrow"


def shard_names(told: Any, first: int = 0) -> list[str]:
    """The names of shards, from one on, that a record lists, or of which it says how many there are.

    Raises:
        ValueError: there cannot be so many.
    """
    if isinstance(told, list):
        return told[first:]
    if type(told) is not int or not 0 <= told <= _MOST_SHARDS:
        raise ValueError(f"it says that there are {str(told)[:80]} shards")
    return list(map(shard_name, range(first, told)))


@dataclass(slots=True)
class RunRecord:
    """What `run.json` (and, under way, `progress.json`) holds."""

    command: str
    settings: dict[str, Any]
    """Everything that determines the rows (JSON values); a run is continued only with equal settings."""
    model: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    source: str | None = None
    """The input's name, where there is one; the settings hold a fingerprint of its content."""
    asked: int | None = None
    """Rows wanted, where the command has a target."""
    total: int | None = None
    """Of a preview: rows of the whole input, where there is one."""
    devices: int = 1
    """GPUs, or engines on a CPU, that the model runs on in this process."""
    shard: dict[str, Any] | None = None
    """Of a shard: which part of the whole run it is (`synth.data.run.shard.Shard`), and by what rows are to be taken
    when it is joined with the others."""
    joined: list[dict[str, Any]] = field(default_factory=list)
    """Of a data set that was joined: for each shard its name, rows, attempts, seconds, tokens and `servers`; of a run
    on Ray, for each actor, and the number of its blocks."""
    joining: bool = False
    """Whether shards are joined here, so that all its rows are in them, too; no longer when it goes on as a run."""
    command_line: str | None = field(default_factory=command_line)
    """The command line, without secrets."""
    next: int = 0
    """Rows 0 … next-1 (attempts, in order) are in shards."""
    accepted: int = 0
    rejected: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    methods: dict[str, int] = field(default_factory=dict)
    """Accepted rows by method: what a row became may differ from row to row."""
    verdicts: dict[str, int] = field(default_factory=dict)
    """Accepted rows by verdict."""
    parts: list[dict[str, Any]] = field(default_factory=list)
    """Of a mixture: for each set its name, rows available, duplicates, rows and tokens taken."""
    tokens: dict[str, float] = field(default_factory=dict)
    """Sums over the tokens of accepted rows, where they are scored: `synth.scoring.token_scores` has the names."""
    shards: list[str] = field(default_factory=list)
    rejected_shards: list[str] = field(default_factory=list)
    pair_shards: list[str] = field(default_factory=list)
    seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None
    """What the answers of all attempts cost, where prices were given."""
    attention: str | None = None
    """Of a training: by which attention rows were packed; None where they were padded."""
    servers: list[dict[str, Any]] | None = None
    """Of a run on several servers, what each did: requests answered, tries that failed, tokens, the seconds in which it
    had something to do, the rate of these, and its state at the end ("well" where it was in use)."""
    finished: str | None = None
    note: str | None = None

    @property
    def binding(self) -> bool:
        """Whether the run has results that another run in its place would lose, as far as the record tells."""
        return self.next > 0 or self.finished is not None

    @property
    def passes(self) -> float | None:
        """Of a training: how often the rows went through the model, in the mean; None where it does not say."""
        seen, tokens = self.tokens.get("seen"), self.tokens.get("tokens")
        drew = self.tokens.get("generated")  # answers to the rows, which went through it, too
        return seen / tokens if seen and tokens and not drew else None

    def as_json(self) -> str:
        """Indented JSON, for people too."""
        fields = asdict(self)
        if self.servers is None:
            del fields["servers"]
        if not self.joining:
            del fields["joining"]
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"

    def as_progress(self) -> str:
        """The same of a run that is under way, which is of one length: it says how many shards there are, not which."""
        fields = json.loads(replace(self, shards=[], rejected_shards=[], pair_shards=[]).as_json())
        fields |= {name: len(getattr(self, name)) for name in SHARD_LISTS}
        return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"

    def count(self, outcome: Outcome) -> None:
        """Count one outcome in; see `category_of` for its reason."""
        if (cost := outcome.row.extra.get("cost")) is not None:
            self.cost = (self.cost or 0.0) + cost
        if outcome.reason is not None:
            self.rejected += 1
            _increase(self.reasons, category_of(outcome.reason, self.reasons))
            return
        for row in (outcome.row, *outcome.more):
            self.accepted += 1
            _increase(self.methods, row.method)
            if row.verdict is not None:
                _increase(self.verdicts, row.verdict)

    def count_batches(self, accepted: "pa.RecordBatch", rejected: "pa.RecordBatch") -> None:
        """Count whole batches of rows in; `rejected` has the column `reason`."""
        self.accepted += accepted.num_rows
        self.rejected += rejected.num_rows
        for counts, column in ((self.methods, accepted["method"]), (self.verdicts, accepted["verdict"])):
            for name in column.drop_null().to_pylist():
                _increase(counts, name)
        for reason in rejected["reason"].to_pylist():
            _increase(self.reasons, category_of(reason, self.reasons))


def without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    """The settings apart from those named, which are recorded in another way."""
    return {name: value for name, value in settings.items() if name not in names}


def category_of(reason: str, counts: Mapping[str, int]) -> str:
    """What a reason is counted by: its part before a colon, or "other" where so many others are counted already."""
    category = reason.split(":", 1)[0]
    return category if category in counts or len(counts) < MOST_CATEGORIES else OTHER


def _increase(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


def read_record(path: File) -> RunRecord | None:
    """The record of the run in a directory, finished or not; None if there is none.

    One that an earlier release wrote has its settings by today's names.

    Raises:
        UsageError: it is there but cannot be read.
    """
    for file in (path / name for name in RECORDS):
        try:
            if not file.exists():
                continue
            if not file.is_file():
                raise ValueError("it is not a file")
            fields = json.loads(file.read_text(encoding="utf-8"))
            if not isinstance(fields, dict):
                raise ValueError("it holds no settings")
            first_release = "command_line" not in fields
            fields.setdefault("command_line", None)
            fields |= {name: shard_names(fields[name]) for name in SHARD_LISTS if name in fields}
            record = _checked(RunRecord(**fields))
            record.settings = todays_settings(record.command, record.settings, digests=first_release)
            return record
        except (ValueError, TypeError, OSError, RecursionError) as error:
            raise UsageError(f"{file} is damaged ({error}); choose another `output`, or remove it") from error
    return None


def _checked(record: RunRecord) -> RunRecord:
    """The record, after checking the types of its values and that its shards are in its own directory.

    Raises:
        ValueError: they are not.
    """
    for name, kind in get_type_hints(RunRecord).items():
        if not _is_a(getattr(record, name), kind):
            raise ValueError(f"{name} has the wrong type")
    for shard in (*record.shards, *record.rejected_shards, *record.pair_shards):
        if not _SHARD.fullmatch(shard):
            raise ValueError(f"{shard!r} is not the name of a shard")
    return record


def _is_a(value: object, kind: Any) -> bool:
    """Whether a JSON value is of a type: a plain one, None or one, a list or a dict of one."""
    if kind is Any:
        return True
    if isinstance(kind, UnionType):
        return any(_is_a(value, one) for one in get_args(kind))
    if get_origin(kind) is list:
        return isinstance(value, list) and all(_is_a(one, get_args(kind)[0]) for one in value)
    if get_origin(kind) is dict:
        return isinstance(value, dict) and all(_is_a(one, get_args(kind)[1]) for one in value.values())
    if kind is float:
        return isinstance(value, int | float)
    return isinstance(value, kind)


def refuse_foreign(path: Path, is_ours: Callable[[str], bool], kind: str, directory: str = "a directory") -> None:
    """Refuse a directory that holds something other than a run. A run killed at its beginning has no record yet.

    Args:
        path: where a run is to be.
        is_ours: whether a file of that name is one of a run without a record.
        kind: what kind of run it is, for the message.
        directory: what `output` may be, for the message.

    Raises:
        UsageError: it is a file, or holds other files.
        OSError: it cannot be read.
    """
    try:
        names = {entry.name for entry in path.iterdir()}
    except FileNotFoundError:
        return
    except NotADirectoryError:
        raise UsageError(f"{path} is a file; give `output` {directory}") from None
    if not names & {*RECORDS} and not all(map(is_ours, names)):
        raise UsageError(f"{path} exists and holds no {kind}; choose another `output`")


def refuse_changed(path: File, earlier: RunRecord, now: RunRecord) -> None:
    """Refuse to continue a run that has other settings.

    Raises:
        UsageError: they differ; the message has the names of those that do.
    """
    if differing := differences(earlier, now):
        raise UsageError(
            f"{path} holds a run with other settings ({differing}). Give those to continue it, choose another "
            "`output`, or add `restart` to throw it away"
        )


def refuse_other_run(path: File, now: Callable[[], RunRecord]) -> None:
    """Refuse early what would be refused later: a directory with a run that has other settings.

    Raises:
        UsageError: there is one, or its record cannot be read.
    """
    earlier = read_record(path)
    if earlier is not None and earlier.binding:
        made = now()
        refuse_changed(path, earlier, replace(made, settings=json.loads(json.dumps(made.settings))))


def differences(earlier: RunRecord, now: RunRecord) -> str:
    """The settings in which two runs differ, by name, with both values; empty if they agree."""
    if earlier.command != now.command:
        return f"command: {earlier.command}, now {now.command}"
    before = flattened(earlier.settings | {"shard": _part(earlier)})
    after = flattened(now.settings | {"shard": _part(now)})
    changed = sorted(
        name for name in before.keys() | after.keys() if before.get(name) not in (after.get(name), UNKNOWN)
    )
    return "; ".join(f"{name}: {_short(before.get(name))}, now {_short(after.get(name))}" for name in changed)


def _part(record: RunRecord) -> str:
    """Which part of a run it is, for people."""
    if record.shard is None:
        return "none"
    number, of, block = (record.shard.get(name) for name in ("number", "of", "block"))
    return f"{number}/{of}" if of is not None else f"block {number} of {block} rows"


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
