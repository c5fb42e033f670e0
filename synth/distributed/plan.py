"""What a run would make, found out by the function that makes it: it is called, and stopped where it would begin."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import pyarrow as pa

from synth.data.output import Output
from synth.data.row import INDEX
from synth.data.run.record import RunRecord
from synth.data.run.shard import Shard
from synth.errors import UsageError
from synth.generation.acceptance import Rules


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that has not begun.

    Attributes:
        record: of the whole run, without a row.
        schema: the columns of what comes out.
        also_read: what it reads beside its source.
        total: rows there are to work on, where that is known.
        rules: by what rows are taken.
        one_by_one: whether rows come so, each with its `INDEX`; else in whole batches.
    """

    record: RunRecord
    schema: pa.Schema
    also_read: tuple[str, ...]
    total: int | None
    rules: Rules
    one_by_one: bool

    @property
    def wanted(self) -> int | None:
        """Rows to be accepted, or all that there are."""
        return self.total if self.record.asked is None else self.record.asked


class _Found(Exception):
    def __init__(self, plan: Plan) -> None:
        super().__init__("a run was planned where one was to be made")
        self.plan = plan


class _Asking(Output):
    """An output that is not opened: what would go there is all that is wanted."""

    def refuse_early(self, record: Callable[[], RunRecord]) -> None:
        """Nothing is there."""

    def open(self, record: RunRecord, schema: pa.Schema, also_read: Iterable[str] = (), *_: Any) -> NoReturn:
        """End the call: all its settings are checked, and no model is loaded."""
        recorded = record.shard or {}
        shard, rules = Shard.read(recorded), Rules.read(recorded)
        whole = pa.schema([item for item in schema if item.name != INDEX.name])
        one_by_one = INDEX.name in schema.names
        raise _Found(Plan(replace(record, shard=None), whole, tuple(also_read), shard.total, rules, one_by_one))


def plan_of(make: Callable[[Any], object]) -> Plan:
    """The plan of a run.

    Args:
        make: the call, which is given where its rows would go.

    Raises:
        UsageError: something is wrong with the settings.
    """
    try:
        make(_Asking("run", shard=Shard(1, None)))
    except _Found as found:
        return found.plan
    raise UsageError("`ray`: with these settings no rows are made that could go to actors")
