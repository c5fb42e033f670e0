"""Steps of fixed shapes: the tokens of the usual steps, for rows that come and go; and models that cannot take them."""

import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
import torch
import transformers
from torch.multiprocessing.reductions import StorageWeakRef

from synth.engines.base import Sampling, Usage
from synth.engines.hf.decoding import Decoder, SequenceState
from synth.engines.hf.fixed_step import FixedStep
from tests.synth.engines.tiny import CONFIGS, VOCABULARY, byte_tokenizer, tiny_model

FIXED = {name: name in ("llama", "gpt2, learned positions") for name in CONFIGS if name != "mamba"}
"""Models, and whether all their layers see the whole cache."""


def decoded(model: Any, *, fixed: bool, rows: int = 12, graphs: bool = False) -> tuple[list[list[int]], Decoder]:
    """What 30 sequences of many lengths draw, of which new ones join while others run, and the decoder."""
    chance = random.Random(2)
    sequences = []
    for number in range(30):
        prompt = [chance.randrange(VOCABULARY) for _ in range(chance.randrange(1, 40))]
        sampling = Sampling(max_tokens=chance.randrange(1, 60), temperature=number % 3, seed=number)
        sequences.append(SequenceState(None, prompt, sampling, 0, sampling.max_tokens, frozenset({7})))
    decoder = Decoder(model, byte_tokenizer(), Usage(), rows, 1 << 30, fixed=fixed)
    if decoder.fixed is not None:
        decoder.fixed.graphs = graphs or model.device.type == "cuda"
    decoder.add(sequences[:20])
    with torch.inference_mode():
        for step in range(1_000):
            if step == 9:
                decoder.add(sequences[20:])
            decoder.step()
            if step > 9 and not decoder:
                break
    assert not any(sequence.error for sequence in sequences)
    return [sequence.tokens for sequence in sequences], decoder


@pytest.mark.parametrize(("name", "takes"), FIXED.items())
def test_the_tokens_are_those_of_usual_steps(name: str, takes: bool) -> None:
    model = tiny_model(name)
    usual, without = decoded(model, fixed=False)
    tokens, decoder = decoded(model, fixed=True)
    assert tokens == usual and without.fixed is None
    assert (decoder.fixed is not None and decoder.fixed.trusted is True) == takes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_on_a_gpu_steps_are_graphs_with_the_same_tokens() -> None:
    model = tiny_model().to("cuda")
    usual, _ = decoded(model, fixed=False)
    tokens, decoder = decoded(model, fixed=True)
    assert decoder.fixed is not None and decoder.fixed.trusted is True
    assert sum(map(list.__eq__, tokens, usual)) >= 28  # kernels differ, and round otherwise


def test_a_model_that_reads_the_mask_itself_keeps_its_usual_steps() -> None:
    """Bloom makes its positions of the mask, of which it expects two dimensions."""
    torch.manual_seed(0)
    config = transformers.BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.3)
    config.max_position_embeddings = 256
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    usual, _ = decoded(model, fixed=False)
    tokens, decoder = decoded(model, fixed=True)
    assert decoder.fixed is not None and decoder.fixed.trusted is False and decoder.fixed.why
    assert tokens == usual


class FakeCuda:
    """CUDA's streams and graphs on a CPU: a replay computes anew what was captured, into the same tensor.

    Attributes:
        failing: the capture, counted from 1, that fails as it ends; torch then leaves the thread on its stream.
        stream: the current stream.
        pools: of each capture, with its stream.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: int = 0) -> None:
        self.failing, self.stream = failing, FakeStream()
        self.pools: list[tuple[Any, Any]] = []
        self._step: Any = None
        run = FixedStep._run

        def noted(step: FixedStep) -> torch.Tensor:
            self._step = step
            return run(step)

        def set_stream(stream: Any) -> None:
            self.stream = stream

        class Graph:
            def replay(self) -> None:
                self.step._logits.copy_(run(self.step))  # type: ignore[attr-defined]

        monkeypatch.setattr(FixedStep, "_run", noted)
        fakes = {"Stream": FakeStream, "CUDAGraph": Graph, "graph": self._graph, "stream": self._on}
        fakes |= {"current_stream": lambda: self.stream, "set_stream": set_stream, "graph_pool_handle": object}
        for name, fake in (fakes | {"device": nullcontext}).items():
            monkeypatch.setattr(torch.cuda, name, fake)

    @contextmanager
    def _on(self, stream: Any) -> Iterator[None]:
        before, self.stream = self.stream, stream
        yield
        self.stream = before

    @contextmanager
    def _graph(self, graph: Any, pool: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        self.pools.append((pool, stream))
        before, self.stream = self.stream, stream
        yield
        graph.step = self._step
        if len(self.pools) == self.failing:
            raise RuntimeError("operation failed due to a previous error during capture")
        self.stream = before


class FakeStream:
    def __init__(self, device: Any = None) -> None:
        pass

    def wait_stream(self, other: Any) -> None:
        pass


def test_graphs_of_the_same_buffers_share_a_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model()
    usual, _ = decoded(model, fixed=False)
    cuda = FakeCuda(monkeypatch)
    tokens, decoder = decoded(model, fixed=True, graphs=True)
    assert tokens == usual and decoder.fixed is not None and decoder.fixed.trusted is True
    assert 1 < len(set(cuda.pools)) < len(cuda.pools)


@pytest.mark.parametrize("failing", [1, 2])
def test_a_capture_that_fails_leaves_the_thread_on_its_stream(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], failing: int
) -> None:
    """The first, which is not trusted yet, or the second."""
    model = tiny_model()
    usual, _ = decoded(model, fixed=False)
    monkeypatch.setenv("SYNTH_DEBUG", "1")
    cuda = FakeCuda(monkeypatch, failing=failing)
    before = cuda.stream
    tokens, decoder = decoded(model, fixed=True, graphs=True)
    assert tokens == usual and cuda.stream is before and len(cuda.pools) == failing
    assert decoder.fixed is not None and decoder.fixed.trusted is False
    assert "previous error during capture" in str(decoder.fixed.why)
    assert "previous error during capture" in capfd.readouterr().err


def test_out_of_memory_frees_the_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    usual, _ = decoded(tiny_model(), fixed=False)
    call, buffers, freed = FixedStep.__call__, list[Any](), list[bool]()

    def failing(step: FixedStep, *given: Any) -> torch.Tensor:
        layer = step._cache.layers[0]
        buffers.append(StorageWeakRef(layer.keys.untyped_storage()))
        if len(buffers) == 12:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return call(step, *given)

    retreat = Decoder._retreat

    def retreating(decoder: Decoder) -> None:
        retreat(decoder)
        freed.append(buffers[-1].expired())

    monkeypatch.setattr(FixedStep, "__call__", failing)
    monkeypatch.setattr(Decoder, "_retreat", retreating)
    tokens, decoder = decoded(tiny_model(), fixed=True)
    assert freed == [True] and tokens == usual and decoder.fixed is not None and decoder.fixed.trusted is True
