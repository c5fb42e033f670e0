"""Sound things, as commands and people make them; scenes damage copies of them."""

import shutil
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import cli.main
from tests.conftest import MODEL
from tests.fuzz.commands import RESUMED, with_names
from tests.fuzz.scenes import FORMS, Stock, varied
from tests.fuzz.values import as_json


@pytest.fixture(scope="module")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """The sample model, directories as commands write them, recordings and pictures."""
    folder = tmp_path_factory.mktemp("stock")
    source = folder / "source.jsonl"
    source.write_bytes(b"".join(as_json(varied(FORMS[3], number)) + b"\n" for number in range(6)))
    runs = []
    for number, words in enumerate(RESUMED):
        command = with_names(words, {"SOURCE": source, "MODEL": MODEL})
        runs.append((command, folder / f"run-{number}"))
        (folder / f"run-{number}").mkdir()
        assert run([*command, "-o", str(folder / f"run-{number}" / "out")])[0] == 0, command
    verified = runs[0][1] / "out"
    going = folder / "going" / "out"
    shutil.copytree(verified, going)
    (going / "run.json").rename(going / "progress.json")
    (going / "journal.jsonl").write_text("")
    runs.append((runs[0][0], going.parent))
    runs.append(_stopped_training(runs[3][0], folder / "training"))
    folders = tuple(path / "out" for _, path in runs)
    return Stock(Path(MODEL), folders, tuple(runs), tuple(_media(folder)))


def run(arguments: list[str]) -> tuple[int, BaseException | None]:
    """A command's exit status, and what it raised besides."""
    try:
        cli.main.main(arguments)
    except SystemExit as stop:
        return (stop.code if isinstance(stop.code, int) else 1), None
    except BaseException as error:
        return 1, error
    raise AssertionError("a command always exits")


def _stopped_training(command: list[str], folder: Path) -> tuple[list[str], Path]:
    """A training that Ctrl-C ended after its first checkpoint."""
    folder.mkdir()
    command = [word if word != "2" else "5" for word in command]
    done = threading.Event()

    def interrupt() -> None:
        while not done.is_set() and not list(folder.glob("out/checkpoints/*/trainer_state.json")):
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    waiting = threading.Thread(target=interrupt)
    waiting.start()
    run([*command, "-o", str(folder / "out")])
    done.set()
    waiting.join()
    assert list(folder.glob("out/checkpoints/*/trainer_state.json"))
    return command, folder


def _media(folder: Path) -> list[Path]:
    """A tenth of a second of a tone, and a small picture, in every format."""
    made = []
    picture = Image.fromarray(np.arange(48 * 48 * 3, dtype=np.uint32).astype(np.uint8).reshape(48, 48, 3))
    for suffix in ("png", "jpg", "webp", "gif", "bmp", "tiff"):
        picture.save(folder / f"a.{suffix}")
        made.append(folder / f"a.{suffix}")
    soundfile: Any = pytest.importorskip("soundfile", reason="soundfile is not installed: pip install soundfile")
    tone = 0.1 * np.sin(2 * np.pi * 120 * np.arange(4_000) / 16_000)
    for suffix in ("wav", "flac", "ogg", "mp3", "aiff"):
        soundfile.write(folder / f"a.{suffix}", tone, 16_000)
        made.append(folder / f"a.{suffix}")
    return made
