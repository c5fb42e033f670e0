"""What tests share: the sample model, and real engines that are started once."""

import asyncio
import os
import subprocess
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from synth.chat.derive import format_for
from synth.chat.format import ChatFormat
from synth.engines.base import Engine, EngineOptions

ROOT = Path(__file__).parent.parent
MODEL = str(ROOT / "samples" / "model")
HYBRID = str(ROOT / "samples" / "hybrid")

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here loads from a hub
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TQDM_DISABLE", "1")  # read when tqdm is imported, by whichever test comes first


def with_vllm(nodeid: str) -> bool:
    """Whether a test runs vLLM, as its file, its name or its parameters say."""
    return "vllm" in nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Among processes go whole files, but every test with vLLM to one of them, which starts it once."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return "vllm" if with_vllm(nodeid) else super()._split_scope(nodeid)

    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Among processes vLLM begins, which takes longest; the short files of `filters` end, and fill what is left."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: (not with_vllm(item.nodeid), item.nodeid.startswith("tests/filters/")))


@pytest.fixture(scope="session")
def model() -> str:
    """The sample model's directory."""
    return MODEL


@pytest.fixture(scope="session")
def chat() -> ChatFormat:
    """The sample model's chat format."""
    return format_for(MODEL)


@pytest.fixture(scope="session")
def hybrid() -> str:
    """The directory of the hybrid model, which thinks or answers at once as it is told."""
    return HYBRID


@pytest.fixture(scope="session")
def hybrid_chat() -> ChatFormat:
    """The hybrid model's chat format."""
    return format_for(HYBRID)


@pytest.fixture(scope="session")
def data() -> Path:
    """Real public data sets, for the tests that use them; they are not part of the project."""
    folder = Path(os.environ.get("SYNTH_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no public test data: set SYNTH_TEST_DATA to a folder that has it")
    return folder


class Loop:
    """An event loop in a thread of its own: an engine that is shared by tests lives on one loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any], timeout: float = 300) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)


@pytest.fixture(scope="session")
def loop() -> Loop:
    return Loop()


@pytest.fixture(scope="session")
def transformers_engine(loop: Loop, chat: ChatFormat) -> Iterator[Engine]:
    """The sample model in the transformers engine."""
    from synth.engines.hf.engine import open_transformers

    engine = loop.run(open_transformers(MODEL, chat.tokenizer, EngineOptions(device="cpu")))
    yield engine
    loop.run(engine.close())


@pytest.fixture(scope="session")
def vllm_engine(loop: Loop, chat: ChatFormat) -> Iterator[Engine]:
    """The sample model in real vLLM; starting it takes a while, so there is one for all tests."""
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from synth.engines.vllm.engine import open_vllm

    engine = loop.run(open_vllm(MODEL, chat.tokenizer, EngineOptions()), timeout=900)
    yield engine
    loop.run(engine.close())


@pytest.fixture(params=["transformers", pytest.param("vllm", marks=pytest.mark.vllm)])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each in-process engine in turn."""
    found: Engine = request.getfixturevalue(f"{request.param}_engine")
    return found


Here = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str]) -> Here:
    """Runs a command in this process; tells its status and what it wrote as `subprocess` does of another process."""
    from tests.cli.running import synth

    def run(*arguments: object) -> "subprocess.CompletedProcess[str]":
        capfd.readouterr()
        status = synth(*arguments)
        return subprocess.CompletedProcess([*map(str, arguments)], status, *capfd.readouterr())

    return run
