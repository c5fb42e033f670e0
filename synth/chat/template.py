"""Render conversations with a tokenizer's chat template, and cut the text where their contents stand.

Nothing here knows a model family. A conversation is rendered with marks in place of its contents; what the
template wrote around the marks is its own text. Texts are tokenised as `apply_chat_template` does it, without
special tokens of the tokenizer's own: a beginning-of-sequence token is there as often as the template writes it.
"""

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Self

from synth.chat.probe import refuse_endless
from synth.chat.tool_calls import ToolCallForm, tool_call_form
from synth.data.row import Message
from synth.engines.base import Tokenizer
from synth.errors import RequestError, UsageError

# Letters and digits only, so that trimming, quoting and tool parsing in a template leave them alone.
_MARK = "Zq{}SynthMark{}qZ"

THOUGHT_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""What templates call the thoughts of a message."""

_NOT_OF_ROWS = ("tools", "prefix", "stop", "end")
"""Variables that are no template arguments of a row: its tools have a column, the others stand in for a template."""

_ALWAYS_GIVEN = {"messages", "add_generation_prompt", "raise_exception", "strftime_now", "bos_token", "eos_token"} | {
    "pad_token",
    "unk_token",
    "documents",
    "continue_final_message",
}
"""Names that a template reads and that are no settings."""

# How texts begin. A token of the prompt that merges with one of these is not a token of the prompt. White space
# is missing on purpose: drawn texts are stripped, and most templates trim.
_OPENINGS = ("a", "the", "What", "I", "X", "1", "42", "é", "你好")


def _today() -> datetime:
    """The date that a template with `strftime_now` sees: SOURCE_DATE_EPOCH (seconds) where set, else now."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    return datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now()


@dataclass(frozen=True)
class Template:
    """A tokenizer's chat template, or `source` (jinja text) in its place, with `variables` that it may read.

    The date is taken once, so that two renderings of one conversation agree. `tags` are written around thoughts, within
    the content, where the template takes no thoughts beside it.
    """

    tokenizer: Tokenizer
    source: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict)
    today: datetime = field(default_factory=_today)
    tags: tuple[str, str] | None = None
    _forms: dict[str, ToolCallForm | str] = field(default_factory=dict, repr=False, compare=False)

    def with_variables(self, variables: Mapping[str, Any]) -> Self:
        """The same template with further variables."""
        return replace(self, variables={**self.variables, **variables}) if variables else self

    @property
    def dated(self) -> bool:
        """Whether it writes the date."""
        return "strftime_now" in self.text

    @property
    def arguments(self) -> dict[str, Any]:
        """The variables that a row's conversation is rendered with, the date among them, but not its tools."""
        given = {name: value for name, value in self.variables.items() if name not in _NOT_OF_ROWS}
        return given | ({"strftime_now": self.today.date().isoformat()} if self.dated else {})

    def render(self, messages: Sequence[Message], *, generation: bool = False) -> str:
        """The conversation as text; `generation` adds the header that asks for an answer.

        Raises:
            RequestError: the template refuses these messages (roles out of order, no system role, …), or leaves out
                tool calls or what tools gave.
        """
        return self.write(self._taken(messages), generation=generation)

    def write(self, messages: Sequence[Message], *, generation: bool = False) -> str:
        """As `render`, of messages in the very form that the template takes.

        Raises:
            RequestError: the template refuses these messages.
        """
        try:
            text: str = self.tokenizer.apply_chat_template(
                [self._as_read(message) for message in messages],
                chat_template=self.source,
                tokenize=False,
                add_generation_prompt=generation,
                **{**self.variables, "strftime_now": self.today.strftime},
            )
        except Exception as error:  # a template is a program, and raises anything
            roles = ", ".join(str(message.get("role")) for message in messages)
            told = " ".join(str(error).split())[:300] or type(error).__name__
            raise RequestError(f"the chat template refuses a conversation of {roles}: {told}") from error
        return text

    def _taken(self, messages: Sequence[Message]) -> Sequence[Message]:
        """The messages with tool calls in the form that the template takes.

        Raises:
            RequestError: the template would leave out a part of them.
        """
        if not any(message.get("tool_calls") for message in messages):
            return messages
        form = self.tool_calls
        if form.unanswered and any(message["role"] == "tool" for message in messages):
            raise RequestError(form.unanswered)
        return [
            form.taken(message, number) if message.get("tool_calls") else message
            for number, message in enumerate(messages, 1)
        ]

    @cached_property
    def tool_calls(self) -> ToolCallForm:
        """How the template writes tool calls, whichever are on offer: derived once for all `tools`.

        Raises:
            RequestError: it writes none, or none that can be read back.
        """
        others = {name: value for name, value in self.variables.items() if name != "tools"}
        key = json.dumps([others, self.tags], sort_keys=True, default=repr)
        if key not in self._forms:
            try:
                self._forms[key] = tool_call_form(replace(self, variables=others))
            except RequestError as error:
                self._forms[key] = str(error)
        form = self._forms[key]
        if isinstance(form, str):
            raise RequestError(form)
        return form.offering(self.variables.get("tools") or ())

    def _as_read(self, message: Message) -> Message:
        """A message with its thoughts where the template looks for them."""
        if "reasoning_content" not in message:
            return message
        thoughts = message["reasoning_content"]
        if self._thought_fields:
            return message | dict.fromkeys(self._thought_fields, thoughts)
        if self.tags is None:
            return message
        opener, closer = self.tags
        return {**message, "content": f"{opener}{thoughts}{closer}{message['content'] or ''}"}

    def refuse_endless(self) -> None:
        """Try the template where it can be stopped, before it is first used.

        Raises:
            RequestError: it does not end, or takes too much memory.
        """
        refuse_endless(lambda messages, generation: self.render(messages, generation=generation))

    def segments(self, *roles: str, generation: bool = False) -> list[str]:
        """What the template writes before, between and after contents of these roles: `len(roles) + 1` texts.

        Raises:
            RequestError: the template refuses the roles, or does not write each content once and in order.
        """
        return self.between([{"role": role, "content": ""} for role in roles], generation=generation)

    def between(self, messages: Sequence[Message], *, generation: bool = False) -> list[str]:
        """What the template writes before, between and after the contents of a conversation, whatever they are.

        Raises:
            RequestError: as for `segments`.
        """
        marks = [_MARK.format(number, number) for number in range(len(messages))]
        marked = [{**message, "content": mark} for message, mark in zip(messages, marks, strict=True)]
        rest, texts = self.render(marked, generation=generation), []
        for message, mark in zip(messages, marks, strict=True):
            if rest.count(mark) != 1:
                raise RequestError(
                    f"the chat template does not write the text of the {message['role']} turn exactly once"
                )
            before, rest = rest.split(mark)
            texts.append(before)
        return [*texts, rest]

    def around(self, messages: Sequence[Message], index: int) -> tuple[str, str]:
        """The rendered text before and after the content of message `index`, whatever that content is.

        Raises:
            RequestError: as for `segments`.
        """
        mark = _MARK.format("x", "x")
        marked = list(messages)
        marked[index] = {**marked[index], "content": mark}
        text = self.render(marked)
        if text.count(mark) != 1:
            raise RequestError(f"the chat template does not write the text of message {index + 1} exactly once")
        before, after = text.split(mark)
        return before, after

    def token_ids(self, text: str) -> list[int]:
        """Tokenise a rendered text; only what stands in it becomes a special token."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def pending(self, text: str, then: str = "") -> str:
        """The white space at the end of a prompt that its tokens must leave to the model.

        Where a prompt ends in a space (`[INST] `, `USER: `) the tokenizer joins that space to the first word
        after it. The tokens of the prompt without it are then the start of the tokens of every continuation, and
        a model that continues them writes the space itself. `then` is what the template puts between the prompt
        and what is drawn, if anything.

        Raises:
            UsageError: the tokenizer joins more than white space to what follows.
        """
        start = 0
        for last in self.find_added(text):
            start = last.start()
        text = text[start:]  # what stands before a token of its own has its tokens, whatever follows
        for end in range(len(text), len(text.rstrip()) - 1, -1):
            ids = self.token_ids(text[:end])
            if all(self.token_ids(text + then + opening)[: len(ids)] == ids for opening in _OPENINGS):
                return text[end:]
        raise UsageError(
            f"the tokenizer joins the end of the prompt {text[-20:]!r} to the word that follows it, so the prompt "
            "has no tokens of its own; give one that ends in white space or a special token: "
            "`prefix` TEXT `stop` TEXT"
        )

    @cached_property
    def text(self) -> str:
        """Its source; empty where the tokenizer has none."""
        if self.source is not None or not self.tokenizer.chat_template:
            return self.source or ""
        found: str = self.tokenizer.get_chat_template(tools=self.variables.get("tools"))
        return found

    @cached_property
    def _thought_fields(self) -> tuple[str, ...]:
        """The names under which it looks for the thoughts of a message."""
        return tuple(name for name in THOUGHT_FIELDS if re.search(rf"[.'\"]{name}\b", self.text))

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The variables that it reads and someone may set, in alphabetical order."""
        return variables_of(self.text)

    @cached_property
    def added(self) -> dict[str, int]:
        """Text and id of each token that the tokenizer finds before it splits words; blank ones left out.

        Some tokenizers add runs of spaces as tokens; those open and end nothing.
        """
        tokens = {token.content: number for number, token in self.tokenizer.added_tokens_decoder.items()}
        return {text: number for text, number in tokens.items() if text.strip()}

    @cached_property
    def special(self) -> frozenset[str]:
        """Those of `added` that the tokenizer marks as special: never part of what someone writes."""
        tokens = self.tokenizer.added_tokens_decoder.values()
        return frozenset(token.content for token in tokens if token.special and token.content.strip())

    def find_added(self, text: str) -> "Iterator[re.Match[str]]":
        """Where added tokens stand in a text, left to right, the longest first."""
        return self._added_pattern.finditer(text)

    @cached_property
    def _added_pattern(self) -> re.Pattern[str]:
        return any_of(self.added)


def variables_of(source: str) -> tuple[str, ...]:
    """The variables of a template that are set from outside: it never sets them, or asks whether they are there."""
    from jinja2 import Environment, TemplateError, nodes
    from jinja2.meta import find_undeclared_variables

    plain = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", source)  # a tag of transformers' own
    try:
        tree = Environment(autoescape=True, extensions=["jinja2.ext.loopcontrols"]).parse(plain)
        found = find_undeclared_variables(tree)
    except (TemplateError, RecursionError):
        return ()
    set_inside = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    asked = {
        node.node.name
        for node in tree.find_all((nodes.Test, nodes.Filter))
        if node.name in ("defined", "undefined", "default", "d") and isinstance(node.node, nodes.Name)
    }
    return tuple(sorted(found - (set_inside - asked - {"tools"}) - _ALWAYS_GIVEN))


def common_start(first: str, second: str) -> str:
    """The longest text with which both begin."""
    length = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        length += 1
    return first[:length]


def any_of(texts: Collection[str]) -> re.Pattern[str]:
    """A pattern that finds any of these texts, the longest where several begin at one place."""
    longest_first = sorted(texts, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)) or r"(?!)")


@dataclass(frozen=True)
class Turns:
    """A template's own text around a question and its answer, as found by rendering marks.

    A conversation reads `prefix` question `between` answer `second` question … answer `last`.
    """

    prefix: str
    """Before a first question, with the template's default system turn."""
    between: str
    """Between a question and its answer, in a conversation that goes on."""
    opened: str
    """After a question, when an answer is asked for: the template's generation prompt, else `between`."""
    second: str | None
    """Between an answer and the next question; None where the template takes one turn only."""
    last: str
    """After an answer that ends the conversation."""
    system: tuple[str, str] | None
    """Before and after a system message in front of a question; None where the template takes none."""
    prompts: bool
    """Whether a conversation that ends in a question is the prompt for its answer: with the template's header for an
    answer to come (`add_generation_prompt`), or without one where answers have none."""

    @property
    def header(self) -> str:
        """What ends a question and opens its answer, as far as it does not depend on the answer."""
        return common_start(self.between, self.opened)

    @property
    def written(self) -> str:
        """What may stand between `header` and the answer: words that a model writes itself (`<think>`, …)."""
        return self.between[len(self.header) :] + self.opened[len(self.header) :]

    @property
    def unasked(self) -> str:
        """What stands in `between` after all of `opened`, if anything: the model writes it before its answer."""
        return self.between[len(self.opened) :] if self.between.startswith(self.opened) else ""

    @property
    def default_system(self) -> str | None:
        """The system message that the template writes where none is given, if it has one."""
        if self.system is None:
            return None
        before, after = self.system
        inside = self.prefix[len(before) : len(self.prefix) - len(after)]
        return (inside or None) if self.prefix == before + inside + after else None


def find_turns(template: Template) -> Turns:
    """Find the template's own text around contents, by rendering marks in their place.

    Raises:
        RequestError: the template does not end, refuses a question with an answer, or does not write both exactly once.
    """
    template.refuse_endless()
    prefix, closed = template.segments("user")
    opened = template.segments("user", generation=True)[1]
    _, between, last = template.segments("user", "assistant")
    second = None
    with suppress(RequestError):  # A refusal says that the template takes one turn only.
        # `between` of an answer that is not the last one: there, templates leave `<think>` blocks out.
        _, between, second, _ = template.segments("user", "assistant", "user")
    system = None
    with suppress(RequestError):  # A refusal says that it takes no system message.
        before, after, _ = template.segments("system", "user")
        system = before, after
    # Without a header for an answer to come, an answer may follow a question's end directly, which says it all.
    prompts = opened != closed or closed.strip() == between.strip()
    return Turns(prefix, between, opened if prompts else between, second, last, system, prompts)


def turn_end(template: Template, text: str) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """What ends a turn, read from the text that follows its content: a token id, or a stop string.

    The id is that of an added token which stands first, white space aside. Otherwise the stop string is the first
    line of text (`[/INST]`, `ASSISTANT:`), or, where only white space follows, that white space.
    """
    token = next(template.find_added(text), None)
    lead = text[: token.start()] if token else text
    if lead.strip():
        return (), (lead.strip().splitlines()[0].rstrip(),)
    if token:
        return (template.added[token.group()],), ()
    return (), ((text,) if text else ())
