"""The sample model itself: an untrained one, one stage of its training, and its files."""

import math
import random
import shutil
import time
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from samples.building.data import BOS, CONTEXT, END, PAD, Row, Stage

Batch = tuple[torch.Tensor, torch.Tensor]  # rows, padded: ids and weights, both [rows, length]


def new_model() -> Any:
    """An untrained Llama of about 2 million parameters. Head size 32 is what vLLM's CPU kernels take."""
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=6,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=PAD,
        bos_token_id=BOS,
        eos_token_id=END,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def make_batches(rows: list[Row], batch_tokens: int, rng: random.Random) -> list[Batch]:
    """Rows of similar length together: ids [rows, length] and weights of the same shape, shuffled."""
    rng.shuffle(rows)
    rows = sorted(rows, key=lambda row: len(row[0]))  # stable: equal lengths stay shuffled
    batches: list[Batch] = []
    start = 0
    while start < len(rows):
        end, longest = start, 0
        while end < len(rows) and max(longest, len(rows[end][0])) * (end - start + 1) <= batch_tokens:
            longest = max(longest, len(rows[end][0]))
            end += 1
        part = rows[start:end]
        ids = torch.tensor([r + [PAD] * (longest - len(r)) for r, _ in part])
        weights = torch.tensor([w + [0.0] * (longest - len(w)) for _, w in part])
        batches.append((ids, weights))
        start = end
    rng.shuffle(batches)
    return batches


def learning_rate(progress: float, stage: Stage) -> float:
    """Warm-up over the first 2%, flat for a while, then a cosine to nearly nothing."""
    if progress < 0.02:
        return stage.peak * (progress + 0.001) / 0.021
    if progress < stage.flat:
        return stage.peak
    return stage.peak * (0.505 + 0.495 * math.cos(math.pi * (progress - stage.flat) / (1 - stage.flat)))


def batch_loss(model: Any, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross-entropy (nats) of each token given the tokens before it."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), reduction="none"
    )
    wanted = weights[:, 1:].reshape(-1)
    return (losses * wanted).sum() / wanted.sum().clamp(min=1.0)


def train(model: Any, batches: list[Batch], stage: Stage) -> None:
    """One pass over the batches. Padding is on the right and causal, so no attention mask is needed."""
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    rest = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    # Muon for the matrices between the embeddings: after 100 steps the loss stood at 2.8 where AdamW's was 3.8.
    optimizers: list[Any] = [
        torch.optim.Muon(inner, lr=stage.peak, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=stage.peak, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    model.train()
    started, seen, smooth = time.monotonic(), 0, 0.0
    for step, (ids, weights) in enumerate(batches):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step / len(batches), stage)
        loss = batch_loss(model, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        seen += ids.numel()
        smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
        if step % 100 == 99 or step == len(batches) - 1:
            seconds = time.monotonic() - started
            print(
                f"step {step + 1:5}/{len(batches)}  loss {smooth:.4f}  {seen / seconds:,.0f} tokens/s  {seconds:.0f} s",
                flush=True,
            )


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write the model as bf16 safetensors with its tokenizer, chat template and generation config."""
    shutil.rmtree(out, ignore_errors=True)
    clone = LlamaForCausalLM(model.config)
    clone.load_state_dict(model.state_dict())
    clone = clone.to(torch.bfloat16)  # the rotary tables are no part of what is saved
    clone.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=END, pad_token_id=PAD)
    clone.save_pretrained(out)
    tokenizer.save_pretrained(out)
