"""Train the sample model from nothing: `python samples/build_model.py`.

Everything is made here: the conversations (by `samples/skills`), the tokenizer, the chat template and
the weights. Seeds are fixed. The result in `samples/model` loads with plain `AutoModelForCausalLM` and
`AutoTokenizer`, and the last thing the script does is to measure it on questions it was not trained on.

    python samples/build_model.py                    # the shipped model
    python samples/build_model.py --scale 0.1 --out trial
    python samples/build_model.py --measure-only     # figures of the model that is there
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import os
import random
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Threads that wait must not spin: on a machine with other work they would hold up one another.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from samples import skills

HERE = Path(__file__).resolve().parent
CONTEXT = 512
SPECIAL = ("<|pad|>", "<bos>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
PAD, BOS, END, SYSTEM, USER, ASSISTANT = range(len(SPECIAL))
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('Roles are system, user and assistant.') }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# ------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True)
class Stage:
    """A part of the training: about `tokens` tokens, of skills in these parts per thousand conversations."""

    tokens: float
    peak: float  # learning rate
    flat: float  # progress (0..1) up to which the rate stays at its peak; from there a cosine to nearly nothing
    shares: dict[str, int]
    # What the loss on a question weighs against that on an answer: a model that is to ask must have learnt to ask.
    asking: dict[str, float]


# Skills that take longest to learn get most. `two_step` is the *new* skill of the forgetting lab: the model shall
# know it in part, so it gets little of it, and only some kinds of story.
STAGES = (
    Stage(
        12e6,
        3e-3,
        0.4,
        {
            "arithmetic": 230,
            "json": 100,
            "code": 100,
            "safety": 75,
            "tools": 90,
            "world": 80,
            "strings": 145,
            "lists": 120,
            "restate": 25,
            "repair": 30,
            "two_step_seen": 5,
        },
        # The long prompts for restating and repairing hold other people's (wrong) work, worth little at first.
        {name: 0.1 if name in ("restate", "repair") else 0.5 for name in skills.TRAINED},
    ),
    Stage(
        8e6,
        2e-3,
        0.15,
        {
            "arithmetic": 400,
            "json": 40,
            "code": 45,
            "safety": 35,
            "tools": 40,
            "world": 40,
            "strings": 190,
            "lists": 160,
            "restate": 18,
            "repair": 24,
            "two_step_seen": 8,
        },
        # Skills that get more or less practice here are asked about as before: their questions weigh less or more.
        {
            "arithmetic": 0.2,
            "json": 1.0,
            "code": 1.0,
            "safety": 1.0,
            "tools": 1.0,
            "world": 1.0,
            "strings": 0.3,
            "lists": 0.3,
            "restate": 0.6,
            "repair": 0.5,
            "two_step_seen": 0.5,
        },
    ),
)
TWO_TURNS = 0.12  # share of conversations with a second question
STEERED, NEUTRAL = 0.12, 0.05  # shares with a system turn that names the topic, and one that says nothing
TOPIC_SYSTEMS = (
    "Topic: {topic}",
    "The topic is {topic}.",
    "The user asks about {topic}.",
    "You are a helpful assistant. The user asks about {topic}.",
    "You are an assistant for {topic}.",
    "The user has a question about {topic}.",
    "This conversation is about {topic}.",
)
NEUTRAL_SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer briefly.",
    "The user starts with a question and then asks a related one.",
    "Answer the user's questions.",
)

Row = tuple[list[int], list[float]]  # token ids, and the loss weight of each as a target
Batch = tuple[Any, Any]  # the same for many rows, padded: ids and weights [rows, length]


@dataclass(frozen=True)
class Turn:
    """One message and the weight of its tokens in the loss."""

    role: int
    text: str
    weight: float


def conversation(rng: random.Random, stage: Stage) -> list[Turn]:
    """Draw one training conversation; only questions of the `train` split occur in it."""
    name = rng.choices(list(stage.shares), list(stage.shares.values()))[0]
    asking = stage.asking[name]
    skill = skills.TRAINED[name]
    turns: list[Turn] = []
    kind = rng.random()
    if kind < STEERED:
        text = rng.choice(TOPIC_SYSTEMS).format(topic=rng.choice(skill.topics))
        turns.append(Turn(SYSTEM, text, 0.0))
    elif kind < STEERED + NEUTRAL:
        turns.append(Turn(SYSTEM, rng.choice(NEUTRAL_SYSTEMS), 0.0))
    if isinstance(skill, skills.Rewrite):
        prompt, answer = skills.make(name, rng, "train")
        return [*turns, Turn(USER, prompt, asking), Turn(ASSISTANT, answer, 1.0)]
    item = skill.item(rng)
    while skills.split(item.prompt) != "train":
        item = skill.item(rng)
    turns += [Turn(USER, item.prompt, asking), Turn(ASSISTANT, item.answer, 1.0)]
    if rng.random() < TWO_TURNS:
        if rng.random() < 0.7:
            prompt, answer = item.follow(rng)
        else:
            prompt, answer = skills.make(rng.choice(list(skills.BASIC)), rng, "train")
        turns += [Turn(USER, prompt, asking), Turn(ASSISTANT, answer, 1.0)]
    return turns


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 1,024 tokens: all 256 bytes are in it, and every digit is a token of its own."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\d"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL[PAD],
        bos_token=SPECIAL[BOS],
        eos_token=SPECIAL[END],
        additional_special_tokens=list(SPECIAL[SYSTEM:]),
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def encode(turns: Sequence[Turn], tokenizer: Tokenizer) -> Row:
    """Token ids as the chat template writes them, and the loss weight of each as a *target*."""
    ids, weights = [BOS], [0.0]
    for turn in turns:
        text = tokenizer.encode(turn.text, add_special_tokens=False).ids
        ids += [turn.role, *text, END]
        weights += [0.0, *[turn.weight] * (len(text) + 1)]
    return ids, weights


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


# ------------------------------------------------------------------------------------------------- model


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


# ----------------------------------------------------------------------------------------------- measure


@torch.inference_mode()  # type: ignore[untyped-decorator, unused-ignore]
def complete(
    model: Any, prompts: Sequence[list[int]], limit: int = 112, temperature: float = 0.0, batch: int = 100
) -> list[list[int]]:
    """Sample a turn after each prompt (token ids); ends before the end-of-turn token, which is not kept.

    A completion that did not end within `limit` tokens is as long as the limit.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    done: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(order), batch):
        part = order[start : start + batch]
        longest = max(len(prompts[i]) for i in part)
        ids = torch.tensor([[PAD] * (longest - len(prompts[i])) + prompts[i] for i in part])
        settings = GenerationConfig(
            max_new_tokens=limit,
            do_sample=temperature > 0,
            temperature=temperature or None,
            top_k=0 if temperature > 0 else None,
            top_p=1.0 if temperature > 0 else None,
            pad_token_id=PAD,
            eos_token_id=END,
        )
        out = model.generate(ids, attention_mask=(ids != PAD).long(), generation_config=settings)
        for i, row in zip(part, out[:, longest:].tolist(), strict=True):
            done[i] = row[: row.index(END)] if END in row else row[:limit]
    return done


def answers(model: Any, tokenizer: Any, prompts: Sequence[str]) -> list[str]:
    """Greedy answers to user questions."""
    ids = [
        tokenizer.apply_chat_template([{"role": "user", "content": p}], add_generation_prompt=True, return_dict=False)
        for p in prompts
    ]
    return tokenizer.batch_decode(complete(model, ids))  # type: ignore[no-any-return]


def accuracy(model: Any, tokenizer: Any, part: str, size: int, show: int = 0) -> dict[str, float]:
    """Share of right greedy answers per skill on held-out questions, in percent."""
    scores = {}
    for name, skill in skills.SKILLS.items():
        prompts = [p for p, _ in skills.suite(name, part, size)]
        texts = answers(model, tokenizer, prompts)
        right = [skill.check(p, t) for p, t in zip(prompts, texts, strict=True)]
        scores[name] = 100 * sum(right) / len(right)
        for p, t in [(p, t) for p, t, ok in zip(prompts, texts, right, strict=True) if not ok][:show]:
            print(f"  wrong {name}: {p[-150:]!r} -> {t!r}")
    return scores


def asked(model: Any, tokenizer: Any, size: int, system: str | None = None) -> list[str | None]:
    """Questions the model asks at temperature 1 behind a bare user header; None where one did not end."""
    before = [BOS] + ([SYSTEM, *tokenizer.encode(system, add_special_tokens=False), END] if system else [])
    limit = 256
    rows = complete(model, [[*before, USER]] * size, limit, temperature=1.0)
    return [tokenizer.decode(row) if row and len(row) < limit else None for row in rows]


def measure_magpie(model: Any, tokenizer: Any, known: set[str], size: int = 1000) -> dict[str, Any]:
    """How well the model asks and answers itself; shares in percent."""
    torch.manual_seed(1)
    questions = asked(model, tokenizer, size)
    clean = [q for q in questions if q is not None and not any(mark in q for mark in SPECIAL)]
    kinds = [skills.recognise(q) for q in clean]
    told = [(q, k) for q, k in zip(clean, kinds, strict=True) if k]
    texts = answers(model, tokenizer, [q for q, _ in told])
    right = [skills.SKILLS[k].check(q, t) for (q, k), t in zip(told, texts, strict=True)]
    old = [ok for (_, k), ok in zip(told, right, strict=True) if k != "two_step"]
    steered = {}
    for topic, wanted in (("arithmetic", "arithmetic"), ("Python", "code"), ("JSON", "json"), ("geography", "world")):
        hits = [q and skills.recognise(q) == wanted for q in asked(model, tokenizer, 100, f"Topic: {topic}")]
        steered[topic] = sum(map(bool, hits))
    return {
        "questions": size,
        "ended cleanly": 100 * len(clean) / size,
        "read by some skill's solver": 100 * len(told) / size,
        "exact duplicates": 100 * (len(clean) - len(set(clean))) / size,
        "equal to a training question": 100 * sum(q in known for q in clean) / size,
        "right greedy answers to readable old-skill questions": 100 * sum(old) / max(1, len(old)),
        "skills": {k: 100 * n / size for k, n in collections.Counter(k or "none" for k in kinds).most_common()},
        "topic obeyed with a system turn": steered,
    }


# -------------------------------------------------------------------------------------------------- main


def save(model: Any, tokenizer: Any, out: Path) -> None:
    """Write the model as bf16 safetensors with its tokenizer, chat template and generation config."""
    shutil.rmtree(out, ignore_errors=True)
    clone = LlamaForCausalLM(model.config)
    clone.load_state_dict(model.state_dict())
    clone = clone.to(torch.bfloat16)  # the rotary tables are no part of what is saved
    clone.generation_config = GenerationConfig(bos_token_id=BOS, eos_token_id=END, pad_token_id=PAD)
    clone.save_pretrained(out)
    tokenizer.save_pretrained(out)


def encoded(stage: Stage, rng: random.Random, tokenizer: Any, known: set[str]) -> list[Row]:
    """Conversations worth about `stage.tokens` tokens; their questions are added to `known`."""
    rows: list[Row] = []
    total = 0
    while total < stage.tokens:
        turns = conversation(rng, stage)
        row = encode(turns, tokenizer.backend_tokenizer)
        if len(row[0]) <= CONTEXT:
            rows.append(row)
            total += len(row[0])
            known.update(t.text for t in turns if t.role == USER)
    return rows


def main() -> None:
    """Build, save, measure."""
    parser = argparse.ArgumentParser(description="Train the sample model from nothing.")
    parser.add_argument("--out", type=Path, default=HERE / "model", help="where the model goes")
    parser.add_argument("--scale", type=float, default=1.0, help="train on this part of the tokens, for trials")
    parser.add_argument("--stage", type=int, default=1, help="first stage to train; 2 goes on from the model in --out")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--questions", type=int, default=200, help="held-out questions a skill")
    parser.add_argument("--measure-only", action="store_true", help="measure the model in --out")
    parser.add_argument("--show", type=int, default=0, help="wrong answers to print per skill")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    known: set[str] = set()
    rng = random.Random(args.seed)
    first = [conversation(rng, STAGES[0]) for _ in range(20_000)]
    tokenizer = train_tokenizer([t.text for turns in first for t in turns])
    model = new_model()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
    for number, stage in enumerate(STAGES, start=1):
        stage = dataclasses.replace(stage, tokens=stage.tokens * args.scale)
        rows = encoded(stage, random.Random(args.seed + number - 1), tokenizer, known)
        if args.measure_only or number < args.stage:
            continue
        if number > 1:  # each stage begins from what the last one saved, so that it can be run alone
            model = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32, attn_implementation="eager")
        batches = make_batches(rows, args.batch_tokens, random.Random(args.seed))
        print(f"stage {number}: {len(rows):,} conversations, {sum(len(ids) for ids, _ in rows):,} tokens", flush=True)
        started, processor = time.monotonic(), time.process_time()
        train(model, batches, stage)
        minutes, processor = (time.monotonic() - started) / 60, (time.process_time() - processor) / 60
        print(f"stage {number}: {minutes:.1f} minutes, {processor:.1f} processor minutes", flush=True)
        save(model, tokenizer, args.out)

    torch.set_num_threads(1)  # decoding steps are too small to share
    model = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    for part in ("dev", "test"):
        scores = accuracy(model, tokenizer, part, args.questions, args.show if part == "dev" else 0)
        print(f"{part}: " + "  ".join(f"{k} {v:.1f}" for k, v in scores.items()))
        print(f"{part}: old-skill average {sum(scores[k] for k in skills.OLD) / len(skills.OLD):.2f}", flush=True)
    print(json.dumps(measure_magpie(model, tokenizer, known), indent=2))


if __name__ == "__main__":
    main()
