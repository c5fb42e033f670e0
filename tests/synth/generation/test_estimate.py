"""What runs take, reckoned from a few attempts: the true numbers lie in the intervals as often as these say."""

import random

import pytest

from synth.data.run.record import RunRecord
from synth.errors import UsageError
from synth.generation.estimate import Interval, Measured, Plan, compact, lasting, spelt, wilson


def record(**given: object) -> RunRecord:
    taken = {"next": 50, "accepted": 40, "rejected": 10, "reasons": {"cut off": 10}, "asked": 1000}
    taken |= {"seconds": 20.0, "prompt_tokens": 5000, "completion_tokens": 10_000}
    return RunRecord("magpie", {}, **(taken | given))  # type: ignore[arg-type]


def test_everything_grows_with_the_attempts() -> None:
    need = Measured(record(cost=2.0), [100] * 50).need(1_000_000)
    assert need.attempts.middle == 1_250_000
    assert (need.prompt_tokens.middle, need.completion_tokens.middle) == (125_000_000, 250_000_000)
    assert need.seconds.middle == 500_000 and need.cost is not None and need.cost.middle == 50_000
    assert need.attempts.low < 1_250_000 < need.attempts.high


def test_a_run_over_an_input_attempts_each_row_once() -> None:
    need = Measured(record(asked=None, total=70), [100] * 50).need(70)
    assert need.attempts == Interval(70, 70, 70) and need.completion_tokens == Interval(14_000, 14_000, 14_000)


def test_an_attempt_may_give_several_rows() -> None:
    assert Measured(record(accepted=80), []).need(1000).attempts.middle == 625


def test_devices_share_the_time() -> None:
    assert (
        Measured(record(devices=4), []).need(1000).seconds.middle
        == 4 * Measured(record(), []).need(1000).seconds.middle
    )
    assert Measured(record(devices=4), [], 2).devices == 2


def test_wilson_as_published() -> None:
    """Newcombe 1998, table I: 81 of 263, and 0 of 20."""
    assert wilson(81, 263).low == pytest.approx(0.2553, abs=1e-4)
    assert wilson(81, 263).high == pytest.approx(0.3662, abs=1e-4)
    assert wilson(0, 20).low == 0.0 and wilson(0, 20).high == pytest.approx(0.1611, abs=1e-4)


def test_intervals_hold_as_often_as_they_say() -> None:
    """Answers of very different lengths, of which 70% are accepted, the short ones rather."""
    draw = random.Random(0)
    mean = 200.0
    hits = 0
    for _ in range(400):
        lengths = [draw.expovariate(1 / mean) for _ in range(50)]
        good = sum(draw.random() < 0.7 for _ in lengths)
        seen = record(accepted=good, rejected=50 - good, completion_tokens=round(sum(lengths)))
        tokens = Measured(seen, [*map(round, lengths)]).need(1_000_000).completion_tokens
        hits += tokens.low <= 1_000_000 / 0.7 * mean <= tokens.high
    assert 0.91 <= hits / 400 <= 0.99


def test_nothing_to_reckon_with_is_said() -> None:
    with pytest.raises(UsageError, match="no row of this run was attempted"):
        Measured(RunRecord("magpie", {}), [])
    with pytest.raises(UsageError, match=r"none of 50 attempts was accepted \(50 cut off\)"):
        Measured(record(accepted=0, rejected=50, reasons={"cut off": 50}), [])
    with pytest.raises(UsageError, match=r"\(magpie\) has no seconds: give that of a run"):
        Measured(record(seconds=0.0), [])
    with pytest.raises(UsageError, match="has no tokens: give"):
        Measured(record(model="m", prompt_tokens=0, completion_tokens=0), [])


def test_the_table_has_a_line_for_each_size() -> None:
    measured = Measured(record(cost=1.0, reasons={"duplicate": 9, "cut off": 1}), [10, 20] * 25)
    table = Plan(measured, (measured.need(1000), measured.need(10**8))).table()
    assert "50 attempts in 20 s on 1 device; tokens/s 250 in, 500 out" in table
    assert "40 accepted (80%, with 95% certainty 67% to 89%)" in table
    assert "rejected: 9 duplicate, 1 cut off" in table and "more of them are duplicates" in table
    assert "on 8 devices" in table and "100,000,000" in table and "cost" in table


@pytest.mark.parametrize(
    ("number", "said"),
    [(0.01234, "0.0123"), (99.5, "99.5"), (1234, "1,234"), (12_345, "12.3k"), (999_700, "1.00M"), (2.5e9, "2.50G")],
)
def test_numbers_have_three_digits(number: float, said: str) -> None:
    assert compact(number) == said
    assert spelt(Interval(number, number, number)) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(59, "59 s"), (600, "10.0 min"), (9000, "2.5 hours"), (864_000, "10.0 days")]
)
def test_times_as_people_plan_them(seconds: float, said: str) -> None:
    assert lasting(seconds) == said
