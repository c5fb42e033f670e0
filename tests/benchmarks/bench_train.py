"""Trained tokens a second of `synth train` beside TRL's SFTTrainer: same model, rows, tokens a step, dtype.

Both train a randomly initialised Llama (or the sample model) on the same pre-tokenised rows of 10 to 1,000 tokens (on a
GPU 2,048), half of each with loss; speeds are tokens of rows that went through the model, divided by the time of the
training loop, on a GPU without its first steps. TRL packs with its best strategy (first fit, decreasing) into
sequences of the longest row's length; with attention that is not FlashAttention its packed rows see each other, which
is cheaper than what `synth` does, and not the same loss. So TRL is also run without packing, where its loss is
comparable, and the curves of losses are printed side by side.

On a GPU both compute in bfloat16 over float32 weights, and the share of the card's own rate of multiplying matrices is
printed: 6 floating-point operations a weight and token (the embeddings' table is none, the head is one), and those of
causal attention within each row.

    python tests/benchmarks/bench_train.py [--steps 12] [--rounds 3] [--model sample|20M-1k|135M|1B] [--device cuda]
"""

import argparse
import gc
import json
import os
import statistics
import tempfile
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.benchmarks.llamas import SHAPES, llama

SIDES = ("synth", "trl packing", "trl padding")


@dataclass(frozen=True)
class Setup:
    """What both sides are given."""

    model: Path
    rows: Path
    steps: int
    device: str
    budget: int
    length: int

    @property
    def cuda(self) -> bool:
        return self.device.startswith("cuda")

    @property
    def unmeasured(self) -> int:
        """First steps that do not count: on a GPU memory is taken and kernels are chosen, or compiled."""
        return min(5, self.steps // 2) if self.cuda else 0


class Clock:
    """Tokens a second of the steps that count, and the loss of each step."""

    def __init__(self, unmeasured: int) -> None:
        self._unmeasured, self._began, self._tokens = unmeasured, 0.0, 0
        self.losses: list[float] = []

    def start(self) -> None:
        self._began = time.monotonic()

    def step(self, tokens: int, loss: float) -> None:
        self.losses.append(loss)
        if len(self.losses) > self._unmeasured:
            self._tokens += tokens
        else:
            self.start()
        self._ended = time.monotonic()

    @property
    def speed(self) -> float:
        return self._tokens / (self._ended - self._began)


def make_rows(vocabulary: int, count: int, longest: int) -> list[dict[str, Any]]:
    """Rows of mixed length with loss on their second half; frequent tokens are much more frequent than rare ones."""
    draw = np.random.default_rng(1)
    rows = []
    for index in range(count):
        length = int(np.exp(draw.uniform(np.log(10), np.log(longest))))
        ids = np.minimum(draw.zipf(1.3, length), vocabulary - 1).astype(int).tolist()
        labels = [-100] * (length // 2) + ids[length // 2 :]
        rows.append({"id": str(index), "input_ids": ids, "labels": labels})
    return rows


def make_model(folder: Path, kind: str, longest: int = 1024) -> int:
    """Save the model to train; returns its longest row."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    sample = Path(__file__).parents[2] / "samples" / "model"
    tokenizer = AutoTokenizer.from_pretrained(sample)
    if kind == "sample":
        model = AutoModelForCausalLM.from_pretrained(sample, dtype=torch.float32)
    else:
        model = llama(SHAPES[kind], longest)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return min(longest, int(model.config.max_position_embeddings))


def run_synth(setup: Setup, folder: Path) -> tuple[float, list[float]]:
    """Tokens a second of the loop, and the loss of each step."""
    from synth.chat.derive import format_for
    from synth.data.read import open_source
    from synth.data.run.record import RunRecord
    from synth.scoring.encoding import RowEncoder
    from synth.training.callbacks import Callbacks
    from synth.training.folder import TrainingFolder
    from synth.training.rows import read_training_rows
    from synth.training.run import train
    from synth.training.settings import TrainedParts, TrainingSettings

    chat = format_for(str(setup.model))
    found = read_training_rows(open_source(str(setup.rows)), RowEncoder(chat), len(chat.tokenizer))
    settings = TrainingSettings(
        steps=setup.steps,
        learning_rate=1e-3,
        warmup=0,
        tokens_per_batch=setup.budget,
        dtype="bfloat16" if setup.cuda else "float32",
        save_every=10**6,
    )
    out = TrainingFolder(folder, RunRecord("train", {}))
    out.record.tokens = {"tokens": float(len(found.tokens)), "trained": float(found.trained)}
    clock = Clock(setup.unmeasured)

    def report(entry: dict[str, Any], _: int) -> None:
        if "loss" in entry:
            clock.step(entry["tokens"], entry["loss"])

    callbacks = Callbacks(report=report, say=print if setup.cuda else lambda _: None)
    try:
        train(
            found, str(setup.model), chat.tokenizer, settings, TrainedParts(), out,
            device=setup.device, callbacks=callbacks,
        )  # fmt: skip
    finally:
        out.close()
    # On a CPU the whole loop counts, from its first step on.
    return clock.speed if setup.unmeasured else sum(e["tokens"] for e in out.log) / out.record.seconds, clock.losses


def run_trl(setup: Setup, folder: Path, packing: bool) -> tuple[float, list[float]]:
    """The same of TRL."""
    import datasets
    from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    data = datasets.load_dataset("json", data_files=str(setup.rows), split="train").remove_columns("id")
    mean = sum(map(len, data["input_ids"])) / len(data)
    clock = Clock(setup.unmeasured)
    tokens = 0

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            nonlocal tokens
            if logs and "loss" in logs:
                clock.step(tokens, float(logs["loss"]))
                tokens = 0

    fitting = max(1, setup.budget // setup.length if packing else round(setup.budget / mean))
    config = SFTConfig(
        output_dir=str(folder),
        max_steps=setup.steps,
        per_device_train_batch_size=fitting,
        max_length=setup.length,
        packing=packing,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        use_cpu=not setup.cuda,
        bf16=setup.cuda,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    attention = flash() if setup.cuda and packing else None
    if setup.cuda and packing:
        print(f"TRL packs with {attention or 'no FlashAttention, which is not installed: its rows see each other'}")
    net = AutoModelForCausalLM.from_pretrained(setup.model, dtype=torch.float32, attn_implementation=attention)
    trainer = SFTTrainer(model=net, args=config, train_dataset=data, callbacks=[Watch()])
    trainer.remove_callback(PrinterCallback)
    step, collate = trainer.training_step, trainer.data_collator
    laid_out: deque[int] = deque()  # tokens of the batches to come, counted before they go to the device

    def counting(rows: Any) -> Any:
        batch = collate(rows)
        mask = batch.get("attention_mask")
        laid_out.append(int(mask.sum()) if mask is not None else batch["input_ids"].numel())
        return batch

    def counted(*given: Any) -> Any:
        nonlocal tokens
        tokens += laid_out.popleft()
        return step(*given)

    trainer.training_step, trainer.data_collator = counted, counting
    clock.start()
    trainer.train()
    return clock.speed, clock.losses


def flash() -> str | None:
    """FlashAttention as transformers calls it, where a package has it."""
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

    if is_flash_attn_3_available():
        return "flash_attention_3"
    return "flash_attention_2" if is_flash_attn_2_available() else None


def matrix_rate(size: int = 8192, times: int = 30) -> float:
    """Floating-point operations a second of the card on bfloat16 matrices."""
    left, right = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(5):
        left @ right
    start.record()
    for _ in range(times):
        left @ right
    end.record()
    torch.cuda.synchronize()
    return float(times * 2 * size**3 / (start.elapsed_time(end) / 1000))


def operations(model: Path, lengths: list[int]) -> float:
    """Floating-point operations a token of training, on rows of these lengths."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(model)
    with torch.device("meta"):
        net = AutoModelForCausalLM.from_config(config)
    table = net.get_input_embeddings().weight.numel()
    weights = sum(parameter.numel() for parameter in net.parameters()) - (0 if config.tie_word_embeddings else table)
    pairs = sum(length * length / 2 for length in lengths) / sum(lengths)  # tokens that a token sees, in the mean
    return float(6 * weights + 12 * config.num_hidden_layers * config.hidden_size * pairs)


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", choices=("sample", *SHAPES), default="20M-1k")
    parser.add_argument("--device", default="cpu", help="cpu (float32) or cuda (bfloat16)")
    parser.add_argument("--tokens", type=int, help="of a step; 4,096 on a CPU, 16,384 on a GPU")
    parser.add_argument("--sides", default=",".join(SIDES))
    arguments = parser.parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    cuda = arguments.device.startswith("cuda")
    budget = arguments.tokens or (16_384 if cuda else 4_096)
    sides = arguments.sides.split(",")
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    curves: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        length = 2_048 if cuda else 1_024
        longest = make_model(folder / "model", arguments.model, length)
        made = make_rows(1024, 2000, longest if cuda else min(longest, 1000))
        rows = folder / "rows.jsonl"
        rows.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
        setup = Setup(folder / "model", rows, arguments.steps, arguments.device, budget, length)
        for number in range(arguments.rounds):
            out = folder / f"out-{number}"
            for side in list(speeds):
                if cuda:
                    gc.collect()
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                try:
                    if side == "synth":
                        speed, losses = run_synth(setup, out)
                    else:
                        speed, losses = run_trl(setup, out / "trl", side == "trl packing")
                except Exception as error:  # a rival may fail in any way; the others are measured all the same
                    if side == "synth":
                        raise
                    print(f"{side} not measured: {type(error).__name__}: {error}", flush=True)
                    del speeds[side]
                    continue
                speeds[side].append(speed)
                curves[side] = losses
                peaks[side] = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
                print(f"round {number + 1} {side} {speed:,.0f} tokens/s, {peaks[side]:.1f} GiB", flush=True)
        each = operations(setup.model, [len(row["input_ids"]) for row in made])
    median = {side: statistics.median(values) for side, values in speeds.items()}
    where = torch.cuda.get_device_name() + ", bfloat16" if cuda else f"float32, {torch.get_num_threads()} threads"
    print(f"\n{arguments.model}, {where}, {arguments.steps} steps of {budget} tokens")
    print("median  " + "  ".join(f"{side} {value:,.0f}" for side, value in median.items()))
    if cuda:
        rate = matrix_rate()
        print(f"the card multiplies matrices at {rate / 1e12:,.0f} TFLOP/s, {each / 1e9:.2f} GFLOP a trained token")
        for side, value in median.items():
            print(f"{side} runs at {value * each / rate:.2f} of that, in {peaks[side]:.1f} GiB")
    for rival in median:
        if rival != "synth" and "synth" in median:
            print(f"synth is {median['synth'] / median[rival]:.2f} x {rival}")
    print("\nstep  " + "  ".join(f"{side:>11}" for side in median))
    for step in range(arguments.steps):
        print(f"{step + 1:>4}  " + "  ".join(f"{curves[side][step]:>11.4f}" for side in median))


if __name__ == "__main__":
    main()
