"""The runner over many simulated engines, some of which die: nothing is lost, and hardly a place is ever idle."""

from pathlib import Path

from tests.benchmarks.simulate_engines import run_on

ROWS = 2_000


def test_engines_that_die_lose_no_row_and_stay_busy(tmp_path: Path) -> None:
    """Each dies twice an hour, and one answer in 500 is of ten times the length that it would have."""
    seen = run_on(20, places=8, rows=ROWS, deaths=2.0, long=0.002, folder=tmp_path / "many")
    alone = run_on(1, places=64, rows=ROWS, deaths=0.0, long=0.002, folder=tmp_path / "one")
    assert seen.died >= 3 and seen.sent_again >= 20
    assert [table.num_rows for table in seen.rows] == [ROWS, seen.rows[1].num_rows]
    assert seen.rows[0].equals(alone.rows[0]) and seen.rows[1].equals(alone.rows[1])
    assert seen.busy > 0.95
