"""How a chat template writes what a model thinks before it answers, found by rendering marks.

Nothing here knows a model family. An assistant turn with thoughts reads `opener` thoughts `closer` content (`<think>`,
`</think>`; or a channel that ends and another that begins), one without reads `plain` content (nothing, or empty
thoughts). The prompt for an answer may hold the beginning of either, and a switch among the template's variables may
choose which.
"""

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

from synth.chat.template import Template, common_start
from synth.data.row import Message
from synth.errors import RequestError

Mode = Literal["thinking", "plain"]

_THOUGHTS, _CONTENT = "Zq0SynthThoughtsqZ", "Zq1SynthContentqZ"
QUESTION: Message = {"role": "user", "content": "Why?"}

_TAG = r"(?:<[^<>\s]{1,40}>|\[[A-Z_/]{2,40}\]|◁[^◁▷\s]{1,40}▷)"
_LAST_TAG = re.compile(rf"({_TAG})\s*$")
_FIRST_TAG = re.compile(rf"\s*{_TAG}")
_THINKS = re.compile(r"think|thought|reason|scratchpad", re.IGNORECASE)
_SWITCH = re.compile(r"think|reason|effort", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a template writes around an assistant's thoughts.

    Attributes:
        opener: before the thoughts, after the header of the turn.
        closer: between the thoughts and the content.
        plain: before the content of a turn without thoughts, after the header.
        between: between two messages of one turn, where thoughts and content are messages of their own (channels);
            empty where they are not.
        own: whether the template or its tokenizer knows these markers; otherwise they are text as any other.
    """

    opener: str
    closer: str
    plain: str = ""
    between: str = ""
    own: bool = True

    @property
    def texts(self) -> tuple[str, ...]:
        """What the template writes of itself within a turn."""
        return self.opener, self.closer, self.plain


TAGS = Thinking("<think>\n", "\n</think>\n\n", own=False)
"""How thoughts are written for a model whose template knows of none: as most models do."""


def find_thinking(template: Template) -> Thinking:
    """How a template writes thoughts; `TAGS` where it knows of none."""
    # Thoughts are written alike however a switch is set, but not all of it is seen where it is off.
    unset = {name: value for name, value in template.variables.items() if not _SWITCH.search(name)}
    bare = replace(template, variables=unset)
    for variant in (*map(bare.with_variables, ({}, *switches(bare))), template):
        with suppress(RequestError):
            found = _as_rendered(variant) or _opened_by_the_prompt(variant)
            if found is not None:
                return found
    return _named(template) or TAGS


def switches(template: Template) -> list[dict[str, Any]]:
    """Values of the template's variables that may turn thinking on and off."""
    if not _SWITCH.search(template.text):  # most templates: told without parsing them
        return []
    named = [name for name in template.reads if _SWITCH.search(name)]
    values: list[tuple[str, Any]] = [(name, value) for name in named for value in (True, False)]
    values += [(name, "none") for name in named if "effort" in name]
    return [{name: value} for name, value in values if name not in template.variables]


def find_modes(template: Template, thinking: Thinking) -> dict[Mode, dict[str, Any]]:
    """The template arguments under which a model thinks and those under which it does not, where both can be told.

    A prompt that ends in opened thoughts makes it think, one that ends in closed ones keeps it from it. Where the
    end of the prompt tells nothing, what is said before the question may (`enable_thinking`): of two prompts that
    differ by a switch, the one with it on is taken for the one that thinks. A template without a switch has one mode,
    and one that never speaks of thoughts, whose tokenizer alone has markers for them (as of a model's siblings), none.
    """
    if not thinking.own or not any(tag in template.text for tag in re.findall(_TAG, thinking.opener + thinking.closer)):
        return {}
    prompts: dict[str, list[dict[str, Any]]] = {}
    for arguments in ({}, *switches(template)):
        with suppress(RequestError):
            text = template.with_variables(arguments).render([QUESTION], generation=True)
            prompts.setdefault(text, []).append(arguments)
    found: dict[Mode, list[dict[str, Any]]] = {}
    undecided = []
    for text, every in prompts.items():
        ways = _telling(every)
        match begun(thinking, text):
            case "thoughts":
                found.setdefault("thinking", ways)
            case "content":
                found.setdefault("plain", ways)
            case None if all(isinstance(value, bool) for value in ways[0].values()):
                undecided.append(ways)
    if len(undecided) == 1 or ("plain" in found and undecided):
        found.setdefault("thinking", undecided[0])
    elif undecided and "thinking" not in found:
        on = next((ways for ways in undecided if any(True in way.values() for way in ways if way)), undecided[0])
        found["thinking"] = on
        found.setdefault("plain", next(ways for ways in undecided if ways is not on))
    return {mode: _said(ways, [other for other in found.values() if other is not ways]) for mode, ways in found.items()}


def _telling(ways: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the arguments that give a prompt those that do not give it the other way round, too (`preserve_thinking`)."""
    swapped = [{name: not value for name, value in way.items() if isinstance(value, bool)} for way in ways]
    return [way for way, other in zip(ways, swapped, strict=True) if not other or other not in ways] or ways


def _said(ways: list[dict[str, Any]], others: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Of the arguments that give a mode those of the switch that gives the other, too: better said than left out."""
    named = {name for other in others for way in other for name in way}
    return next((way for way in ways if named & way.keys()), ways[0])


def begun(thinking: Thinking, prompt: str) -> Literal["thoughts", "content"] | None:
    """What a prompt has begun of the answer: thoughts, the content after empty ones, or nothing that tells."""
    opener, closer = loose(thinking.opener), loose(thinking.closer)
    if re.search(rf"{opener}\s*$", prompt):
        return "thoughts"
    if re.search(rf"{closer}\s*$", prompt) or (
        thinking.plain.strip() and re.search(rf"{loose(thinking.plain)}\s*$", prompt)
    ):
        return "content"
    return None


def loose(text: str) -> str:
    """A pattern for a template's words: the white space in and around them is the model's to set."""
    return r"\s*".join(re.escape(word) for word in text.split())


def _as_rendered(template: Template) -> Thinking | None:
    """From what the template writes around thoughts and content, in a turn without calls or else in one with."""
    prompt = template.render([QUESTION], generation=True)
    turn: Message = {"role": "assistant", "content": _CONTENT, "reasoning_content": _THOUGHTS}
    text = template.render([QUESTION, turn])
    if text.count(_THOUGHTS) == text.count(_CONTENT) == 1 and text.index(_THOUGHTS) < text.index(_CONTENT):
        before, rest = text.split(_THOUGHTS)
        closer = rest.split(_CONTENT)[0]
    else:
        text = _beside_a_call(template, turn)
        if text.count(_THOUGHTS) != 1:
            return None
        before, rest = text.split(_THOUGHTS)
        tag = _FIRST_TAG.match(rest)
        if tag is None:
            return None
        closer = tag.group()
    if before.startswith(prompt) and before != prompt:
        opener = before[len(prompt) :]
    elif before.rstrip() == prompt.rstrip() and (last := _LAST_TAG.search(before)):
        opener = last.group()
    else:
        return None
    header = before.removesuffix(opener)
    return _with_plain(template, header, Thinking(opener, closer))


def _beside_a_call(template: Template, turn: Message) -> str:
    """A turn of thoughts and a call of a tool, in the form of arguments that the template takes; nothing if in none."""
    forms: tuple[Any, Any] = ({}, "{}")
    for arguments in forms:
        call = {"type": "function", "function": {"name": "look", "arguments": arguments}}
        with suppress(RequestError):
            return template.write([QUESTION, turn | {"content": "", "tool_calls": [call]}])
    return ""


def _opened_by_the_prompt(template: Template) -> Thinking | None:
    """From a prompt that ends in a marker which the finished turn does not have: the template cuts thoughts out."""
    prompt = template.render([QUESTION], generation=True)
    written = template.render([QUESTION, {"role": "assistant", "content": _CONTENT}]).split(_CONTENT)[0]
    last = _LAST_TAG.search(prompt)
    if last is None or not prompt.startswith(written.rstrip()) or len(prompt) == len(written):
        return None
    opener = last.group()
    closing = mirrored(last[1])
    if closing is None or not _THINKS.search(opener):
        return None
    space = opener[len(opener.rstrip()) :]
    return Thinking(opener, f"{space}{closing}\n\n")


def _named(template: Template) -> Thinking | None:
    """From markers that the template's text or the tokenizer's own tokens name: within a content they are thoughts."""
    there = [*re.findall(_TAG, template.text), *template.added]
    for tag in dict.fromkeys(there):
        opening = unmirrored(tag) if tag in template.text else None
        pair = (opening, tag) if opening else (tag, mirrored(tag))
        if _THINKS.search(tag) and (opening or pair[1] in there):
            thinking = Thinking(f"{pair[0]}\n", f"\n{pair[1]}\n\n")
            with suppress(RequestError):
                return _as_rendered(replace(template, tags=(thinking.opener, thinking.closer))) or thinking
            return thinking
    return None


def mirrored(tag: str) -> str | None:
    """The marker that closes what another opens: `</think>`, `[/THINK]`, `◁/think▷`, `<|END_THINKING|>`."""
    for one, other in (("START", "END"), ("begin", "end")):
        if one in tag:
            return tag.replace(one, other)
    inside = re.fullmatch(r"([<\[◁]\|?)([^/].*)", tag)
    return f"{inside[1]}/{inside[2]}" if inside else None


def unmirrored(tag: str) -> str | None:
    """The marker that another closes; None where it closes none."""
    for one, other in (("END", "START"), ("end", "begin")):
        if one in tag:
            return tag.replace(one, other)
    inside = re.fullmatch(r"([<\[◁]\|?)/(.*)", tag)
    return f"{inside[1]}{inside[2]}" if inside else None


def _with_plain(template: Template, header: str, thinking: Thinking) -> Thinking:
    """With what stands before a content that has no thoughts, and between messages that are parts of one turn."""
    text = template.render([QUESTION, {"role": "assistant", "content": _CONTENT}])
    before = text.split(_CONTENT)[0]
    plain = before[len(header) :] if before.startswith(header) else ""
    between = thinking.closer.removesuffix(plain) if plain.strip() else ""
    # Channels: the thoughts end as a message does, and the header of the turn is written again.
    own_header = header[len(common_start(header, template.render([QUESTION]))) :]
    if not (own_header.strip() and between.endswith(own_header) and between != thinking.closer):
        between = ""
    return replace(thinking, plain=plain, between=between)
