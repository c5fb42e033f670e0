"""Settings of engines that make no sense, or that this machine has not: refused before anything is loaded."""

import subprocess
import time

import pytest
import torch

from synth.engines.open import choose_engine
from tests.cli.running import SYNTH, synth

MAGPIE = ["magpie", "--model", "samples/model", "-n", 2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--gpu-memory", "nan"], "--gpu-memory"),
        (["--gpu-memory", "0"], "--gpu-memory"),
        (["--gpu-memory", "1.5"], "--gpu-memory"),
        (["--gpu-memory", "-inf"], "--gpu-memory"),
        (["--dtype", "float7"], "--dtype"),
        (["--concurrency", "0"], "--concurrency"),
        (["--concurrency", 10**20], "--concurrency"),
        (["--max-length", "1"], "--max-length"),
        (["--max-length", 10**20], "--max-length"),
        (["--max-length", 5000], "the window of samples/model holds 512 tokens"),
        (["--tensor-parallel", 0], "--tensor-parallel"),
        (["--tensor-parallel", 2], "--tensor-parallel 2: it is for vLLM in process, and the engine is transformers"),
        (["--data-parallel", 0], "--data-parallel"),
        (["--engine", "transformers", "--data-parallel", 2], "--data-parallel 2: it is for vLLM in process"),
        (["--engine", "http://localhost:9", "--data-parallel", 2], "and the engine is server"),
        (["--engine", "vllm", "--engine-arg", "data-parallel-size=2"], "data_parallel_size: it is --data-parallel"),
        (["--engine", "vllm", "--engine-arg", "data-parallel-rank=1"], "go to all engines of --data-parallel"),
        (["--device", "quantum"], "not available"),
        (["--device", "cuda:77"], "not available"),
        (["--device", ""], "not available"),
        (["--engine", "tensorrt"], "--engine tensorrt is unknown"),
        (["--engine-arg", "quantization"], "--engine-arg"),
        (["--engine-arg", "quantization=fp8"], "--engine-arg quantization: they are vLLM's, in process"),
        (["--engine", "vllm", "--engine-arg", "max-model-len=64"], "max_model_len: it is --max-length"),
        (["--engine", "vllm", "--engine-arg", "hf_token=hf_a"], "set HF_TOKEN in the environment"),
        (["--engine-arg", "seed=1", "--engine-arg", "seed=2"], "seed is given twice"),
        (
            ["--engine", "vllm", "--engine-arg", "block-size=1", "--engine-arg", "block_size=2"],
            "block_size is given twice",
        ),
        (["--adapter", "samples/none"], "--adapter samples/none"),
        (["--adapter", "samples/model"], "is no adapter: it has no adapter_config.json"),
    ],
)
@pytest.mark.parametrize("command", [MAGPIE, ["ssr", "-", "--model", "samples/model", "-n", 2]])
def test_nonsense_is_refused(
    command: list[object], options: list[object], words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    if command[0] == "ssr" and words.startswith(("the window", "--engine tensorrt")):
        pytest.skip("the rows are read first")
    assert synth(*command, *options) == 2
    assert words in capfd.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
@pytest.mark.parametrize("command", ["magpie", "score-tokens", "train", "eval", "filter", "rate"])
def test_a_gpu_that_is_not_here_is_missed_first(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Neither the model nor the rows are there either: nobody has looked."""
    options: dict[str, list[object]] = {"magpie": ["-n", 1], "filter": [], "eval": ["--model", "none"]}
    options["rate"] = ["none.jsonl", "--by", "quality"]
    needed = options.get(command, ["none.jsonl"])
    model = [] if command in ("filter", "eval") else ["--model", "none"]
    assert synth(command, *needed, *model, "--device", "cuda") == 2
    assert "device 'cuda' is not available here" in capfd.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_without_a_gpu_transformers_runs_a_model_at_once() -> None:
    kind, why = choose_engine("auto")
    assert kind == "transformers" and ("GPU" in why or "not installed" in why)
    assert choose_engine("vllm")[0] == "vllm"


def test_something_is_said_before_the_libraries_are_loaded() -> None:
    command = [*SYNTH, *map(str, MAGPIE), "--engine", "transformers", "--device", "cpu"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as child:
        assert child.stderr is not None
        first, began = child.stderr.readline(), time.monotonic()
        second = child.stderr.readline()
        waited = time.monotonic() - began
        child.kill()
    assert first == "starting …\n" and second and waited > 0.2  # what follows took the imports
