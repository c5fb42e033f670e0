import os
import shutil
from pathlib import Path

from synth.engines.open import model_revision


def test_a_revision_is_of_files_and_follows_them(tmp_path: Path, model: str) -> None:
    copy = shutil.copytree(model, tmp_path / "model")
    revision = model_revision(str(copy))
    assert revision == model_revision(model)
    os.mkfifo(copy / "pipe.json")  # would be waited for
    (copy / "folder.json").mkdir()
    assert model_revision(str(copy)) == revision
    (copy / "generation_config.json").write_text("{}")
    assert model_revision(str(copy)) != revision
