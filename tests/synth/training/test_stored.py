"""Predictions of the model before training that are stored instead of the model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synth.chat.format import ChatFormat
from synth.errors import UsageError
from synth.scoring.losses import coarse_divergences, divergences
from synth.stop import Stop
from synth.training.batches import Collator
from synth.training.replay import join_replay
from synth.training.rows import TrainingRows
from synth.training.settings import ReplaySettings, TrainedParts, TrainingSettings
from synth.training.stored import StoredReference
from synth.training.trainee import TrainedModel
from synth.values import Divergence
from tests.synth.training.conftest import VOCABULARY, Train
from tests.synth.training.test_trainer import first_rows

KINDS: tuple[Divergence, ...] = ("kl", "reverse-kl", "js")
THREE = TrainingSettings(steps=3, learning_rate=3e-3, tokens_per_batch=300, dtype="float32", kl_coef=1.0, save_every=1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_coarser_divergence_is_less_and_approaches_the_whole(kind: Divergence) -> None:
    torch.manual_seed(2)
    before, now = torch.randn(40, 300) * 3, torch.randn(40, 300) * 3
    logs, whole = before.log_softmax(-1), divergences(before, now, kind)

    def coarse(count: int) -> torch.Tensor:
        likeliest = logs.topk(count, -1)
        rest = logs.scatter(-1, likeliest.indices, -torch.inf).logsumexp(-1, keepdim=True)
        return coarse_divergences(likeliest.indices, torch.cat([likeliest.values, rest], -1), now, kind)

    found = [coarse(count) for count in (1, 8, 64, 299)]
    for less, more in zip(found, [*found[1:], whole], strict=True):
        assert (less <= more + 1e-5).all()
    torch.testing.assert_close(found[-1], whole, atol=1e-5, rtol=0)


def test_two_tokens_and_the_rest_by_hand() -> None:
    """Before: 0.5, 0.25 and 0.25 in all others; now: 0.25, 0.25 and 0.5 in them."""
    before, now = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([[0.25, 0.25, 0.1, 0.4]])
    values = {kind: coarse_divergences(torch.tensor([[0, 1]]), before.log()[None], now.log(), kind) for kind in KINDS}
    half = torch.log(torch.tensor(2.0))
    assert values["kl"].item() == pytest.approx(float(0.5 * half - 0.25 * half), abs=1e-6)
    assert values["reverse-kl"].item() == pytest.approx(float(-0.25 * half + 0.5 * half), abs=1e-6)
    mean = torch.tensor([0.375, 0.25, 0.375])
    after = torch.tensor([0.25, 0.25, 0.5])
    js = ((before * (before / mean).log()).sum() + (after * (after / mean).log()).sum()) / 2
    assert values["js"].item() == pytest.approx(float(js), abs=1e-6)


def losses(run: Train, rows: TrainingRows, settings: TrainingSettings, name: str, **options: Any) -> list[float]:
    _, folder = run(name, settings, rows=rows, **options)
    assert not folder.reference.exists(), "what was stored goes when the model is there"
    return [entry["loss"] for entry in folder.log]


@pytest.mark.parametrize("trained", [TrainedParts(), TrainedParts(lora=4)])
def test_all_tokens_but_one_are_as_good_as_the_model(run: Train, rows: TrainingRows, trained: TrainedParts) -> None:
    """A divergence on some of the task's rows and on every token of replay's, from files and from the model."""
    task, others = first_rows(rows, 12), first_rows(rows, 9)
    task.sources = [("old", "new")[row % 2] for row in range(12)]
    both = join_replay(task, others, "replay")
    replay = ReplaySettings(100, loss="js", weight=0.5)
    settings = replace(THREE, lm_loss_coef=0.1, kl_sources=("old",), replay=replay)
    options: dict[str, Any] = {"trained": trained}
    live = losses(run, both, settings, "live", **options)
    stored = losses(run, both, replace(settings, reference_top_k=VOCABULARY), "stored", **options)
    # But for log-probabilities in half precision.
    assert stored == pytest.approx(live, rel=1e-4) and live[2] != pytest.approx(live[0], abs=1e-3)


def test_padded_rows_are_stored_likewise(run: Train, rows: TrainingRows, monkeypatch: pytest.MonkeyPatch) -> None:
    few, settings = first_rows(rows, 12), replace(THREE, reference_top_k=16)
    packed = losses(run, few, settings, "packed")
    monkeypatch.setattr("synth.training.run.choose_attention", lambda *_, **__: None)
    padded = losses(run, few, replace(settings, tokens_per_batch=10_000, steps=1), "padded")
    whole = losses(run, few, replace(settings, tokens_per_batch=10_000, steps=1, reference_top_k=None), "whole")
    assert padded == pytest.approx(whole, abs=2e-5) and len(packed) == 3


def test_what_is_stored_is_taken_over(run: Train, rows: TrainingRows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped while it is computed, cut short by a crash, continued after a checkpoint."""
    few, settings = first_rows(rows, 12), replace(THREE, reference_top_k=16)
    computed: list[int] = []
    compute, stop = StoredReference.compute, Stop()

    def counted(store: StoredReference, part: int, *rest: Any) -> None:
        compute(store, part, *rest)
        computed.append(part)
        if len(computed) == 2:
            stop.asked = True

    monkeypatch.setattr(StoredReference, "compute", counted)
    plain = losses(run, few, settings, "plain", stop=Stop())
    parts = len(computed)
    assert parts >= 3
    computed.clear()
    stop.asked = False
    result, folder = run("out", settings, rows=few, stop=stop)
    assert result.stopped and result.steps == 0 and computed == [0, 1] and not folder.begun
    [kept] = folder.reference.iterdir()
    whole = (kept / "000001.npy").read_bytes()
    (kept / "000001.npy").write_bytes(whole[:-10])
    (folder.reference / "another").mkdir()
    stopping = Stop()
    result, folder = run("out", settings, rows=few, stop=stopping, report=lambda *_: setattr(stopping, "asked", True))
    assert result.stopped and 0 < result.steps < 3 and computed == [0, 1, *range(1, parts)]
    assert list(folder.reference.iterdir()) == [kept] and (kept / "000001.npy").read_bytes() == whole
    _, folder = run("out", settings, rows=few)
    assert len(computed) == parts + 1 and not folder.reference.exists()
    assert [entry["loss"] for entry in folder.log] == plain


def test_other_rows_or_another_model_have_their_own(rows: TrainingRows) -> None:
    collator = Collator(rows, packed=True, compared=rows.weights > 0)
    changed = first_rows(rows, len(rows))
    changed.tokens[3] += 1
    chosen: dict[str, Any] = {"top_k": 8, "tokens": 300, "vocabulary": VOCABULARY, "model": "one"}

    def name(collator: Collator = collator, used: int = 12, **options: Any) -> str:
        return StoredReference(Path("reference"), collator, np.arange(used), **(chosen | options)).folder.name

    found = [
        name(),
        name(model="another"),
        name(top_k=9),
        name(used=11),
        name(replace(collator, rows=changed)),
        name(replace(collator, compared=(rows.weights > 0) & (rows.tokens % 2 > 0))),
    ]
    assert len(set(found)) == len(found) and name() == found[0]


@pytest.mark.usefixtures("memory_libraries")
def test_a_model_in_4_bits_or_computed_otherwise_is_another(model: str, chat: ChatFormat) -> None:
    settings = TrainingSettings(dtype="float32"), TrainingSettings(dtype="bfloat16")
    parts = TrainedParts(lora=4), TrainedParts(lora=4, quantise="4bit")
    found = {TrainedModel(model, chat.tokenizer, how, what, "cpu").before for how in settings for what in parts}
    assert len(found) == 4


def test_it_is_refused_where_nothing_is_compared_or_the_disk_is_full(
    run: Train, rows: TrainingRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="`reference_top_k` stores what a divergence is from"):
        TrainingSettings(reference_top_k=8)
    with pytest.raises(UsageError, match="`reference_top_k` is 1 or more"):
        TrainingSettings(reference_top_k=0, kl_coef=1.0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(UsageError, match=r"`reference_top_k`: [\d,]+ predictions take .* has room for"):
        run("out", replace(THREE, reference_top_k=8), rows=first_rows(rows, 12))


def test_files_are_not_opened_for_every_row(
    rows: TrainingRows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collator = Collator(rows, packed=True, compared=rows.weights > 0)
    used = np.arange(12)
    store = StoredReference(tmp_path, collator, used, top_k=8, tokens=300, vocabulary=VOCABULARY, model="one")
    store.folder.mkdir(parents=True)
    draw = np.random.default_rng(0)
    counts = np.add.reduceat((rows.weights > 0).astype(int), rows.starts[:-1])
    for part, inside in enumerate(store.parts):
        records = np.zeros(counts[inside].sum(), store._type)
        records["rest"] = draw.random(len(records))
        np.save(store._file(part), records)
    assert len(store.parts) >= 3 and not store.missing()
    opened: list[int] = []
    reopen = StoredReference._open

    def counted(store: StoredReference, part: int) -> Any:
        opened.append(part)
        return reopen(store, part)

    monkeypatch.setattr(StoredReference, "_open", counted)
    found = [store.likeliest([row])["likeliest_logs"] for row in [*used, *used]]
    assert sorted(opened) == list(range(len(store.parts)))
    monkeypatch.setattr("synth.training.stored._OPENED", 1)
    again = [store.likeliest([row])["likeliest_logs"] for row in [*used, *used]]
    assert all(np.array_equal(one, other) for one, other in zip(found, again, strict=True))
