"""What a run of any size will take, from what a preview or a run was measured to take.

Each number is a middle with the ends of a 95% interval, as far as the rows themselves tell: how many attempts are
accepted (Wilson's interval of a share) and how much the lengths of attempts vary. That a rate holds on other machines,
or that duplicates stay as rare, no sample of rows can tell.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from synth.data.run.record import RunRecord
from synth.errors import UsageError
from synth.progress import clock

NORMAL = 1.96
"""Standard deviations on each side of a middle that hold 95%."""
FULL = 1000
"""Attempts from which on a run has kept the engine's batch full most of the time."""
SPREAD = (8, 64)
"""Over how many devices the time of a run is shown."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, and the ends between which it is with a probability of 95%."""

    low: float
    middle: float
    high: float

    def times(self, factor: float) -> "Interval":
        """The estimate of a multiple."""
        return Interval(self.low * factor, self.middle * factor, self.high * factor)


@dataclass(frozen=True, slots=True)
class Need:
    """What a run of so many rows takes.

    Attributes:
        rows: accepted ones, or, where a run takes every row of its input once, those of the input.
        attempts: rows to begin.
        prompt_tokens: into the engines.
        completion_tokens: out of them.
        seconds: on one device.
        cost: in the currency of the prices; None where there were none.
    """

    rows: int
    attempts: Interval
    prompt_tokens: Interval
    completion_tokens: Interval
    seconds: Interval
    cost: Interval | None


class Measured:
    """What attempts of a run took.

    Attributes:
        record: of the run.
        devices: on how many it was made.
        share: of the attempts, those accepted.
    """

    def __init__(self, record: RunRecord, lengths: Sequence[int], devices: int | None = None) -> None:
        """Read the record of a run.

        Args:
            record: of a run, finished or not, with an attempt at least.
            lengths: of some attempts, in any unit.
            devices: on how many it was made; None is what the record says.

        Raises:
            UsageError: nothing was attempted, no row was accepted, or the record has no seconds, or no tokens of a
                model.
        """
        if record.next == 0:
            raise UsageError(
                "no row of this run was attempted, as far as its record tells: there is nothing to reckon with. If it "
                "is under way or was killed, go on with it, then give it again"
            )
        if record.rejected >= record.next:
            raise UsageError(
                f"none of {record.next:,} attempts was accepted ({_reasons(record)}): there is nothing to reckon with"
            )
        tokens = record.prompt_tokens + record.completion_tokens
        if record.seconds <= 0 or (record.model is not None and tokens == 0):
            raise UsageError(
                f"the record of this run ({record.command}) has no {'tokens' if record.seconds > 0 else 'seconds'}: "
                "give that of a run that asked a model for rows, or a preview of one"
            )
        self.record = record
        self.devices = devices or record.devices
        self.share = wilson(record.next - record.rejected, record.next)
        mean = fmean(lengths) if lengths else 0.0
        self._variation = pstdev(lengths) / mean if mean > 0 else 0.0

    def need(self, rows: int) -> Need:
        """What a run of so many rows takes."""
        record = self.record
        if record.asked is None:
            attempts = Interval(rows, rows, rows)
        else:
            each = record.accepted / (record.next - record.rejected)
            attempts = Interval(
                *(rows / each / share for share in (self.share.high, self.share.middle, self.share.low))
            )
        work = self._with_lengths(attempts)
        return Need(
            rows,
            attempts,
            work.times(record.prompt_tokens / record.next),
            work.times(record.completion_tokens / record.next),
            work.times(record.seconds * self.devices / record.next),
            None if record.cost is None else work.times(record.cost / record.next),
        )

    def _with_lengths(self, attempts: Interval) -> Interval:
        """The attempts, as uncertain as the work of all of them is."""
        of_count = math.log(attempts.high / attempts.low) / (2 * NORMAL)
        spread = math.exp(NORMAL * math.hypot(of_count, self._variation / math.sqrt(self.record.next)))
        return Interval(attempts.middle / spread, attempts.middle, attempts.middle * spread)

    @property
    def whole(self) -> int | None:
        """Rows of the whole run that was previewed or begun, where that is known."""
        return self.record.asked if self.record.asked is not None else self.record.total


def wilson(hits: int, tries: int) -> Interval:
    """A share of tries (Wilson 1927)."""
    share, square = hits / tries, NORMAL**2
    centre = (share + square / (2 * tries)) / (1 + square / tries)
    half = NORMAL / (1 + square / tries) * math.sqrt(share * (1 - share) / tries + square / (4 * tries**2))
    return Interval(max(centre - half, 0.0), share, min(centre + half, 1.0))


@dataclass(frozen=True, slots=True)
class Plan:
    """What runs of several sizes take; `table()` is for people.

    Attributes:
        measured: from what.
        needs: of each size.
    """

    measured: Measured
    needs: tuple[Need, ...]

    def table(self) -> str:
        """The measurement, what was rejected and why, and a line for each size."""
        return "\n".join([*_measurement(self.measured), "", *self._lines(), "", *_cautions(self.measured)])

    __str__ = table

    def _lines(self) -> list[str]:
        has_cost = any(need.cost is not None for need in self.needs)
        many = [f"on {many * self.measured.devices} devices" for many in SPREAD]
        head = ["rows", "attempts", "tokens in", "tokens out", "device hours", *many, *(["cost"] if has_cost else [])]
        table = [head, *(self._line(need) for need in self.needs)]
        widths = [max(len(row[at]) for row in table) for at in range(len(head))]
        return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in table]

    def _line(self, need: Need) -> list[str]:
        hours = need.seconds.times(1 / 3600)
        at_once = [lasting(need.seconds.middle / (devices * self.measured.devices)) for devices in SPREAD]
        cells = [spelt(each) for each in (need.attempts, need.prompt_tokens, need.completion_tokens, hours)]
        return [f"{need.rows:,}", *cells, *at_once, *([spelt(need.cost)] if need.cost is not None else [])]


def _measurement(measured: Measured) -> list[str]:
    record, share = measured.record, measured.share
    devices = f"{measured.devices:,} device{'s' if measured.devices > 1 else ''}"
    rates = f"{record.prompt_tokens / record.seconds:,.0f} in, {record.completion_tokens / record.seconds:,.0f} out"
    lines = [
        f"{record.next:,} attempts in {clock(record.seconds)} on {devices}; tokens/s {rates}",
        f"{record.next - record.rejected:,} accepted ({share.middle:.0%}, with 95% certainty {share.low:.0%} to "
        f"{share.high:.0%})",
    ]
    return [*lines, f"rejected: {_reasons(record)}"] if record.rejected else lines


def _reasons(record: RunRecord) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in sorted(record.reasons.items(), key=lambda r: -r[1]))


def _cautions(measured: Measured) -> list[str]:
    said = ["Between the numbers of a range is the true one with 95% certainty, if other rows are like these."]
    if measured.record.next < FULL:
        said.append("So few rows do not fill the engine's batch: a longer run needs less time for each.")
    if "duplicate" in measured.record.reasons:
        said.append("The more rows, the more of them are duplicates: there will be more attempts than this.")
    return said


def spelt(one: Interval) -> str:
    """An interval as people read it: 1.2M–1.4M; a single number where both ends are the same."""
    low, high = compact(one.low), compact(one.high)
    return low if low == high else f"{low}–{high}"


def compact(number: float) -> str:
    """A number in three digits: 0.012, 3.45, 812, 12.3k, 4.56M, 7.89G, 1.23T."""
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size * 0.9995:
            return f"{_digits(number / (1e3 if unit == 'k' else size))}{unit}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _digits(number: float) -> str:
    return f"{number:.{max(0, 2 - int(math.log10(max(number, 1))))}f}"


def lasting(seconds: float) -> str:
    """A time as people plan it: 40 s, 12 min, 3.4 hours, 5.6 days."""
    for size, unit in ((86_400 * 2, "days"), (7200, "hours"), (120, "min")):
        if seconds >= size:
            each = {"days": 86_400, "hours": 3600, "min": 60}[unit]
            return f"{seconds / each:,.1f} {unit}"
    return f"{seconds:,.0f} s"
