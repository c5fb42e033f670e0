"""What the sample model is trained on: conversations by `samples/skills`, a tokenizer and a chat template for them."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from samples import skills

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

Row = tuple[list[int], list[float]]  # token ids, and the loss weight of each as a target


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


@dataclass(frozen=True)
class Turn:
    """One message and the weight of its tokens in the loss; `lead` is what the prompt already holds of it."""

    role: int
    text: str
    weight: float
    lead: str = ""


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
        lead, text = (tokenizer.encode(part, add_special_tokens=False).ids for part in (turn.lead, turn.text))
        ids += [turn.role, *lead, *text, END]
        weights += [0.0, *[0.0] * len(lead), *[turn.weight] * (len(text) + 1)]
    return ids, weights


def encoded(
    stage: Stage,
    rng: random.Random,
    tokenizer: Any,
    known: set[str],
    draw: Callable[[random.Random, Stage], list[Turn]] = conversation,
) -> list[Row]:
    """Conversations worth about `stage.tokens` tokens, as `draw` gives them; their questions are added to `known`."""
    rows: list[Row] = []
    total = 0
    while total < stage.tokens:
        turns = draw(rng, stage)
        row = encode(turns, tokenizer.backend_tokenizer)
        if len(row[0]) <= CONTEXT:
            rows.append(row)
            total += len(row[0])
            known.update(t.text for t in turns if t.role == USER)
    return rows
