"""Trained tokens a second of `synth train` beside TRL's SFTTrainer: same model, rows, tokens a step, dtype.

Both train a randomly initialised Llama of 20 million parameters (or the sample model) on the same pre-tokenised rows of
10 to 1,000 tokens, half of each with loss; speeds are tokens of rows that went through the model, divided by the time
of the training loop. TRL packs with its best strategy (first fit, decreasing) into sequences of 1,024; with
attention that is not FlashAttention its packed rows see each other, which is cheaper than what `synth` does, and not
the same loss. So TRL is also run without packing, where its loss is comparable, and the curves of losses are printed
side by side.

    python tests/benchmarks/bench_train.py [--steps 12] [--rounds 3] [--model sample|20m]
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

BUDGET = 4096
LENGTH = 1024


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


def make_model(folder: Path, kind: str) -> int:
    """Save the model to train; returns its longest row."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    sample = Path(__file__).parents[2] / "samples" / "model"
    tokenizer = AutoTokenizer.from_pretrained(sample)
    if kind == "sample":
        model = AutoModelForCausalLM.from_pretrained(sample, dtype=torch.float32)
    else:
        config = LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=512,
            intermediate_size=1408,
            num_hidden_layers=6,
            num_attention_heads=8,
            num_key_value_heads=8,
            max_position_embeddings=LENGTH,
        )
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return min(1000, int(model.config.max_position_embeddings))


def run_synth(model: Path, rows: Path, steps: int, folder: Path) -> tuple[float, list[float]]:
    """Tokens a second of the loop, and the loss of each step."""
    from synth.chat.derive import format_for
    from synth.data.read import open_source
    from synth.data.run.record import RunRecord
    from synth.scoring.encoding import RowEncoder
    from synth.training.folder import TrainingFolder
    from synth.training.rows import read_training_rows
    from synth.training.run import train
    from synth.training.settings import TrainedParts, TrainingSettings

    chat = format_for(str(model))
    found = read_training_rows(open_source(str(rows)), RowEncoder(chat), len(chat.tokenizer))
    settings = TrainingSettings(
        steps=steps, learning_rate=1e-3, warmup=0, tokens_per_batch=BUDGET, dtype="float32", save_every=10**6
    )
    out = TrainingFolder(folder, RunRecord("train", {}))
    out.record.tokens = {"tokens": float(len(found.tokens)), "trained": float(found.trained)}
    try:
        train(found, str(model), chat.tokenizer, settings, TrainedParts(), out, device="cpu")
    finally:
        out.close()
    tokens = sum(entry["tokens"] for entry in out.log)
    return tokens / out.record.seconds, [entry["loss"] for entry in out.log]


def run_trl(model: Path, rows: Path, steps: int, folder: Path, packing: bool) -> tuple[float, list[float]]:
    """The same of TRL."""
    import datasets
    from transformers import AutoModelForCausalLM, PrinterCallback, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    data = datasets.load_dataset("json", data_files=str(rows), split="train").remove_columns("id")
    mean = sum(map(len, data["input_ids"])) / len(data)
    losses: list[float] = []
    tokens = 0

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                losses.append(float(logs["loss"]))

    config = SFTConfig(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=BUDGET // LENGTH if packing else max(1, round(BUDGET / mean)),
        max_length=LENGTH,
        packing=packing,
        learning_rate=1e-3,
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    trainer = SFTTrainer(model=net, args=config, train_dataset=data, callbacks=[Watch()])
    trainer.remove_callback(PrinterCallback)
    step = trainer.training_step

    def counted(model: Any, inputs: Any, *rest: Any) -> Any:
        nonlocal tokens
        mask = inputs.get("attention_mask")
        tokens += int(mask.sum()) if mask is not None else inputs["input_ids"].numel()
        return step(model, inputs, *rest)

    trainer.training_step = counted
    began = time.monotonic()
    trainer.train()
    return tokens / (time.monotonic() - began), losses


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", choices=("sample", "20m"), default="20m")
    arguments = parser.parse_args()
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    speeds: dict[str, list[float]] = {"synth": [], "trl packing": [], "trl padding": []}
    curves: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        longest = make_model(folder / "model", arguments.model)
        rows = folder / "rows.jsonl"
        with open(rows, "w", encoding="utf-8") as lines:
            for row in make_rows(1024, 2000, longest):
                lines.write(json.dumps(row) + "\n")
        for number in range(arguments.rounds):
            out = folder / f"out-{number}"
            for side in speeds:
                if side == "synth":
                    speed, losses = run_synth(folder / "model", rows, arguments.steps, out)
                else:
                    speed, losses = run_trl(folder / "model", rows, arguments.steps, out / "trl", side == "trl packing")
                speeds[side].append(speed)
                curves[side] = losses
            print("  ".join(f"{side} {values[-1]:,.0f}" for side, values in speeds.items()), "tokens/s", flush=True)
    median = {side: statistics.median(values) for side, values in speeds.items()}
    threads = torch.get_num_threads()
    print(f"\n{arguments.model}, float32, {threads} threads, {arguments.steps} steps of {BUDGET} tokens")
    print("median  " + "  ".join(f"{side} {value:,.0f}" for side, value in median.items()))
    for rival in ("trl packing", "trl padding"):
        print(f"synth is {median['synth'] / median[rival]:.2f} x {rival}")
    print("\nstep  " + "  ".join(f"{side:>11}" for side in curves))
    for step in range(arguments.steps):
        print(f"{step + 1:>4}  " + "  ".join(f"{curve[step]:>11.4f}" for curve in curves.values()))


if __name__ == "__main__":
    main()
