"""The output directory of a training, and two processes that want it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synth.data.run.lock import lock_directory
from synth.data.run.record import RunRecord
from synth.errors import UsageError
from synth.training.folder import TrainingFolder, refuse_other_settings
from synth.training.pipeline import TrainingJob
from synth.training.settings import RowSettings, TrainedParts, TrainingSettings

HOLDER = """
import sys
from pathlib import Path
from synth.data.run.record import RunRecord
from synth.training.folder import TrainingFolder

folder = TrainingFolder(Path(sys.argv[1]), RunRecord("train", {"learning_rate": 1}))
folder.note({"step": 1, "loss": 2.0})
print("holds", flush=True)
sys.stdin.readline()
saved = folder.path / ".saving"
saved.mkdir()
(saved / "model.safetensors").write_text("weights")
folder.finish(saved, "card", "now")
folder.close()
print("finished", flush=True)
"""


def folder_of(path: Path, rate: float = 1, **options: Any) -> TrainingFolder:
    return TrainingFolder(path, RunRecord("train", {"learning_rate": rate}), **options)


def checkpoint(folder: TrainingFolder, step: int) -> None:
    checkpoint_of(folder.checkpoints / f"checkpoint-{step}", step)


def checkpoint_of(made: Path, step: int) -> None:
    made.mkdir(parents=True)
    (made / "trainer_state.json").write_text(json.dumps({"global_step": step}))


@pytest.mark.parametrize("restart", [False, True])
def test_a_run_that_ends_as_another_begins_is_not_lost(
    restart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other process finishes just before this one gets the lock."""
    out = tmp_path / "out"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        assert other.stdout.readline() == "holds\n"
        with pytest.raises(UsageError, match="another run is writing"):
            folder_of(out, restart=restart)

        def after_the_other(path: Path) -> int:
            assert other.stdin is not None and other.stdout is not None
            other.stdin.write("\n")
            other.stdin.flush()
            assert other.stdout.readline() == "finished\n"
            return lock_directory(path)

        monkeypatch.setattr("synth.training.folder.lock_directory", after_the_other)
        folder = folder_of(out, restart=restart)
    assert folder.finished is not restart
    folder.close()
    assert (out / "model.safetensors").read_text() == "weights" and (out / "run.json").exists()


def test_before_its_first_step_a_run_leaves_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = folder_of(out)
    folder.reject([("row 1", "empty")])
    folder.note({"step": 0, "evaluation": {"old": 1.0}})
    folder.checkpoints.mkdir()  # as Trainer does
    folder.close()
    assert not out.exists()


def test_a_run_without_a_checkpoint_binds_nobody(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = folder_of(out)
    folder.note({"step": 1, "loss": 2.0})
    folder.close()
    refuse_other_settings(out, {"learning_rate": 2})
    other = folder_of(out, 2)
    assert not other.begun and other.log == []
    other.note({"step": 1, "loss": 3.0})
    checkpoint(other, 1)
    other.close()
    assert json.loads((out / "log.jsonl").read_text())["loss"] == 3.0
    for refuses in (lambda: refuse_other_settings(out, {"learning_rate": 1}), lambda: folder_of(out, 1)):
        with pytest.raises(UsageError, match="other settings"):
            refuses()
    again = folder_of(out, 2)  # the lock was given back
    assert again.begun and again.log == [{"step": 1, "loss": 3.0}]
    again.close()


def test_a_restart_removes_nothing_before_its_first_step(tmp_path: Path) -> None:
    out = tmp_path / "out"
    folder = folder_of(out)
    folder.note({"step": 1, "loss": 2.0})
    checkpoint(folder, 1)
    folder.close()
    (out / "model.safetensors").write_text("weights")
    fresh = folder_of(out, 5, restart=True)
    assert fresh.checkpoint() is None
    fresh.note({"step": 0, "evaluation": {"old": 1.0}})
    fresh.close()
    assert (out / "model.safetensors").exists() and (out / "checkpoints" / "checkpoint-1").exists()
    fresh = folder_of(out, 5, restart=True)
    fresh.note({"step": 0, "evaluation": {"old": 1.0}})
    fresh.note({"step": 1, "loss": 4.0})
    fresh.close()
    assert not (out / "model.safetensors").exists() and fresh.whole_checkpoints() == []
    assert len((out / "log.jsonl").read_text().splitlines()) == 2


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("words")
    for refuses in (lambda: folder_of(tmp_path, restart=True), lambda: refuse_other_settings(tmp_path, {})):
        with pytest.raises(UsageError, match="holds no training run"):
            refuses()
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_killed_while_it_writes_it_can_be_run_again(tmp_path: Path) -> None:
    """Small files are replaced whole: a kill leaves the file before, and perhaps half of the new one beside it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / ".progress.json.17.tmp").write_text('{"comm')
    folder = folder_of(out)
    folder.note({"step": 1, "loss": 2.0})
    checkpoint(folder, 1)
    folder.close()
    assert not (out / ".progress.json.17.tmp").exists()
    with open(out / "log.jsonl", "a") as file:
        file.write('7\n{"step": 1, "loss": 3.0}\n')
    folder = folder_of(out)
    assert folder.begun and folder.log == [{"step": 1, "loss": 2.0}]
    folder.close()


EARLIER_RELEASE: dict[str, Any] = {
    "steps": None,
    "epochs": 1.0,
    "learning_rate": 1e-5,
    "schedule": "cosine",
    "warmup": 0.03,
    "tokens_per_batch": 8192,
    "gradient_accumulation_steps": 1,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "lm_loss_coef": 0.0,
    "kl_coef": 0.0,
    "kl_sources": [],
    "dtype": "auto",
    "save_every": 200,
    "eval_every": 50,
    "keep": None,
    "gradient_checkpointing": False,
    "seed": 0,
    "freeze": [],
    "dropout": 0.0,
    "lora": None,
    "lora_alpha": None,
    "lora_dropout": 0.0,
    "peft": None,
    "train_on": "assistant",
    "text_column": None,
    "overlong": "drop",
    "prefix": None,
    "stop": None,
    "max_length": None,
}
"""What a release before replay was an objective recorded of a training with all settings at their defaults."""


def test_a_training_of_an_earlier_release_goes_on(tmp_path: Path) -> None:
    def job(**settings: Any) -> TrainingJob:
        return TrainingJob("model", TrainingSettings(**settings), TrainedParts(), RowSettings())

    unfinished, finished = tmp_path / "unfinished", tmp_path / "finished"
    checkpoint_of(unfinished / "checkpoints" / "checkpoint-3", 3)
    (unfinished / "progress.json").write_text(RunRecord("train", EARLIER_RELEASE).as_json())
    finished.mkdir()
    (finished / "run.json").write_text(RunRecord("train", EARLIER_RELEASE, finished="now").as_json())
    for out in (unfinished, finished):
        job().refuse_early(out)
        with TrainingFolder(out, RunRecord("train", job().chosen())) as folder:
            assert folder.begun and folder.finished == (out == finished)
        for changed in ({"weights": "bfloat16"}, {"optimizer": "adamw-8bit"}, {"loss": "dft"}, {"seed": 1}):
            with pytest.raises(UsageError, match=next(iter(changed))):
                job(**changed).refuse_early(out)


def test_killed_at_its_very_end_it_is_done_and_the_next_call_clears_up(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with folder_of(out) as folder:
        folder.note({"step": 1, "loss": 2.0})
        saved = out / ".saving"
        saved.mkdir()
        (saved / "model.safetensors").write_text("weights")
        folder.finish(saved, "card", "now")
    done = {file.name for file in out.iterdir()}
    (out / "progress.json").write_bytes((out / "run.json").read_bytes())
    checkpoint_of(out / "checkpoints" / "checkpoint-1", 1)
    with folder_of(out, writes=False) as other:
        assert other.finished and (out / "checkpoints").is_dir()
    with folder_of(out) as again:
        assert again.finished
    assert {file.name for file in out.iterdir()} == done
