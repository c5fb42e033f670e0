"""Finds where a response's thoughts end and its answer begins, by the markers of today's models.

A reasoning model writes its thoughts between two markers, then what it has to say; only that is judged. Chat templates
often put the opening marker into the prompt, so a response may hold the closing one alone. Thoughts that are opened and
never closed were cut off: there is no answer after them, however much they hold that looks like one.

The markers are those of the models' chat templates and of vLLM's and llama.cpp's parsers of reasoning. They are for
texts of which no model is known: how a model at hand writes its thoughts is derived from its chat template.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Form:
    """One way to mark thoughts, as two regular expressions.

    `alone` says whether the closing marker means something where none has opened: words of plain English do not.
    """

    models: str
    opens: str
    closes: str
    alone: bool = True


_NAMED = r"(?:\w{1,20}[:_|])?"
"""A family's prefix of a tag's name: `<seed:think>`, `<mm:think>`, `<longcat_think>`."""

FORMS = (
    Form(
        "DeepSeek-R1, Qwen3, GLM, Nemotron, Seed-OSS, MiniMax, LongCat, Hunyuan, …",
        rf"(?i:<{_NAMED}think(?:ing)?(?:[:_]\w{{1,20}})?>)",
        rf"(?i:</{_NAMED}think(?:ing)?(?:[:_]\w{{1,20}})?>)",
    ),
    Form("EXAONE Deep, Marco-o1", r"(?i:<thoughts?>)", r"(?i:</thoughts?>)"),
    Form("Reka, LLaVA-CoT", r"(?i:<reasoning>)", r"(?i:</reasoning>)"),
    Form("fine-tunes", r"(?i:<scratchpad>)", r"(?i:</scratchpad>)"),
    Form("Magistral", r"\[THINK(?:ING)?\]", r"\[/THINK(?:ING)?\]"),
    Form("fine-tunes", r"\[(?:REASONING|THOUGHT)\]", r"\[/(?:REASONING|THOUGHT)\]"),
    Form("Kimi", "◁think▷", "◁/think▷"),
    Form(
        "gpt-oss (harmony), with its control tokens or decoded without them",
        r"<\|channel\|>\s*analysis[^<]{0,200}<\|message\|>|\A\s*(?:assistant)?analysis(?=[A-Z][\w'’]*[ ,])",
        r"<\|channel\|>\s*(?:final|commentary)\b[^<]{0,200}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>"
        r"|assistant(?:final|commentary)(?!_)",
    ),
    Form("OpenThinker", r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>|<\|begin_of_solution\|>"),
    Form("Command A", r"<\|START_THINKING\|>", r"<\|END_THINKING\|>|<\|START_RESPONSE\|>"),
    Form("Apertus", r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    Form("Gemma 4", r"<\|channel>\s*(?:thought|analysis)\b", r"<channel\|>"),
    Form("MedGemma", r"<unused94>(?:thought\b)?", r"<unused95>"),
    Form("Solar Open", r"<\|think(?:ing)?\|>", r"<\|/think(?:ing)?\|>|<\|begin\|>assistant<\|content\|>"),
    Form("s1", r"<\|im_start\|>think\b", r"<\|im_start\|>answer\b"),
    Form("Apriel", r"\A\s*Here are my reasoning steps:", r"\[BEGIN FINAL RESPONSE\]"),
    Form(
        "Granite 3.2",
        r"\A\s*Here(?: is|['’]s) my thought process:",
        r"\bHere(?: is|['’]s) my response:",
        alone=False,
    ),
    Form("HuatuoGPT-o1", r"\A\s*## Thinking[ \t]*\n", r"^## Final Response[ \t]*$", alone=False),
)

_MARKER = re.compile(
    r"(?=[<\[◁aH#`~]|\A)(?:(?P<fence>`{3,}|~{3,})|"  # what every marker begins with: most places are passed in one step
    + "|".join(f"(?P<o{number}>{form.opens})|(?P<c{number}>{form.closes})" for number, form in enumerate(FORMS))
    + ")",
    re.MULTILINE,
)

_HINTS = (
    *("think", "thought", "reasoning", "scratchpad", "analysis", "assistantfinal", "assistantcommentary"),
    *("<|", "channel|>", "<unused9", "final response"),
)
"""What every marker has one of, in lower case: most texts have none, and are passed at once."""

_OPENING = [(re.compile(form.opens), re.compile(form.closes, re.MULTILINE)) for form in FORMS]
_BEGUN = re.compile(rf"(?:{'|'.join(form.opens for form in FORMS if form.alone)})\s*\Z")
_CLOSED_ALONE = re.compile(rf"^[ \t]*</{_NAMED}think>[ \t]*$", re.MULTILINE | re.IGNORECASE)
_TAG_STARTS = ("<", "[", "◁")

_BEGIN = ("<|begin_of_solution|>", "<|START_RESPONSE|>")
_END = ("<|end_of_solution|>", "<|END_RESPONSE|>", "[END FINAL RESPONSE]", "<|return|>", "<|end|>", "<|call|>")
_QUOTES = ('"', "'", "`")
_TAGGED = re.compile(r"\s*<(answer|response|output|conclusion)>(.*)</\1>\s*", re.DOTALL | re.IGNORECASE)


def after_thoughts(text: str) -> str:
    """What a response says after its last thoughts; all of it where it has none, nothing where they do not end.

    Markers that an answer only mentions, in quotes or in a fenced block, are none.
    """
    lower = text.casefold()
    if not any(hint in lower for hint in _HINTS):
        return text
    begin, inside = 0, -1  # where the answer begins; in thoughts of which form
    fenced, mentioned, line_end = False, -1, -1  # in a fenced block of the answer; the form only mentioned there
    for match in _MARKER.finditer(text):
        kind, start = str(match.lastgroup), match.start()
        if kind == "fence":
            fenced, mentioned = inside < 0 and not fenced, -1
            continue
        number, quote = int(kind[1:]), text[start - 1 : start] if text[start - 1 : start] in _QUOTES else None
        if kind[0] == "o" and inside < 0:
            if not fenced and not quote:
                inside = number
                continue
            mentioned = number
            if start > line_end:
                line_end = text.find("\n", start)
                line_end = line_end if line_end >= 0 else len(text)
        elif kind[0] == "c" and (inside == number or (inside < 0 and FORMS[number].alone)):
            quoted = quote is not None and text[match.end() : match.end() + 1] == quote
            if not quoted and not (mentioned == number and (fenced or start < line_end)):
                begin, inside, fenced, mentioned = match.end(), -1, False, -1
    if inside >= 0:
        return ""
    return _bare(text[begin:]) if begin else text


@dataclass(frozen=True, slots=True)
class Opening:
    """The thoughts that a text begins with.

    Attributes:
        marker: what opens them, as written; what closes them, where a prompt had opened them before the text.
        thoughts: without markers and the white space at either end; None where they do not end.
        content: what follows them.
    """

    marker: str
    thoughts: str | None
    content: str = ""


def opening_thoughts(text: str) -> Opening | None:
    """The thoughts at the very start of a text, in any of the forms that models use; None where it opens none.

    `</think>` on a line of its own ends them, too, where none are opened before it: chat templates put the opening
    marker into the prompt. Words of plain English that are never closed open nothing.
    """
    start = text.lstrip()
    lower = start[:64].casefold()
    if any(hint in lower for hint in _HINTS):
        for opens, closes in _OPENING:
            opened = opens.match(start)
            if opened is None:
                continue
            for closed in closes.finditer(start, opened.end()):
                before, after = start[closed.start() - 1], start[closed.end() : closed.end() + 1]
                if before in _QUOTES and before == after:
                    continue  # thoughts that speak of the marker
                if "commentary" in closed[0]:
                    break  # what follows is a call of a tool, and no answer
                thoughts = start[opened.end() : closed.start()].rstrip().removesuffix("<|start|>assistant")
                thoughts = thoughts.rstrip().removesuffix("<|end|>").strip()
                return Opening(opened[0].strip(), thoughts, _bare(start[closed.end() :]).rstrip())
            return Opening(opened[0].strip(), None) if start.startswith(_TAG_STARTS) else None
    alone = _CLOSED_ALONE.search(text) if "think>" in text else None
    if alone is None or _OPENING[0][0].search(text, 0, alone.start()):
        return None
    return Opening(alone[0].strip(), text[: alone.start()].strip(), _bare(text[alone.end() :]).rstrip())


def begun_in(prompt: str) -> str:
    """The marker that a prompt ends with where it has opened the thoughts of its answer; empty where it has not."""
    begun = _BEGUN.search(prompt, max(0, len(prompt.rstrip()) - 64))
    return begun[0].strip() if begun else ""


def unwrapped(text: str) -> str:
    """A text without the tags that some models put around what they answer, such as `<answer>…</answer>`."""
    match = _TAGGED.fullmatch(text)
    return match[2] if match else text


def _bare(text: str) -> str:
    """What follows thoughts, without the tokens that some templates put around it and without empty lines before it."""
    for token in _BEGIN:
        text = text.lstrip().removeprefix(token) if text.lstrip().startswith(token) else text
    while text.rstrip().endswith(_END):
        text = text.rstrip()
        text = text[: -len(next(token for token in _END if text.endswith(token)))]
    return text.lstrip("\r\n")
