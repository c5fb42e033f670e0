"""Continuous batching: sequences join a running batch, take one token each a step, and leave when they end.

transformers has a continuous batching of its own (`generation/continuous_batching`, read at 5.19). It is not used here
because a row would then depend on its neighbours: the batch takes one seed (`ContinuousBatchingConfig.seed`), which
`torch.manual_seed` sets once for the process, and `_sample` draws for every request of a step with one call of
`torch.multinomial` from that generator, so what a request draws depends on which others are in the batch, in which
place, and on how many steps came before. Here each sequence has a key of its own (see `synth.engines.hf.sampler`), and
an interrupted run that goes on has the rows of an uninterrupted one.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from synth.engines.base import Sampling, Tokenizer, Usage
from synth.engines.device import out_of_memory
from synth.engines.hf import sampler
from synth.engines.hf.fixed_step import FixedSteps
from synth.engines.hf.forward import alike, logprobs, on_device
from synth.engines.hf.kv_batch import KVBatch, NextLogits, probe_cache, sees_all
from synth.engines.hf.stopping import has_stopped
from synth.engines.loading import window_of
from synth.errors import RequestError, RunError, UsageError

_PREFILL_TOKENS = 8192
"""Prompt tokens, padding included, that one prefill takes at most (a longer prompt goes alone)."""
_JOIN_SHARE = 8
"""New sequences join once they make up this fraction (1/8) of the batch: a prefill holds up everyone who decodes …"""
_JOIN_PATIENCE = 16
"""… or after this many steps."""

_ROW = np.dtype(
    [("key", "u8"), ("drawn", "i8"), ("token", "i8"), ("temperature", "f4"), ("top_p", "f4"), ("top_k", "i8")]
)


@dataclass(slots=True, eq=False)
class SequenceState:
    """A completion that is being generated: one sample of one request.

    `owner` identifies the request and is not used here. Samples of one request share the list `prompt`, by which they
    are known to share a prefill.
    """

    owner: Any
    prompt: list[int]
    sampling: Sampling
    sample: int
    room: int
    stop_ids: frozenset[int]
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0
    error: RequestError | None = None

    @property
    def reach(self) -> int:
        """Tokens of prompt and completion at most."""
        return len(self.prompt) + self.room


class Decoder:
    """The running batch of one model and the queue of sequences that wait to join it.

    Everything here runs in one thread, under `torch.inference_mode`.
    """

    def __init__(
        self, model: Any, tokenizer: Tokenizer, usage: Usage, rows: int, memory: int, *, fixed: bool | None = None
    ) -> None:
        """Prepare an empty batch.

        Args:
            model: a causal language model of transformers, in eval mode.
            tokenizer: decodes for stop strings; used from this thread alone.
            usage: counts prompt tokens as requests join, and drawn tokens.
            rows: how many sequences run side by side at most.
            memory: bytes that the key-value cache may take.
            fixed: whether steps are of fixed shapes, where the model allows it; by default on CUDA, as graphs.

        Raises:
            UsageError: the model's cache cannot be batched.
        """
        self._model = model
        self._tokenizer = tokenizer
        self._usage = usage
        self._limit = rows
        self._prefill_tokens = _PREFILL_TOKENS
        self._template = probe_cache(model)
        per_token = sum(layer.keys.nbytes + layer.values.nbytes for layer in self._template.layers)
        # The cache's slack (a quarter) and the prefill that is being copied in come on top.
        self._capacity = int(memory / per_token / 1.5)
        self._forward = NextLogits(model)
        self._waiting: deque[SequenceState] = deque()
        self._joining: deque[list[SequenceState]] = deque()
        self._running: list[SequenceState] = []
        self._ended: list[SequenceState] = []
        self._rows = np.zeros(rows, _ROW)
        cuda = model.device.type == "cuda"
        fixed = cuda if fixed is None else fixed
        self.fixed = FixedSteps(self._forward, model.dtype, graphs=cuda) if fixed and sees_all(model) else None
        self._kv = self._empty()
        self._steps_waited = 0
        self._check_rows()

    def __bool__(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self._running or self._waiting)

    def add(self, sequences: Iterable[SequenceState]) -> None:
        """Put sequences at the end of the queue."""
        self._waiting.extend(sequences)

    def drop(self, unwanted: Callable[[SequenceState], bool]) -> None:
        """Drop every sequence that `unwanted` selects."""
        self._waiting = deque(sequence for sequence in self._waiting if not unwanted(sequence))
        self._leave([i for i, sequence in enumerate(self._running) if unwanted(sequence)])

    def step(self) -> list[SequenceState]:
        """Let waiting sequences join if it is time, draw one token for each in the batch, return those that ended.

        When memory runs out, the sequences go back to the head of the line with the tokens they have, and from then on
        half as many run at once. A sequence that does not fit even alone ends with its `error` set.

        Raises:
            RunError: the model's outputs are not finite.
        """
        try:
            self._join()
            if self._running:
                self._decode()
            memory_left = True
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            memory_left = False
        if not memory_left:  # handled outside the except block, where the error no longer references the step's tensors
            self._retreat()
        ended, self._ended = self._ended, []
        return ended

    def _join(self) -> None:
        """Move sequences from the head of the queue into the batch, unless there are too few to be worth a prefill."""
        count = self._admissible()
        self._steps_waited += 1
        if count == 0 or (count < len(self._running) // _JOIN_SHARE and self._steps_waited < _JOIN_PATIENCE):
            return
        self._steps_waited = 0
        self._joining.extend(self._prefill_groups([self._waiting.popleft() for _ in range(count)]))
        while self._joining:
            self._prefill(self._joining[0])

    def _admissible(self) -> int:
        """How many sequences at the head of the queue there are rows for, and memory for their longest completion."""
        running = len(self._running)
        reach = max((sequence.reach for sequence in self._running), default=0)
        count = 0
        for sequence in islice(self._waiting, self._limit - running):
            reach = max(reach, sequence.reach)
            rows = running + count + 1
            if rows > 1 and rows * reach > self._capacity:
                break
            count += 1
        return count

    def _prefill_groups(self, sequences: list[SequenceState]) -> Iterator[list[SequenceState]]:
        """Split sequences, sorted by length to pad little, so that each group's prefill keeps to its token budget.

        Samples of one prompt stay together, as they are prefilled once.
        """
        group: list[SequenceState] = []
        count = 0
        for sequence in sorted(sequences, key=lambda one: len(one.prompt) + len(one.tokens)):
            new = not (group and _same_prefill(group[-1], sequence))
            length = len(sequence.prompt) + len(sequence.tokens)
            if group and new and (count + 1) * length > self._prefill_tokens:
                yield group
                group, count = [], 0
            group.append(sequence)
            count += new
        if group:
            yield group

    def _prefill(self, group: list[SequenceState]) -> None:
        """Run the group's prompts through the model, put them into the batch and draw their first tokens."""
        prompts: list[list[int]] = []
        source = np.zeros(len(group), np.int64)
        for i, sequence in enumerate(group):
            if i == 0 or not _same_prefill(group[i - 1], sequence):
                prompts.append(sequence.prompt + sequence.tokens)
            source[i] = len(prompts) - 1
        lengths = np.array([len(prompt) for prompt in prompts])
        ids = np.zeros((len(prompts), lengths.max()), np.int64)
        for row, prompt in zip(ids, prompts, strict=True):
            row[len(row) - len(prompt) :] = prompt
        positions = np.arange(ids.shape[1]) - (ids.shape[1] - lengths)[:, None]
        cache = DynamicCache()
        logits = self._forward(self._tensor(ids), self._tensor(positions.clip(0)), self._tensor(positions >= 0), cache)

        begin = len(self._running)
        self._kv.append(cache, lengths[source], source)
        for i, sequence in enumerate(group, begin):
            settings = sequence.sampling
            key = sampler.stream_key(settings.seed, sequence.sample)
            self._rows[i] = (key, len(sequence.tokens), 0, settings.temperature, settings.top_p, settings.top_k or 0)
        self._running += group
        self._joining.popleft()
        self._usage.prompt_tokens += sum(len(d.prompt) for d in group if d.sample == 0 and not d.tokens)
        self._draw(begin, logits[torch.from_numpy(source).to(logits.device)])

    def _decode(self) -> None:
        """Run each row's last token through the model and draw its next."""
        tokens = self._rows["token"][: len(self._running)]
        self._kv.make_room()

        def usual() -> torch.Tensor:
            return self._forward(self._tensor(tokens[:, None]), *self._kv.next_column(), self._kv.cache)

        logits = usual() if self.fixed is None else self.fixed.logits(self._kv, tokens, usual)
        self._kv.advance()
        self._draw(0, logits)

    def _check_rows(self) -> None:
        """Try the model, and refuse one whose answers change beside longer rows, such as one that attends to padding.

        Raises:
            UsageError: it does.
        """
        long = min(9, window_of(self._model.config) or 9)
        short = max(2, long - 3)
        ids = np.arange(1, 2 * long + 1).reshape(2, long) * 31 % self._model.get_input_embeddings().num_embeddings
        width, padding = long - 1, long - short
        ids[1, :padding] = 0
        real = np.arange(long) >= np.array([[0], [padding]])
        positions = (np.arange(long) - np.array([[0], [padding]])).clip(0)
        try:
            with torch.inference_mode():
                row = self._tensor(ids[1:, padding:])
                alone = self._model(input_ids=row, use_cache=False).logits[0, -2:].float()
                cache = DynamicCache()
                batches = [
                    self._forward(
                        self._tensor(ids[:, begin:end]),
                        self._tensor(positions[:, begin:end]),
                        self._tensor(real[:, :end]),
                        cache,
                    )
                    for begin, end in ((0, width), (width, long))
                ]
            same = alike(torch.stack([logits[1] for logits in batches]), alone.to(batches[0].device), self._model.dtype)
        except (ValueError, TypeError, RuntimeError, LookupError, AttributeError, AssertionError):
            same = False
        if not same:
            raise UsageError(
                f"{type(self._model).__name__} gives other answers beside longer rows than alone, so the transformers "
                "engine cannot batch it; use `engine` vllm"
            )

    def _draw(self, begin: int, logits: torch.Tensor) -> None:
        """Draw a token for the rows from `begin` on, and remove those that end with it."""
        sequences = self._running[begin:]
        rows = self._rows[begin : len(self._running)]
        uniform = sampler.uniforms(rows["key"], rows["drawn"])
        drawn = sampler.draw(logits, rows["temperature"], rows["top_p"], uniform, rows["top_k"])
        tokens = drawn.cpu().numpy()
        if (tokens < 0).any():
            raise RunError("the model is broken: its logits are not finite numbers (NaN or infinity)")
        if any(sequence.sampling.logprob for sequence in sequences):
            for sequence, logprob in zip(sequences, logprobs(logits, drawn)[0].tolist(), strict=True):
                sequence.logprob += logprob
        rows["token"] = tokens
        rows["drawn"] += 1
        self._usage.completion_tokens += len(sequences)
        leaving = []
        for i, (sequence, token) in enumerate(zip(sequences, tokens.tolist(), strict=True), begin):
            sequence.tokens.append(token)
            if token in sequence.stop_ids or len(sequence.tokens) >= sequence.room:
                leaving.append(i)
        leaving += self._stopped_by_text(begin, set(leaving))
        self._ended += [self._running[i] for i in leaving]
        self._leave(leaving)

    def _stopped_by_text(self, begin: int, ended: set[int]) -> list[int]:
        """Rows from `begin` on, not among `ended`, whose text now has one of their stop strings."""
        rows = [i for i in range(begin, len(self._running)) if self._running[i].sampling.stop and i not in ended]
        if not rows:
            return []
        sequences = [self._running[i] for i in rows]
        hits = has_stopped(self._tokenizer, [d.tokens for d in sequences], [d.sampling.stop for d in sequences])
        return [i for i, hit in zip(rows, hits, strict=True) if hit]

    def _leave(self, leaving: list[int]) -> None:
        """Take rows out of the batch."""
        if not leaving:
            return
        holes, tails = self._kv.remove(np.array(sorted(leaving)))
        self._rows[holes] = self._rows[tails]
        for hole, tail in zip(holes.tolist(), tails.tolist(), strict=True):
            self._running[hole] = self._running[tail]
        del self._running[self._kv.window.rows :]

    def _retreat(self) -> None:
        """After running out of memory: put all sequences back in the queue and halve the size of the batch."""
        done = set(map(id, self._ended))
        everyone = [d for d in (*self._running, *chain.from_iterable(self._joining)) if id(d) not in done]
        self._running = []
        self._joining.clear()
        if self.fixed:
            self.fixed.forget()  # its steps hold views of the buffers
        self._kv = self._empty()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if len(everyone) == 1:
            sequence = everyone.pop()
            size = len(sequence.prompt) + len(sequence.tokens)
            sequence.error = RequestError(f"out of memory on one sequence of {size} tokens")
            self._ended.append(sequence)
        self._waiting.extendleft(reversed(everyone))
        self._limit = max(1, len(everyone) // 2)
        self._prefill_tokens = max(1, self._prefill_tokens // 2)

    def _empty(self) -> KVBatch:
        return KVBatch(self._template, len(self._rows), self.fixed.forget if self.fixed else lambda: None)

    def _tensor(self, values: NDArray[Any]) -> torch.Tensor:
        return on_device(values, self._model.device)


def _same_prefill(a: SequenceState, b: SequenceState) -> bool:
    return a.prompt is b.prompt and not a.tokens and not b.tokens
