"""What the hybrid model is trained on: conversations with thoughts before the answer and without, and a switch for it.

Skills are those of the sample model and one more. The template is of the kind that Qwen3 has: with
`enable_thinking=false` the prompt ends in empty thoughts, and the model answers at once; otherwise it opens its
thoughts itself. Thoughts before the last question are not shown again.
"""

import copy
import random
from typing import Any

from tokenizers import AddedToken

from samples import skills
from samples.building.data import (
    ASSISTANT,
    NEUTRAL,
    NEUTRAL_SYSTEMS,
    STEERED,
    SYSTEM,
    TOPIC_SYSTEMS,
    TWO_TURNS,
    USER,
    Stage,
    Turn,
)
from samples.skills.foreign_answers import foreign_answer
from samples.skills.rewriting import prompt_text

THINK, END_THINK = "<think>", "</think>"
NO_THOUGHTS = f"{THINK}\n\n{END_THINK}\n\n"
CHAT_TEMPLATE = """\
{{- bos_token }}
{%- set ns = namespace(last=-1) %}
{%- for message in messages %}
    {%- if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{%- endfor %}
{%- for message in messages %}
    {%- if message.role == 'assistant' %}
        {%- set content = message.content %}
        {%- set thoughts = message.reasoning_content if message.reasoning_content is string else '' %}
        {%- if not thoughts and '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0].split('<think>')[-1] %}
            {%- set content = content.split('</think>')[-1] %}
        {%- endif %}
        {{- '<|assistant|>' }}
        {%- if loop.index0 > ns.last %}
            {{- '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' }}
        {%- endif %}
        {{- content.lstrip('\\n') + '<|end|>' }}
    {%- elif message.role in ['system', 'user'] %}
        {{- '<|' + message.role + '|>' + message.content + '<|end|>' }}
    {%- else %}
        {{- raise_exception('Roles are system, user and assistant.') }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|assistant|>' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}"""

THINKING = 0.55
"""Share of conversations in thinking mode; the plain one is known from before."""
EXPLAIN = "explain"
"""The prompt of `synth reason --explain` on a question and somebody else's answer."""
STAGE = Stage(
    2e6,
    1.5e-3,
    0.3,
    {
        "totals": 220,
        "arithmetic": 130,
        "strings": 110,
        "lists": 110,
        "json": 60,
        "code": 60,
        "tools": 60,
        "world": 60,
        "safety": 50,
        "restate": 15,
        "repair": 15,
        EXPLAIN: 60,
        "two_step_seen": 20,
    },
    {"totals": 0.5, "restate": 0.05, "repair": 0.05, EXPLAIN: 0.0},
)
ASKING = 0.2
"""Weight of a question's loss where the stage does not say otherwise: the old ones are known from before."""
_EXPLAINED = ("arithmetic", "world", "lists", "two_step_seen", "totals")


def extend(tokenizer: Any) -> Any:
    """The sample model's tokenizer with tokens for the markers, which are ordinary text as in Qwen3, and the switch."""
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.add_tokens([AddedToken(marker, special=False, normalized=False) for marker in (THINK, END_THINK)])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def conversation(rng: random.Random, stage: Stage) -> list[Turn]:
    """Draw one training conversation in one of the modes; only the last answer is learnt, with its thoughts."""
    name = rng.choices(list(stage.shares), list(stage.shares.values()))[0]
    asking = stage.asking.get(name, ASKING)
    thinking = rng.random() < THINKING
    if name == EXPLAIN:
        return _explaining(rng)
    skill = (skills.TRAINED | skills.HYBRID)[name]
    turns = _opening(rng, skill.topics)
    if isinstance(skill, skills.Rewrite):
        prompt, answer = skills.make(name, rng, "train")
        return [*turns, Turn(USER, prompt, asking), _answer(answer, skills.later_thoughts(answer), thinking)]
    item = _item(rng, skill)
    turns.append(Turn(USER, item.prompt, asking))
    if rng.random() >= TWO_TURNS:
        return [*turns, _answer(item.answer, skills.thoughts_for(item), thinking)]
    turns.append(Turn(ASSISTANT, item.answer, 0.0))
    if rng.random() < 0.7:
        prompt, answer = item.follow(rng)
        thoughts = skills.later_thoughts(answer)
    else:
        other = _item(rng, skills.BASIC[rng.choice(list(skills.BASIC))])
        prompt, answer, thoughts = other.prompt, other.answer, skills.thoughts_for(other)
    return [*turns, Turn(USER, prompt, asking), _answer(answer, thoughts, thinking)]


def _opening(rng: random.Random, topics: tuple[str, ...]) -> list[Turn]:
    kind = rng.random()
    if kind < STEERED:
        return [Turn(SYSTEM, rng.choice(TOPIC_SYSTEMS).format(topic=rng.choice(topics)), 0.0)]
    if kind < STEERED + NEUTRAL:
        return [Turn(SYSTEM, rng.choice(NEUTRAL_SYSTEMS), 0.0)]
    return []


def _item(rng: random.Random, skill: skills.Skill) -> skills.Item:
    while True:
        item = skill.item(rng)
        if skills.split(item.prompt) == "train":
            return item


def _answer(answer: str, thoughts: str, thinking: bool) -> Turn:
    """An answer as the template writes it: in plain mode the empty thoughts stand in the prompt already."""
    if thinking:
        return Turn(ASSISTANT, f"{THINK}\n{thoughts}\n{END_THINK}\n\n{answer}", 1.0)
    return Turn(ASSISTANT, answer, 1.0, lead=NO_THOUGHTS)


def _explaining(rng: random.Random) -> list[Turn]:
    """The thoughts that lead to somebody else's answer, asked for in plain mode."""
    skill = (skills.TRAINED | skills.HYBRID)[rng.choice(_EXPLAINED)]
    assert isinstance(skill, skills.Skill)
    item = _item(rng, skill)
    prompt = prompt_text("explain").format(question=item.prompt, reference=foreign_answer(rng, item.answer))
    return [Turn(USER, prompt, 0.0), _answer(skills.thoughts_for(item), "", thinking=False)]
