"""The loss of a step, against one computed by hand from the model's plain logits."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import AutoModelForCausalLM

from synth.data.row import IGNORED
from synth.errors import RunError
from synth.training.batches import plan_steps
from synth.training.rows import TrainingRows
from synth.training.settings import TrainingSettings
from synth.training.trainer import TokenTrainer
from synth.training.watch import Watch
from tests.synth.training.conftest import Train

ONE = TrainingSettings(learning_rate=1e-3, tokens_per_batch=10_000, schedule="constant_with_warmup", dtype="float32")


def first_rows(rows: TrainingRows, count: int) -> TrainingRows:
    end = rows.starts[count]
    return TrainingRows(
        rows.names[:count],
        rows.sources[:count],
        rows.starts[: count + 1],
        rows.tokens[:end].copy(),
        rows.labels[:end].copy(),
        rows.weights[:end].copy(),
    )


def logged(
    run: Train, rows: TrainingRows, settings: TrainingSettings, name: str = "out", **options: Any
) -> dict[str, Any]:
    _, folder = run(name, settings, rows=rows, **options)
    return folder.log[-1]


def by_hand(model: str, rows: TrainingRows) -> tuple[torch.Tensor, torch.Tensor]:
    """-log p of every token but the first of each row, one row at a time, and whether its label is itself."""
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    losses, trained = [], []
    for start, end in zip(rows.starts[:-1], rows.starts[1:], strict=True):
        ids = torch.tensor(rows.tokens[start:end]).long()
        with torch.no_grad():
            logs = net(input_ids=ids[None]).logits[0].log_softmax(-1)
        losses.append(-logs[:-1].gather(1, ids[1:, None])[:, 0])
        trained.append(torch.tensor(rows.labels[start + 1 : end] != IGNORED))
    return torch.cat(losses), torch.cat(trained)


def test_the_loss_is_that_of_the_unmasked_tokens(run: Train, rows: TrainingRows, model: str) -> None:
    few = first_rows(rows, 12)
    few.labels[5:200:3] = IGNORED
    few.weights[5:200:3] = 0
    losses, trained = by_hand(model, few)
    assert 0 < trained.sum() < len(trained) / 2
    found = logged(run, few, ONE)
    assert found["loss"] == pytest.approx(float(losses[trained].mean()), abs=2e-6)
    assert found["tokens"] == len(few.tokens)


def test_tokens_weigh_as_their_weights_say(run: Train, rows: TrainingRows, model: str) -> None:
    few = first_rows(rows, 6)
    few.weights[few.weights > 0] = torch.rand(few.trained, generator=torch.Generator().manual_seed(2)).numpy() + 0.1
    losses, trained = by_hand(model, few)
    weights = torch.cat(
        [torch.tensor(few.weights[a + 1 : b]) for a, b in zip(few.starts[:-1], few.starts[1:], strict=True)]
    )
    expected = (losses * weights)[trained].sum() / weights.sum()
    assert logged(run, few, ONE)["loss"] == pytest.approx(float(expected), abs=2e-6)


@pytest.mark.parametrize(("loss", "alpha"), [("dft", 1.0), ("eaft", 1.0), ("eaft", 2.0)])
def test_tokens_weigh_as_the_model_thinks_of_them(
    run: Train, rows: TrainingRows, model: str, loss: Any, alpha: float
) -> None:
    """Beside the weights that they came with, in the task's loss alone; what is divided by stays as it was."""
    few = first_rows(rows, 6)
    few.weights[few.weights > 0] = torch.rand(few.trained, generator=torch.Generator().manual_seed(2)).numpy() + 0.1
    weights = torch.cat(
        [torch.tensor(few.weights[a + 1 : b]) for a, b in zip(few.starts[:-1], few.starts[1:], strict=True)]
    )
    losses, _ = by_hand(model, few)
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    thought = torch.exp(-losses)
    if loss == "eaft":
        entropies = []
        for start, end in zip(few.starts[:-1], few.starts[1:], strict=True):
            with torch.no_grad():
                logits = net(input_ids=torch.tensor(few.tokens[None, start:end]).long()).logits[0, :-1]
            shares = logits.sort(descending=True).values[:, :20].softmax(-1)
            entropies.append(-(shares * shares.log()).sum(-1))
        thought = (torch.cat(entropies) / 3) ** alpha
    expected = (thought * losses * weights).sum() / weights.sum()
    settings = replace(ONE, loss=loss, eaft_alpha=alpha)
    assert logged(run, few, settings)["loss"] == pytest.approx(float(expected), abs=2e-6)
    with_all = logged(run, few, replace(settings, lm_loss_coef=0.25), "lamol")["loss"]
    assert with_all == pytest.approx(float(expected + 0.25 * losses.mean()), abs=2e-6)


def test_a_loss_is_recorded_where_it_is_not_the_plain_one() -> None:
    """So that trainings of earlier releases go on."""
    assert not {"loss", "eaft_alpha"} & TrainingSettings().record().keys()
    assert TrainingSettings(loss="dft").record()["loss"] == "dft"
    assert TrainingSettings(loss="eaft").record() == TrainingSettings().record() | {"loss": "eaft", "eaft_alpha": 1.0}


def test_lamols_language_model_loss(run: Train, rows: TrainingRows, model: str) -> None:
    few = first_rows(rows, 6)
    losses, trained = by_hand(model, few)
    expected = losses[trained].mean() + 0.25 * losses.mean()
    assert logged(run, few, replace(ONE, lm_loss_coef=0.25))["loss"] == pytest.approx(float(expected), abs=2e-6)


def test_divergence_from_the_foundation_model(run: Train, rows: TrainingRows, model: str) -> None:
    """None at the first step, as the models are still one; at a second, that of the model trained so far."""
    few = first_rows(rows, 6)
    plain = logged(run, few, ONE, "plain")
    near = logged(run, few, replace(ONE, kl_coef=10.0), "near")
    assert near["loss"] == pytest.approx(plain["loss"], abs=1e-5)
    two = replace(ONE, tokens_per_batch=int(few.sizes.sum()), epochs=2, learning_rate=3e-3)
    apart = logged(run, few, two, "two")["loss"]
    held = logged(run, few, replace(two, kl_coef=1.0), "held")["loss"]
    assert held > apart + 1e-3
    # only rows of other sources: their divergence counts, and these have none of it
    other = logged(run, few, replace(two, kl_coef=1.0, kl_sources=("replay",)), "other")["loss"]
    assert other == pytest.approx(apart, abs=1e-6)


def test_batches_of_a_step_are_one(run: Train, rows: TrainingRows) -> None:
    """A token weighs the same however a step is cut into batches, packed or not."""
    whole = logged(run, rows, ONE, "whole")
    tokens_per_batch = int(rows.sizes.sum()) // 3
    assert len(plan_steps(rows.sizes, tokens_per_batch=tokens_per_batch, per_step=4, steps=None, epochs=1, seed=0)) == 4
    cut = logged(run, rows, replace(ONE, tokens_per_batch=tokens_per_batch, gradient_accumulation_steps=4), "cut")
    assert cut["loss"] == pytest.approx(whole["loss"], abs=1e-6)
    assert cut["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-5)


def test_padded_rows_give_the_same_loss(run: Train, rows: TrainingRows, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = logged(run, rows, ONE, "packed")
    monkeypatch.setattr("synth.training.run.choose_attention", lambda *_, **__: None)
    padded = logged(run, rows, ONE, "padded")
    assert padded["loss"] == pytest.approx(packed["loss"], abs=1e-6)
    assert padded["grad_norm"] == pytest.approx(packed["grad_norm"], rel=1e-5)


def test_a_loss_that_is_no_number_stops_with_the_rows_named(run: Train, rows: TrainingRows) -> None:
    few = first_rows(rows, 3)
    few.weights[int(few.weights.nonzero()[0][0])] = float("inf")
    with pytest.raises(
        RunError, match=r"the loss of step 1 is .*, on the rows .*row 0.*lower `learning_rate`.*No checkpoint"
    ):
        run("out", ONE, rows=few)


def test_of_weights_that_are_spoilt_the_checkpoint_before_is_kept(
    run: Train, rows: TrainingRows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """After step 3 a weight is infinite: its checkpoint is bad, which shows in step 4."""
    ends = TokenTrainer.end_step

    def spoil(trainer: TokenTrainer, *given: Any, **named: Any) -> None:
        if trainer.state.global_step == 3:
            with torch.no_grad():
                trainer.model.get_output_embeddings().weight[0, 0] = 1e38
        ends(trainer, *given, **named)

    monkeypatch.setattr(TokenTrainer, "end_step", spoil)
    settings = replace(ONE, steps=8, tokens_per_batch=1_000, save_every=1)
    with pytest.raises(RunError, match=r"step 4 .*, on the rows .*row \d+.*checkpoint-2 and .*checkpoint-3"):
        run("out", settings, rows=rows)
    assert {path.name for path in (tmp_path / "out" / "checkpoints").iterdir()} == {"checkpoint-2", "checkpoint-3"}


@pytest.mark.parametrize(
    ("save_every", "kept"), [(1, {"checkpoint-1", "checkpoint-2"}), (2, {"checkpoint-2"}), (9, set())]
)
def test_no_checkpoint_is_made_of_a_step_without_numbers(
    run: Train, rows: TrainingRows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, save_every: int, kept: set[str]
) -> None:
    """Its gradients are spoilt, its loss is none; the steps before it are logged, it is not."""
    clip = TokenTrainer._clip_grad_norm

    def spoil(trainer: TokenTrainer, model: Any) -> Any:
        if trainer.state.global_step == 2:
            next(model.parameters()).grad[0, 0] = float("nan")
        return clip(trainer, model)

    monkeypatch.setattr(TokenTrainer, "_clip_grad_norm", spoil)
    settings = replace(ONE, steps=8, tokens_per_batch=1_000, save_every=save_every)
    with pytest.raises(RunError, match=r"the gradients of step 3 are not numbers, on the rows .*row \d+.*lower"):
        run("out", settings, rows=rows)
    folder = tmp_path / "out"
    assert {path.name for path in (folder / "checkpoints").glob("checkpoint-*")} == kept
    assert [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()] == [1, 2]


READS = {"item", "tolist", "cpu", "numpy", "nonzero", "__bool__", "__float__", "__int__", "__index__", "__contains__"}
WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "repeat_interleave"}
"""What a CUDA device is waited for by: in Python, and below."""


class Counted(TorchDispatchMode):  # type: ignore[misc] # torch is not followed
    """Notes what a device would be waited for by; not in the optimiser, whose counters of steps are the host's."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in WAITS:
            self.found.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


class CountedCalls(TorchFunctionMode):  # type: ignore[misc] # torch is not followed
    """The same of calls in Python, which on a CPU leave no other trace."""

    def __init__(self, found: list[str]) -> None:
        super().__init__()
        self.found = found

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in READS:
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "options", [{}, {"kl_coef": 1.0, "kl_sources": ("tasks",)}, {"gradient_accumulation_steps": 2}, {"loss": "eaft"}]
)
def test_a_step_waits_for_the_device_once(
    run: Train, rows: TrainingRows, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """To read what the step before it measured, all at once; whatever is lost and however many batches there are."""
    counted = Counted()
    steps: list[list[str]] = []

    def next_step(watch: Watch, *_: Any, **__: Any) -> None:
        steps.append(counted.found.copy())
        counted.found.clear()

    def unseen(optimiser: Any, *given: Any, **named: Any) -> Any:
        with torch._C.DisableTorchFunction(), torch.utils._python_dispatch._disable_current_modes():
            return optimise(optimiser, *given, **named)

    optimise = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", unseen)
    monkeypatch.setattr(Watch, "on_step_begin", next_step)
    with CountedCalls(counted.found), counted:
        run("out", replace(ONE, steps=5, tokens_per_batch=700, **options), rows=rows)
    assert steps[2:] == [["tolist"]] * 3
