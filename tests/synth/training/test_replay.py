"""Replay as an objective of its own: its loss and gradients, against those computed by hand."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from synth.data.row import IGNORED
from synth.errors import UsageError
from synth.stop import Stop
from synth.training.batches import Collator, plan_steps
from synth.training.replay import join_replay, plan_batches, split_replay
from synth.training.rows import TrainingRows
from synth.training.settings import ReplaySettings, TrainedParts, TrainingSettings
from synth.training.trainer import TokenTrainer
from synth.values import ReplayLoss, ReplayPositions
from tests.synth.training.conftest import Train, weights
from tests.synth.training.test_trainer import by_hand, first_rows

ONE = TrainingSettings(steps=1, learning_rate=1e-3, tokens_per_batch=1_500, dtype="float32")
KL = ReplaySettings(400, loss="kl")


@pytest.fixture(scope="session")
def both(rows: TrainingRows) -> TrainingRows:
    """Twenty tasks, and the ten rows whose source is `replay`."""
    chosen = split_replay(rows, ["replay"])
    return join_replay(first_rows(chosen, 20), replay_of(chosen), "replay")


def replay_of(rows: TrainingRows) -> TrainingRows:
    start = rows.starts[rows.tasks]
    return TrainingRows(
        rows.names[rows.tasks :],
        rows.sources[rows.tasks :],
        rows.starts[rows.tasks :] - start,
        rows.tokens[start:].copy(),
        rows.labels[start:].copy(),
        rows.weights[start:].copy(),
    )


@pytest.fixture
def gradients(run: Train, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[dict[str, torch.Tensor], Any]]:
    """The gradients of the first step, by parameter, and what was logged of it."""
    found: dict[str, torch.Tensor] = {}
    clip = TokenTrainer._clip_grad_norm

    def keep(trainer: TokenTrainer, model: Any) -> Any:
        found.update({name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None})
        return clip(trainer, model)

    monkeypatch.setattr(TokenTrainer, "_clip_grad_norm", keep)

    def of(name: str, settings: TrainingSettings, **options: Any) -> tuple[dict[str, torch.Tensor], Any]:
        found.clear()
        _, folder = run(name, settings, **options)
        return dict(found), folder.log[0]

    return of


def test_rows_that_name_their_source_are_told_apart(rows: TrainingRows) -> None:
    split = split_replay(rows, ["replay"])
    assert (len(split), split.tasks, split.replayed) == (70, 60, 10)
    assert split.sources == ["tasks"] * 60 + ["replay"] * 10
    for values in ("tokens", "labels", "weights"):  # replay stood last already
        assert np.array_equal(getattr(split, values), getattr(rows, values))
    swapped = split_replay(rows, ["tasks"])
    assert swapped.names[:10] == rows.names[60:] and swapped.sizes[:10].tolist() == rows.sizes[60:].tolist()
    assert np.array_equal(swapped.labels[: swapped.starts[10]], rows.labels[rows.starts[60] :])


def test_a_source_that_is_not_there_or_all_there_is(rows: TrainingRows) -> None:
    with pytest.raises(UsageError, match="`replay_sources` magpie: no row is of that source; there are: replay, tasks"):
        split_replay(rows, ["magpie"])
    with pytest.raises(UsageError, match="none is left for the task"):
        split_replay(rows, ["tasks", "replay"])


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("padded", [False, True])
def test_batches_take_turns_in_every_process(both: TrainingRows, processes: int, padded: bool) -> None:
    settings = replace(ONE, steps=5, tokens_per_batch=400, gradient_accumulation_steps=3, replay=ReplaySettings(130))
    batches = plan_batches(both, settings, processes, padded=padded)
    assert len(batches) == 5 * settings.batches_per_step * processes == 30 * processes
    for process in range(processes):
        objectives = [bool(batch[0] >= both.tasks) for batch in batches[process::processes]]
        assert objectives == [False, True] * 15
    assert all(((batch >= both.tasks) == (batch[0] >= both.tasks)).all() for batch in batches)
    plain = plan_steps(
        both.sizes[: both.tasks],
        tokens_per_batch=400,
        per_step=3 * processes,
        steps=5,
        epochs=1.0,
        seed=0,
        padded=padded,
    )
    task = [batch.tolist() for batch in batches if batch[0] < both.tasks]
    assert task == [batch.tolist() for batch in plain]  # replay changes nothing about them
    held = [int(both.sizes[batch].sum()) for batch in batches if batch[0] >= both.tasks]
    assert max(held) <= 130


def test_epochs_are_those_of_the_task(both: TrainingRows) -> None:
    settings = replace(ONE, steps=None, epochs=2.0, tokens_per_batch=400, replay=ReplaySettings(40))
    taken = np.bincount(np.concatenate(plan_batches(both, settings, 1)), minlength=len(both))
    assert set(taken[: both.tasks]) == {2}


def test_too_few_rows_of_replay(both: TrainingRows) -> None:
    settings = replace(ONE, gradient_accumulation_steps=15, tokens_per_batch=100, replay=KL)
    with pytest.raises(UsageError, match="10 rows of replay are too few for steps of 15 batches"):
        plan_batches(both, settings, 1)


@pytest.mark.parametrize("packed", [True, False])
def test_a_batch_of_replay_counts_for_its_own_objective(packed: bool) -> None:
    tokens = np.array([1, 2, 3, 11, 12, 13], np.int32)
    labels = np.array([-100, 2, 3, -100, -100, 93], np.int32)
    rows = TrainingRows(
        ["a", "b"], ["", ""], np.array([0, 3, 6]), tokens, labels, np.array([0, 1, 1, 0, 0, 0.5], np.float32)
    )
    rows.replayed = 1
    task = Collator(rows, packed=packed, every_replayed=True)([0])
    assert not task["replay"] and task["totals"].tolist() == [2, 2, 0, 0]
    every = Collator(rows, packed=packed, every_replayed=True)([1])
    assert every["replay"] and every["totals"].tolist() == [0, 0, 0, 2]
    assert every["targets"].tolist() == [12, 93] and every["weights"].tolist() == [1, 1]
    trained = Collator(rows, packed=packed)([1])
    assert trained["targets"].tolist() == [93] and trained["totals"].tolist() == [0, 0, 0, 0.5]


def distributions(model: str | Path, rows: TrainingRows) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of every token but the first of each row, and whether it is trained on."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    found, trained = [], []
    for start, end in zip(rows.starts[:-1], rows.starts[1:], strict=True):
        with torch.no_grad():
            logits = net(input_ids=torch.tensor(rows.tokens[start:end]).long()[None]).logits
        found.append(logits[0, :-1].double().log_softmax(-1))
        trained.append(torch.tensor(rows.labels[start + 1 : end] != IGNORED))
    return torch.cat(found), torch.cat(trained)


def kl(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left.exp() * (left - right)).sum(-1)


BY_HAND: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "kl": kl,
    "reverse-kl": lambda before, now: kl(now, before),
    "js": lambda before, now: (
        (kl(before, ((before.exp() + now.exp()) / 2).log()) + kl(now, ((before.exp() + now.exp()) / 2).log())) / 2
    ),
}


def test_a_divergence_is_the_one_computed_by_hand(run: Train, both: TrainingRows, model: str) -> None:
    """After a first step the models differ; what is logged of the second is its divergence, over all of replay."""
    few = join_replay(first_rows(both, 4), replay_of(both), "replay")
    all_replay = int(few.sizes[few.tasks :].sum())
    one = replace(ONE, learning_rate=1e-2, schedule="constant", warmup=0.0)
    _, after = run("first", one, rows=few)
    before, trained = distributions(model, replay_of(few))
    now, _ = distributions(after.path, replay_of(few))
    cases: list[tuple[ReplayLoss, ReplayPositions]] = [("kl", "every"), ("reverse-kl", "every"), ("js", "every")]
    for loss, positions in (*cases, ("kl", "trained")):
        replay = ReplaySettings(all_replay, loss=loss, weight=0.0, positions=positions)
        _, folder = run(f"{loss}-{positions}", replace(one, steps=2, replay=replay), rows=few)
        apart = BY_HAND[loss](before, now)
        expected = float((apart if positions == "every" else apart[trained]).mean())
        assert folder.log[0]["replay_loss"] == pytest.approx(0, abs=1e-7) and expected > 1e-3
        assert folder.log[1]["replay_loss"] == pytest.approx(expected, abs=1e-6), loss
        assert folder.log[1]["loss"] == pytest.approx(folder.log[1]["task_loss"])  # its weight is 0


def test_a_loss_is_the_tasks_and_c_times_that_of_replay(run: Train, both: TrainingRows, model: str) -> None:
    """Each over its own tokens, however few those of replay are."""
    settings = replace(ONE, tokens_per_batch=int(both.starts[both.tasks]))
    losses, trained = by_hand(model, both)
    is_task = np.repeat(np.arange(len(both)) < both.tasks, both.sizes - 1)
    whole = plan_batches(both, replace(settings, replay=ReplaySettings(1_000)), 1)[1]
    seen = torch.tensor(np.repeat(np.bincount(whole, minlength=len(both)), both.sizes - 1))
    task = float(losses[trained & torch.tensor(is_task)].mean())
    for positions, chosen in (("trained", trained), ("every", torch.ones_like(trained))):
        counts = (seen * chosen)[~torch.tensor(is_task)]
        expected = float((losses[~torch.tensor(is_task)] * counts).sum() / counts.sum())
        replay = ReplaySettings(1_000, weight=3.0, positions=positions)  # type: ignore[arg-type]
        _, folder = run(positions, replace(settings, replay=replay), rows=both)
        found = folder.log[0]
        assert found["task_loss"] == pytest.approx(task, abs=2e-6)
        assert found["replay_loss"] == pytest.approx(expected, abs=2e-6)
        assert found["loss"] == pytest.approx(task + 3 * expected, abs=1e-5)


def test_replay_keeps_its_loss_whatever_the_tasks_is(run: Train, both: TrainingRows) -> None:
    logs = {}
    for loss in ("sft", "dft", "eaft"):
        settings = replace(ONE, steps=1, tokens_per_batch=400, loss=loss, replay=ReplaySettings(400))
        logs[loss] = run(loss, settings, rows=both)[1].log[0]
    plain = logs.pop("sft")
    for log in logs.values():
        assert log["replay_loss"] == pytest.approx(plain["replay_loss"], abs=1e-6)
        assert log["task_loss"] < 0.7 * plain["task_loss"]


@pytest.mark.parametrize("loss", ["kl", "js"])
def test_a_divergence_comes_without_nll(gradients: Any, both: TrainingRows, loss: Any) -> None:
    """Other labels of replay change no gradient; nor does replay itself, while the models are one."""
    settings = replace(ONE, replay=ReplaySettings(400, loss=loss))
    found, logged = gradients("as-is", settings, rows=both)
    plain, alone = gradients("plain", ONE, rows=first_rows(both, both.tasks))
    other = replace(both, labels=both.labels.copy())
    start = both.starts[both.tasks]
    other.labels[start:] = (other.labels[start:] + 7) % 1024
    changed, again = gradients("changed", settings, rows=other)
    assert found.keys() == plain.keys() == changed.keys() and logged["task_loss"] == alone["loss"]
    for name, tensor in found.items():
        assert torch.equal(tensor, changed[name]), name
        assert (tensor - plain[name]).abs().max() <= 1e-6, name
    assert logged == {**again, "seconds": logged["seconds"]}


def test_with_weight_zero_the_gradients_are_the_tasks(gradients: Any, both: TrainingRows) -> None:
    zero, _ = gradients("zero", replace(ONE, replay=ReplaySettings(400, weight=0.0)), rows=both)
    plain, _ = gradients("plain", ONE, rows=first_rows(both, both.tasks))
    assert all(torch.equal(zero[name], tensor) for name, tensor in plain.items())
    counted, _ = gradients("counted", replace(ONE, replay=ReplaySettings(400)), rows=both)
    assert any(not torch.equal(counted[name], tensor) for name, tensor in plain.items())


def test_padded_and_cut_into_batches_it_is_the_same(
    run: Train, both: TrainingRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps: in the second the divergence is not zero."""
    whole = replace(ONE, steps=2, learning_rate=1e-2, replay=KL)

    def all_rows(rows: TrainingRows, settings: TrainingSettings, *_: Any, **__: Any) -> list[NDArray[np.int64]]:
        per_step = settings.batches_per_step
        task = np.array_split(np.arange(rows.tasks), per_step // 2)
        replayed = np.array_split(np.arange(rows.tasks, len(rows)), per_step // 2)
        return [batch for pair in zip(task, replayed, strict=True) for batch in pair] * 2

    monkeypatch.setattr("synth.training.run.plan_batches", all_rows)
    cut = replace(whole, gradient_accumulation_steps=4)
    logs = [run("packed", whole, rows=both)[1].log, run("cut", cut, rows=both)[1].log]
    monkeypatch.setattr("synth.training.run.choose_attention", lambda *_, **__: None)
    logs.append(run("padded", whole, rows=both)[1].log)
    for log in logs[1:]:
        for step, expected in zip(log, logs[0], strict=True):
            for name in ("loss", "task_loss", "replay_loss"):
                assert step[name] == pytest.approx(expected[name], abs=1e-5)
            assert step["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-4)
    assert logs[0][1]["replay_loss"] > 1e-3


def test_an_adapter_is_its_own_reference(run: Train, both: TrainingRows) -> None:
    settings = replace(ONE, steps=3, learning_rate=1e-2, schedule="constant", warmup=0.0, replay=KL)
    _, folder = run("out", settings, rows=both, trained=TrainedParts(lora=4))
    losses = [entry["replay_loss"] for entry in folder.log]
    assert len(losses) == 3 and abs(losses[0]) <= 1e-6 and losses[-1] > 1e-4


def test_what_is_dropped_is_not_dropped_of_the_reference(run: Train, both: TrainingRows) -> None:
    """Frozen beside it or with its adapter off, it is the same: the first divergence is that of dropout alone."""
    first = []
    for name, lora in (("whole", None), ("adapter", 4)):
        parts = TrainedParts(lora=lora, dropout=0.1)
        first.append(run(name, replace(ONE, steps=1, replay=KL), rows=both, trained=parts)[1].log[0]["replay_loss"])
    assert min(first) > 1e-3 and first[1] == pytest.approx(first[0], rel=0.5)


def test_stopped_and_continued_it_ends_where_it_would_have(run: Train, both: TrainingRows) -> None:
    settings = replace(ONE, steps=6, tokens_per_batch=700, save_every=2, gradient_accumulation_steps=2, replay=KL)
    _, whole = run("whole", settings, rows=both)
    stop = Stop()

    def after_the_third(entry: dict[str, Any], steps: int) -> None:
        stop.asked |= entry["step"] == 3

    outcome, _ = run("parts", settings, rows=both, report=after_the_third, stop=stop)
    assert outcome.stopped
    _, again = run("parts", settings, rows=both)
    found = weights(again.path)
    for name, tensor in weights(whole.path).items():
        assert (found[name] - tensor).abs().max() <= 1e-6, name
    for name in ("loss", "replay_loss"):
        assert [entry[name] for entry in again.log] == pytest.approx([entry[name] for entry in whole.log])


def test_what_a_record_says_of_replay(run: Train, both: TrainingRows) -> None:
    settings = replace(ONE, steps=2, replay=KL)
    recorded = json.loads(json.dumps(settings.record()))
    assert {name: value for name, value in recorded.items() if name.startswith("replay")} == {
        "replay_tokens_per_batch": 400,
        "replay_sources": [],
        "replay_weight": 1.0,
        "replay_loss": "kl",
        "replay_positions": "every",
    }
    assert not [name for name in ONE.record() if "replay" in name]  # a run without one is recorded as ever


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokens_per_batch": 1}, "`replay_tokens_per_batch` is 2 or more"),
        ({"weight": -1.0}, "`replay_weight` is 0 or more"),
        ({"loss": "mse"}, "`replay_loss` is one of nll, kl, reverse-kl, js"),
        ({"positions": "all"}, "`replay_positions` is one of every, trained"),
    ],
)
def test_settings_out_of_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ReplaySettings(**{"tokens_per_batch": 100} | values)
