"""Training on the sample model."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from transformers.utils import import_utils

from samples import skills
from synth.chat.format import ChatFormat
from synth.data.read import open_rows
from synth.data.run.record import RunRecord
from synth.scoring.encoding import RowEncoder
from synth.training.callbacks import Callbacks
from synth.training.folder import TrainingFolder
from synth.training.rows import TrainingRows, read_training_rows
from synth.training.run import TrainingResult, train
from synth.training.settings import TrainedParts, TrainingSettings

VOCABULARY = 1024


@pytest.fixture(scope="session")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty tasks of the new skill, with human answers, and ten of an old one."""
    chance = Random(5)
    file = tmp_path_factory.mktemp("tasks") / "tasks.jsonl"
    with open(file, "w", encoding="utf-8") as lines:
        for question, answer in skills.suite("two_step", "train", 60):
            human = skills.human_answer(chance, answer, "natural")
            lines.write(json.dumps({"question": question, "answer": human, "source": "tasks"}) + "\n")
        for question, answer in skills.suite("strings", "train", 10):
            lines.write(json.dumps({"question": question, "answer": answer, "source": "replay"}) + "\n")
    return file


@pytest.fixture(scope="session")
def rows(tasks: Path, chat: ChatFormat) -> TrainingRows:
    return read_training_rows(open_rows(str(tasks)), RowEncoder(chat, window=512), VOCABULARY)


@pytest.fixture
def memory_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the extra `memory` has can be imported; samples/install.sh puts it apart."""
    place = Path(sys.prefix, "memory")
    if not place.is_dir():
        pytest.skip(f"{place} is not there: samples/install.sh VENV dev")
    monkeypatch.syspath_prepend(place)
    # transformers remembers what it has not found for another test of this process.
    import_utils.is_bitsandbytes_available.cache_clear()
    import_utils.is_torchao_available.cache_clear()


Train = Callable[..., tuple[TrainingResult, TrainingFolder]]


@pytest.fixture
def run(tmp_path: Path, rows: TrainingRows, chat: ChatFormat, model: str) -> Train:
    """Train the sample model into a folder of this test."""
    torch.set_num_threads(1)

    def start(
        name: str = "out", settings: TrainingSettings | None = None, **options: Any
    ) -> tuple[TrainingResult, TrainingFolder]:
        used = settings or TrainingSettings(steps=4, learning_rate=1e-3, tokens_per_batch=1024, dtype="float32")
        folder = TrainingFolder(tmp_path / name, RunRecord("train", {}, model, source="tasks"))
        folder.record.tokens = {"tokens": 1.0, "trained": 1.0}
        chosen = options.pop("rows", rows)
        started_from = options.pop("model", model)
        what = options.pop("trained", TrainedParts())
        how = options.pop("method", None)
        try:
            done = train(
                chosen,
                started_from,
                chat.tokenizer,
                used,
                what,
                folder,
                method=how,
                device="cpu",
                callbacks=Callbacks(**options),
            )
        finally:
            folder.close()
        return done, folder

    return start


def weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a saved model."""
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = load_file(path / "model.safetensors")
    return found
