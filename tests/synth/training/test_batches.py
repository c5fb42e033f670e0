import numpy as np
import pytest

from synth.errors import UsageError
from synth.training.batches import Collator, hardest, plan_steps
from synth.training.objectives import compared_tokens
from synth.training.rows import TrainingRows
from synth.training.settings import TrainingSettings

SIZES = np.random.default_rng(3).integers(5, 200, 300)


def planned(**options: object) -> list[np.ndarray]:
    settings = {"tokens_per_batch": 512, "per_step": 4, "steps": None, "epochs": 1.0, "seed": 7} | options
    return plan_steps(SIZES, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("per_step", [1, 3, 8])
@pytest.mark.parametrize("epochs", [0.5, 1.0, 3.0])
def test_every_epoch_takes_every_row_once(per_step: int, epochs: float) -> None:
    batches = planned(per_step=per_step, epochs=epochs)
    assert len(batches) % per_step == 0
    taken = np.concatenate(batches)
    counts = np.bincount(taken, minlength=len(SIZES))
    assert len(taken) == round(epochs * len(SIZES)) and counts.max() == np.ceil(epochs)
    assert min(len(batch) for batch in batches) > 0


def test_batches_hold_their_budget_and_little_less() -> None:
    held = [int(SIZES[batch].sum()) for batch in planned(steps=30)]
    assert len(held) == 120 and max(held) <= 512
    assert np.mean(held) > 512 - SIZES.mean()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("per_step", [2, 3, 16])
@pytest.mark.parametrize("seed", range(5))
def test_no_batch_ever_holds_more_than_the_budget(padded: bool, per_step: int, seed: int) -> None:
    """Neither do those of the last step, whose rows are few or long."""
    chance = np.random.default_rng(seed)
    for rows in (16, 17, 31, 100):
        sizes = np.where(chance.random(rows) < 0.3, 512, chance.integers(1, 40, rows))
        batches = plan_steps(
            sizes, tokens_per_batch=512, per_step=per_step, steps=None, epochs=1.0, seed=seed, padded=padded
        )
        held = [int(sizes[batch].max() * len(batch) if padded else sizes[batch].sum()) for batch in batches]
        assert max(held) <= 512 and len(batches) % per_step == 0
        assert set(np.concatenate(batches)) == set(range(rows))


def test_long_rows_that_fill_no_step_are_joined_by_the_first_again() -> None:
    batches = plan_steps(np.full(5, 512), tokens_per_batch=512, per_step=2, steps=None, epochs=1.0, seed=0)
    assert [len(batch) for batch in batches] == [1] * 6 and batches[5] == batches[0]


def test_the_hardest_batches() -> None:
    sizes = np.array([5, 40, 30, 30, 7])
    batches = [np.array([0, 1]), np.array([4]), np.array([2, 3])]
    assert hardest(batches, sizes) == [[40, 5], [30, 30]]


def test_the_order_depends_on_the_seed_alone() -> None:
    again = [batch.tolist() for batch in planned()]
    assert again == [batch.tolist() for batch in planned()]
    assert again != [batch.tolist() for batch in planned(seed=8)]
    first = [batch.tolist() for batch in planned(epochs=2.0)]
    assert first[: len(again) // 2] == again[: len(again) // 2]  # a longer run begins alike


def test_more_processes_than_rows_are_refused() -> None:
    with pytest.raises(UsageError, match="too few for steps of 301 batches"):
        planned(per_step=301)


def toy() -> TrainingRows:
    """Rows of 3, 5 and 2 tokens; of the second the label of one token is another than the token."""
    tokens = np.array([1, 2, 3, 11, 12, 13, 14, 15, 21, 22], np.int32)
    labels = np.array([-100, 2, 3, -100, -100, 93, -100, 15, -100, 22], np.int32)
    weights = np.array([0, 1, 0.5, 0, 0, 1, 0, 2, 0, 1], np.float32)
    return TrainingRows(["a", "b", "c"], ["x", "y", "x"], np.array([0, 3, 8, 10]), tokens, labels, weights)


def test_a_packed_batch() -> None:
    batch = Collator(toy(), packed=True)([0, 1, 2])
    assert batch["rows"].tolist() == [1, 0, 2] and batch["lengths"].tolist() == [5, 3, 2]  # longest first
    assert batch["input_ids"].tolist() == [[11, 12, 13, 14, 15, 1, 2, 3, 21, 22]]
    assert batch["position_ids"].tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 0, 1]]
    assert batch["keep"].tolist() == [1, 3, 5, 6, 8] and "at" not in batch  # as they are
    assert batch["targets"].tolist() == [93, 15, 2, 3, 22]
    assert batch["weights"].tolist() == [1, 2, 1, 0.5, 1]
    assert batch["totals"].tolist() == [5.5, 5, 0, 0] and not batch["replay"] and batch["compared"] == 0


@pytest.mark.parametrize("packed", [True, False])
def test_compared_tokens_come_first(packed: bool) -> None:
    compared = compared_tokens(toy(), TrainingSettings(kl_coef=1.0, kl_sources=("x",)))
    batch = Collator(toy(), packed, compared=compared)([0, 1, 2])
    assert batch["compared"] == 3 and batch["totals"].tolist() == [5.5, 5, 3, 0]
    assert batch["targets"].tolist() == [2, 3, 22, 93, 15] and batch["weights"].tolist() == [1, 0.5, 1, 1, 2]
    ids = batch["input_ids"] if packed else batch["input_ids"].roll(-1, 1)
    predicting = ids[:, batch["keep"] + (1 if packed else 0)].flatten()[batch["at"]]
    assert predicting.tolist() == [2, 3, 22, 13, 15]  # 93 by its label


def test_a_padded_batch_predicts_the_same() -> None:
    packed, padded = (Collator(toy(), packed=packed)([0, 1, 2]) for packed in (True, False))
    assert padded["input_ids"].tolist() == [[11, 12, 13, 14, 15], [1, 2, 3, 0, 0], [21, 22, 0, 0, 0]]
    assert padded["attention_mask"].sum(1).tolist() == [5, 3, 2]
    for name in ("targets", "weights", "totals"):
        assert packed[name].tolist() == padded[name].tolist()
    row, place = padded["at"] // len(padded["keep"]), padded["keep"][padded["at"] % len(padded["keep"])]
    following = padded["input_ids"][row, place + 1]
    assert following.tolist() == [13, 15, 2, 3, 22]  # the first target is 93 by its label


def test_a_language_model_loss_predicts_every_token_but_the_first() -> None:
    batch = Collator(toy(), packed=True, all_tokens=True)([0, 1, 2])
    assert batch["targets"].tolist() == [12, 93, 14, 15, 2, 3, 22]
    assert batch["weights"].tolist() == [0, 1, 0, 2, 1, 0.5, 1]
    assert batch["totals"].tolist() == [5.5, 7, 0, 0]
