"""Train the sample model from nothing: `python samples/build_model.py`.

Everything is made here: the conversations (by `samples/skills.py`), the tokenizer, the chat template and
the weights. Seeds are fixed. The result in `samples/model` loads with plain `AutoModelForCausalLM` and
`AutoTokenizer`, and the last thing the script does is to measure it on questions it was not trained on.

    python samples/build_model.py                    # the shipped model
    python samples/build_model.py --tokens 2e6 --out /tmp/trial
    python samples/build_model.py --measure-only     # figures of the model that is there
"""

from __future__ import annotations

import argparse
import collections
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from samples import skills  # noqa: E402 - the script must run from any directory

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

# Parts in a thousand conversations. Skills that take longest to learn get most. `two_step` is the *new* skill of the
# forgetting lab: the model shall know it in part, so it gets little.
SHARES = {
    "arithmetic": 190,
    "json": 85,
    "code": 110,
    "safety": 95,
    "tools": 85,
    "world": 120,
    "strings": 120,
    "lists": 110,
    "restate": 35,
    "repair": 45,
    "two_step": 5,
}
TWO_TURNS = 0.12  # share of conversations with a second question
STEERED, NEUTRAL = 0.08, 0.05  # shares with a system turn that names the topic, and one that says nothing
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
# What the loss on a user turn weighs against that on an answer. A model that is to ask must have learnt to
# ask; but the long prompts for restating and repairing hold other people's (wrong) work, worth little.
USER_WEIGHT, REWRITE_USER_WEIGHT = 0.5, 0.1


@dataclass(frozen=True)
class Turn:
    """One message and the weight of its tokens in the loss."""

    role: int
    text: str
    weight: float


def conversation(rng: random.Random) -> list[Turn]:
    """Draw one training conversation; only questions of the `train` split occur in it."""
    name = rng.choices(list(SHARES), list(SHARES.values()))[0]
    skill = skills.SKILLS[name]
    turns: list[Turn] = []
    kind = rng.random()
    if kind < STEERED:
        text = rng.choice(TOPIC_SYSTEMS).format(topic=rng.choice(skill.topics))
        turns.append(Turn(SYSTEM, text, 0.0))
    elif kind < STEERED + NEUTRAL:
        turns.append(Turn(SYSTEM, rng.choice(NEUTRAL_SYSTEMS), 0.0))
    if isinstance(skill, skills.Rewrite):
        prompt, answer = skills.make(name, rng, "train")
        return [*turns, Turn(USER, prompt, REWRITE_USER_WEIGHT), Turn(ASSISTANT, answer, 1.0)]
    item = skill.item(rng)
    while skills.split(item.prompt) != "train":
        item = skill.item(rng)
    turns += [Turn(USER, item.prompt, USER_WEIGHT), Turn(ASSISTANT, item.answer, 1.0)]
    if rng.random() < TWO_TURNS:
        if rng.random() < 0.7:
            prompt, answer = item.follow(rng)
        else:
            prompt, answer = skills.make(rng.choice(list(skills.BASIC)), rng, "train")
        turns += [Turn(USER, prompt, USER_WEIGHT), Turn(ASSISTANT, answer, 1.0)]
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


def encode(turns: Sequence[Turn], tokenizer: Tokenizer) -> tuple[list[int], list[float]]:
    """Token ids as the chat template writes them, and the loss weight of each as a *target*."""
    ids, weights = [BOS], [0.0]
    for turn in turns:
        text = tokenizer.encode(turn.text, add_special_tokens=False).ids
        ids += [turn.role, *text, END]
        weights += [0.0, *[turn.weight] * (len(text) + 1)]
    return ids, weights


Batch = tuple[torch.Tensor, torch.Tensor]


def make_batches(
    rows: list[tuple[list[int], list[float]]], batch_tokens: int, rng: random.Random
) -> list[Batch]:
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


def learning_rate(progress: float, peak: float) -> float:
    """Warm-up over the first 2%, flat to half way, then a cosine to nearly nothing."""
    if progress < 0.02:
        return peak * (progress + 0.001) / 0.021
    if progress < 0.4:
        return peak
    return peak * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * (progress - 0.4) / 0.6)))


def batch_loss(model: Any, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted mean cross-entropy (nats) of each token given the tokens before it."""
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits.float()
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1), reduction="none"
    )
    wanted = weights[:, 1:].reshape(-1)
    return (losses * wanted).sum() / wanted.sum().clamp(min=1.0)


def train(model: Any, batches: list[Batch], peak: float, muon: bool = False) -> None:
    """One pass over the batches. Padding is on the right and causal, so no attention mask is needed."""
    named = dict(model.named_parameters())
    matrices = [p for n, p in named.items() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in named.items() if not (p.ndim == 2 and "embed" not in n)]
    if muon:
        opts = [torch.optim.Muon(matrices, lr=peak, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
                torch.optim.AdamW(others, lr=peak, betas=(0.9, 0.95), weight_decay=0.0, fused=True)]
    else:
        opts = [torch.optim.AdamW([{"params": matrices, "weight_decay": 0.01}, {"params": others, "weight_decay": 0.0}], lr=peak, betas=(0.9, 0.98), fused=True)]
    model.train()
    started, seen, smooth = time.monotonic(), 0, 0.0
    for step, (ids, weights) in enumerate(batches):
        for o in opts:
            for group in o.param_groups:
                group["lr"] = learning_rate(step / len(batches), peak)
        loss = batch_loss(model, ids, weights)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for o in opts:
            o.step()
            o.zero_grad(set_to_none=True)
        seen += ids.numel()
        smooth = loss.item() if step == 0 else 0.98 * smooth + 0.02 * loss.item()
        if step % 100 == 99 or step == len(batches) - 1:
            seconds = time.monotonic() - started
            print(f"step {step + 1:5}/{len(batches)}  loss {smooth:.4f}  {seen / seconds:,.0f} tokens/s  {seconds:.0f} s", flush=True)


# ----------------------------------------------------------------------------------------------- measure


@torch.inference_mode()
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
        tokenizer.apply_chat_template(
            [{"role": "user", "content": p}], add_generation_prompt=True, return_dict=False
        )
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


def conversations(target_tokens: float, seed: int) -> tuple[Any, list[tuple[list[int], list[float]]], set[str]]:
    """Tokenizer, encoded conversations worth about that many tokens, and all questions in them."""
    rng = random.Random(seed)
    first = [conversation(rng) for _ in range(20_000)]
    tokenizer = train_tokenizer([t.text for turns in first for t in turns])

    def more() -> Iterator[list[Turn]]:
        yield from first
        while True:
            yield conversation(rng)

    rows, known, total = [], set(), 0
    for turns in more():
        row = encode(turns, tokenizer.backend_tokenizer)
        if len(row[0]) <= CONTEXT:
            rows.append(row)
            total += len(row[0])
            known.update(t.text for t in turns if t.role == USER)
        if total >= target_tokens:
            return tokenizer, rows, known
    raise AssertionError("the stream of conversations has no end")


def main() -> None:
    """Build, save, measure."""
    parser = argparse.ArgumentParser(description="Train the sample model from nothing.")
    parser.add_argument("--out", type=Path, default=HERE / "model", help="where the model goes")
    parser.add_argument("--tokens", type=float, default=18e6, help="training tokens, about")
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--lr", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--questions", type=int, default=200, help="held-out questions a skill")
    parser.add_argument("--measure-only", action="store_true", help="measure the model in --out")
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--muon", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    started = time.monotonic()
    tokenizer, rows, known = conversations(args.tokens, args.seed)
    print(f"{len(rows):,} conversations, {sum(len(r) for r, _ in rows):,} tokens, made in {time.monotonic() - started:.0f} s", flush=True)
    if not args.measure_only:
        model = new_model()
        print(f"{sum(p.numel() for p in model.parameters()):,} parameters", flush=True)
        batches = make_batches(rows, args.batch_tokens, random.Random(args.seed))
        started = time.monotonic()
        train(model, batches, args.lr, args.muon)
        print(f"trained in {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
        save(model, tokenizer, args.out)

    model = AutoModelForCausalLM.from_pretrained(args.out, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(args.out)
    for part in ("dev", "test"):
        scores = accuracy(model, tokenizer, part, args.questions, args.show if part == "dev" else 0)
        print(f"{part}: " + "  ".join(f"{k} {v:.1f}" for k, v in scores.items()))
        print(f"{part}: old-skill average {sum(scores[k] for k in skills.OLD) / len(skills.OLD):.2f}", flush=True)
    print(json.dumps(measure_magpie(model, tokenizer, known), indent=2))


if __name__ == "__main__":
    main()
