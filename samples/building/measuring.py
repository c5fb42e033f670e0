"""What the sample model can do: held-out questions, and questions that it asks itself."""

import collections
from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from samples import skills
from samples.building.data import BOS, END, PAD, SPECIAL, SYSTEM, USER


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


def answers(model: Any, tokenizer: Any, prompts: Sequence[str], **variables: Any) -> list[str]:
    """Greedy answers to user questions, in a prompt with these template variables."""
    ids = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": p}], add_generation_prompt=True, return_dict=False, **variables
        )
        for p in prompts
    ]
    return [tokenizer.decode(row) for row in complete(model, ids)]


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


def switch(model: Any, tokenizer: Any, part: str, size: int, show: int = 0) -> dict[str, dict[str, float]]:
    """What the hybrid model does in either mode, in percent.

    For each skill the right answers, and in `obeyed` the answers of all skills that think where they are to and do not
    where they are not to.
    """
    found: dict[str, dict[str, float]] = {}
    for mode, thinking in (("thinking", True), ("plain", False)):
        scores = found.setdefault(mode, {})
        obeyed = []
        for name, skill in skills.HYBRID.items():
            prompts = [prompt for prompt, _ in skills.suite(name, part, size)]
            drawn = answers(model, tokenizer, prompts, enable_thinking=thinking)
            turns = [text.rpartition("</think>\n\n") for text in drawn]
            right = [skill.check(prompt, turn[2]) for prompt, turn in zip(prompts, turns, strict=True)]
            obeyed += [bool(before.removeprefix("<think>").strip()) is thinking for before, _, _ in turns]
            scores[name] = 100 * sum(right) / len(right)
            wrong = [pair for pair, ok in zip(zip(prompts, drawn, strict=True), right, strict=True) if not ok]
            for prompt, text in wrong[:show]:
                print(f"  wrong {name}, {mode}: {prompt[-150:]!r} -> {text!r}")
        scores["obeyed"] = 100 * sum(obeyed) / len(obeyed)
    return found
