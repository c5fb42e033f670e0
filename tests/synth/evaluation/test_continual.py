"""Measures of sequences of tasks, beside the papers' formulas written out by hand."""

from collections.abc import Sequence

import pytest

from synth.evaluation.continual import Accuracies, TaskMatrix, transfer, transfer_table

TASKS = ("a", "b", "c")
BEFORE = (0.10, 0.20, 0.30)
WHOLE = TaskMatrix(TASKS, BEFORE, ((0.90, 0.25, 0.20), (0.70, 0.80, 0.40), (0.75, 0.60, 0.95)))


def test_the_papers_definitions() -> None:
    found = transfer(WHOLE)
    assert found.stage == 3
    assert found.average_accuracy == pytest.approx((0.75 + 0.60 + 0.95) / 3)
    assert found.backward_transfer == pytest.approx(((0.75 - 0.90) + (0.60 - 0.80)) / 2)
    assert found.forward_transfer == pytest.approx(((0.25 - 0.20) + (0.40 - 0.30)) / 2)
    assert found.forgetting == pytest.approx(((0.90 - 0.75) + (0.80 - 0.60)) / 2)
    assert found.left_out == ()


def test_an_earlier_stage_counts_only_what_was_learnt_by_then() -> None:
    found = transfer(WHOLE, 2)
    assert found.average_accuracy == pytest.approx((0.70 + 0.80) / 2)
    assert found.backward_transfer == pytest.approx(0.70 - 0.90)
    assert found.forward_transfer == pytest.approx(0.25 - 0.20)
    assert found.forgetting == pytest.approx(0.90 - 0.70)
    assert transfer(WHOLE, 2) == transfer(TaskMatrix(TASKS, BEFORE, WHOLE.after[:2]))


def test_forgetting_is_from_the_best_there_was_and_not_from_the_stage_of_its_own() -> None:
    rising = TaskMatrix(("a", "b", "c"), BEFORE, ((0.5, 0.9, None), (0.8, 0.6, None), (0.6, 0.7, 0.9)))
    found = transfer(rising)
    assert found.backward_transfer == pytest.approx(((0.6 - 0.5) + (0.7 - 0.6)) / 2)
    assert found.forgetting == pytest.approx(((0.8 - 0.6) + (0.9 - 0.7)) / 2)
    better = TaskMatrix(("a", "b"), (0.0, 0.0), ((0.5, 0.0), (0.6, 0.9)))
    assert transfer(better).forgetting == pytest.approx(-0.1)


def test_a_first_stage_has_no_transfer() -> None:
    found = transfer(WHOLE, 1)
    assert (found.average_accuracy, found.left_out) == (0.90, ())
    assert found.backward_transfer is found.forward_transfer is found.forgetting is None


def test_what_was_not_measured_is_left_out_and_said() -> None:
    """Only the tasks learnt so far were asked, as is usual, and one was missed."""
    lower = TaskMatrix(TASKS, (None, None, None), ((0.9, None, None), (None, 0.8, None), (0.75, 0.6, 0.95)))
    found = transfer(lower)
    assert found.average_accuracy == pytest.approx((0.75 + 0.60 + 0.95) / 3)
    assert found.backward_transfer == pytest.approx(((0.75 - 0.90) + (0.60 - 0.80)) / 2)
    assert found.forward_transfer is None
    assert found.forgetting == pytest.approx(0.8 - 0.6)
    assert [said.split(":")[0] for said in found.left_out] == [
        "forward transfer is without b, c",
        "forgetting is without a",
    ]
    assert "forgetting is without a" in str(transfer_table(lower))


@pytest.mark.parametrize(
    ("tasks", "before", "after", "says"),
    [
        ((), (), (), "tasks none"),
        (("a", "a"), (0.0, 0.0), (), "a name of its own"),
        (("a",), (0.0,), ((0.1,), (0.2,)), "2 stages of 1 tasks"),
        (("a", "b"), (0.0,), (), "1 accuracies of 2 tasks"),
        (("a",), (0.0,), ((0.1, 0.2),), "2 accuracies of 1 tasks"),
        (("a",), (0.0,), ((98.0,),), "98.0 is no accuracy"),
        (("a",), (float("nan"),), (), "nan is no accuracy"),
    ],
)
def test_what_is_no_matrix_is_refused(
    tasks: Sequence[str], before: Accuracies, after: Sequence[Accuracies], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        TaskMatrix(tasks, before, after)


@pytest.mark.parametrize("stage", [0, 4, -1])
def test_a_stage_that_is_not_done_is_refused(stage: int) -> None:
    with pytest.raises(ValueError, match="there is no stage"):
        transfer(WHOLE, stage)


def test_the_table() -> None:
    assert str(transfer_table(WHOLE)).splitlines() == [
        "after stage   a        b        c        average accuracy   backward transfer   forward transfer   forgetting",
        "before         10.0%    20.0%    30.0%",
        "1 a            90.0%    25.0%    20.0%    90.0%                  –                   –                  –",
        "2 b            70.0%    80.0%    40.0%    75.0%              -20.0                +5.0              +20.0",
        "3 c            75.0%    60.0%    95.0%    76.7%              -17.5                +7.5              +17.5",
    ]
    assert len(transfer_table(TaskMatrix(TASKS, BEFORE)).rows) == 1
