"""What a model is fed as a chat: the one place that turns messages into token ids.

A `ChatFormat` (`synth.chat.derive` makes it) knows what stands before a question, what ends a question and an answer,
the prompt for an answer, how an answer with thoughts and calls of tools is taken apart, and which tokens of a
conversation are the assistant's. Magpie (arXiv 2406.08464) samples questions from exactly that text before a user
turn; its table of prefixes per family is what rendering the template gives.

Exactness: every prompt is the start of the tokens of the whole conversation, tokenised in one piece. What a model drew
is trained on as it was drawn, after the prompt that it was drawn from: `examples` of the message that `parse` makes of
it are the prompt's tokens and the drawn ones.
"""

import asyncio
import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

from filters.functions import Functions, read_functions
from synth.chat.debris import debris_pattern
from synth.chat.examples import Example, RewrittenError, as_rendered, by_turn, last_turn, prompts_stand, verbatim
from synth.chat.spans import Encoded
from synth.chat.spans import encode as encode_spans
from synth.chat.template import Template, Turns, any_of, turn_end
from synth.chat.thinking import Mode, Thinking
from synth.chat.turn import Begun, Turn, plain_turns, take_apart
from synth.data.row import Message
from synth.engines.base import Tokenizer
from synth.errors import RequestError, UsageError

__all__ = ["ChatFormat", "Encoded", "Example", "Prompt", "Turn"]

VARIANTS = 1000
"""Formats with template arguments of their own that are kept."""

LONG = 50_000
"""Characters of a conversation that is not tokenised on the event loop: a word of so many takes a tenth of a second."""

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What precedes the next user message.

    `text` is exact. `ids` stand for `text` without `pending`, the white space at its end that the tokenizer joins
    to the first word of the message: the model draws it with that word.
    """

    text: str
    ids: tuple[int, ...]
    pending: str = ""


@dataclass(frozen=True)
class ChatFormat:
    """How one model's conversations are written; made by `chat_format`.

    `stop_ids` and `stop` end a user turn (a sampled question ends there), `answer_stop_ids` and `answer_stop` an
    assistant turn. `end_ids` are those of `answer_stop_ids` that belong to the answer and are trained on; the
    others open another turn. `prefix` replaces what the template writes before a first question.

    `thinking` says how the template writes thoughts, `begun` what of an answer its prompt has begun. `modes` are the
    template arguments with which the model thinks and those with which it does not, where the template has a choice.
    `derived` makes this format anew for other template arguments. `fixed` formats have the template arguments that
    conversations were drawn with; others take those of the mode that a turn shows.
    """

    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    stop: tuple[str, ...]
    answer_stop_ids: tuple[int, ...]
    answer_stop: tuple[str, ...]
    end_ids: tuple[int, ...]
    template: Template
    turns: Turns
    thinking: Thinking
    begun: Begun
    modes: Mapping[Mode, Mapping[str, Any]]
    derived: Callable[[Mapping[str, Any]], "ChatFormat"]
    prefix: str | None = None
    fixed: bool = False

    def __post_init__(self) -> None:
        """Find the prompts once, so that a tokenizer that has none is refused before any work.

        Raises:
            UsageError: the tokenizer joins a prompt to the text that follows it.
        """
        self.user_prompt()
        _ = self._answer_pending, self._second_pending

    def with_args(self, args: Mapping[str, Any]) -> "ChatFormat":
        """The same model's format with these template arguments, which conversations were drawn with.

        Args:
            args: variables that the chat template reads, by name; `tools` among them. They join those given before.

        Raises:
            UsageError: the template does not read such a variable, or refuses its value.
        """
        key = json.dumps(args, sort_keys=True, default=repr)
        if key not in self._variants:
            if len(self._variants) >= VARIANTS:  # rows that each bring tools of their own
                self._variants.clear()
            made = self.derived({**self.template.variables, **args}) if args else self
            self._variants[key] = replace(made, fixed=True, modes=self.modes or made.modes)
        return self._variants[key]

    def with_tools(self, tools: Sequence[Mapping[str, Any]]) -> "ChatFormat":
        """The same format where these tools are offered: function schemas, as the chat template's `tools`.

        Raises:
            RequestError: the chat template takes no tools, or writes no calls that can be read back.
        """
        if "tools" not in self.template.reads:
            raise RequestError("this model's chat template takes no tools")
        template = self.template.with_variables({"tools": list(tools)})
        ends = [template.added[token.group()] for token in template.find_added(template.tool_calls.end)][:1]
        return replace(
            self,
            template=template,
            end_ids=tuple(dict.fromkeys([*self.end_ids, *ends])),
            answer_stop_ids=tuple(dict.fromkeys([*self.answer_stop_ids, *ends])),
        )

    @cached_property
    def functions(self) -> Functions | None:
        """The functions on offer, whose schemas calls are held against; None where none are.

        Raises:
            RequestError: one of them cannot be read.
        """
        try:
            return read_functions(self.template.variables["tools"]) if "tools" in self.template.variables else None
        except ValueError as error:
            raise RequestError(f"the tools on offer cannot be read: {error}") from error

    def in_mode(self, mode: Mode) -> "ChatFormat":
        """The format in which a model thinks, or in which it does not.

        Raises:
            UsageError: the chat template has no such mode.
        """
        if mode not in self.modes:
            known = f"only {', '.join(self.modes)}" if self.modes else "no modes"
            raise UsageError(
                f"`mode` {mode}: this model's chat template has {known}; if a variable of it switches, name it with "
                f"`template_arg` (it reads: {', '.join(self.template.reads) or 'none'})"
            )
        return self.with_args(self.modes[mode])

    def parse(self, text: str, *, calls: bool = False) -> Turn:
        """What a drawn answer says: its thoughts, its content and its calls of tools.

        Args:
            text: as drawn after `answer_prompt`, without the token that ended it.
            calls: whether it may call tools although none are on offer (`with_tools`).
        """
        may_call = calls or "tools" in self.template.variables
        return take_apart(text, self.thinking, self.begun, self.template.tool_calls.parse if may_call else None)

    def examples(
        self, messages: Sequence[Message], drawn: Sequence[Sequence[int] | None] | None = None
    ) -> tuple[list[Example], dict[int, str]]:
        """A conversation as what is trained on: every assistant turn after the very prompt that it answers.

        One example where all turns stand in one text as they were drawn; else, as for templates that cut the thoughts
        of earlier turns, one for each turn (or for several in a row that do stand in one text).

        Args:
            messages: the conversation; turns after the last answer are left out.
            drawn: token ids of the assistant turns as drawn, with the token that ends each; None where the text alone
                says them. They are used where they say what the message says.

        Returns:
            The examples in the order of their turns, and for the turns that cannot be written as they stand, by index:
            why.

        Raises:
            RequestError: the template refuses the conversation, leaves out a question, or a message holds a control
                token.
        """
        if self._in_one_text(messages) and not any(drawn or ()):
            encoded = self.encode(messages)
            turns = [index for index, message in enumerate(messages) if message["role"] == "assistant"]
            return [Example(encoded, turns)], encoded.rewritten
        messages = [self._in_parts(message) for message in messages]
        self._check(messages)
        return by_turn(self, messages, drawn)

    def last_answer(self, messages: Sequence[Message], drawn: Sequence[int] | None = None) -> Encoded:
        """The answer that a conversation ends in, after its prompt: of `examples` its alone; `drawn` are its tokens.

        Raises:
            RequestError: the template refuses the conversation, or does not write the answer as it stands; or a message
                holds a control token.
        """
        try:
            if self._in_one_text(messages) and not drawn:
                return as_rendered(self, messages)
            messages = [self._in_parts(message) for message in messages]
            self._check(messages)
            return last_turn(self.for_turn(messages[-1]), messages, drawn)
        except RewrittenError as error:
            raise RequestError(f"the chat template does not write the answer as it stands: {error}") from error

    def _in_one_text(self, messages: Sequence[Message]) -> bool:
        """Whether the text of a conversation is what all of its turns were drawn in."""
        return not self.thinking.own and plain_turns(messages) and self._prompts_stand

    def _in_parts(self, message: Message) -> Message:
        """A message whose content begins with thoughts between this model's markers, with the thoughts apart.

        Empty thoughts that were written stay such, unlike those that the template writes where there are none.
        """
        if message["role"] != "assistant" or "reasoning_content" in message or not self.thinking.own:
            return message
        turn = take_apart(message["content"], self.thinking, None)
        if turn.reasoning is None or turn.fault:
            return message
        return message | turn.message() | {"reasoning_content": turn.reasoning}

    def for_turn(self, message: Message, *, anew: bool = False) -> "ChatFormat":
        """The format that an assistant turn was written in, as far as the turn shows: with thoughts or without.

        A format that is fixed is the one, unless the turn was written `anew`.
        """
        mode: Mode = "thinking" if "reasoning_content" in message else "plain"
        return self if (self.fixed and not anew) or mode not in self.modes else self.in_mode(mode)

    def user_prompt(self, messages: Sequence[Message] = ()) -> Prompt:
        """What precedes the next user message.

        `messages` are nothing (the template's default system turn is kept), a system message, or finished turns.

        Raises:
            UsageError: the template takes no system message, or no second turn.
            RequestError: a finished turn cannot be written (it holds a control token, …).
        """
        if messages and messages[-1]["role"] == "assistant":
            return self._prompt(self._before_user(messages), self._second_pending)
        opening = tuple((str(message["role"]), str(message["content"])) for message in messages)
        if opening not in self._openings:
            text = self._before_user(messages)
            self._openings[opening] = self._prompt(text, self.template.pending(text))
        return self._openings[opening]

    def _before_user(self, messages: Sequence[Message]) -> str:
        if self.prefix is not None and not messages:
            return self.prefix
        try:
            self._check(messages)
            return self.template.around([*messages, {"role": "user", "content": ""}], len(messages))[0]
        except RequestError as error:
            if self.turns.second is not None and any(message["role"] == "assistant" for message in messages):
                raise
            raise UsageError(str(error)) from error

    def _prompt(self, text: str, pending: str) -> Prompt:
        return Prompt(text, tuple(self.template.token_ids(text.removesuffix(pending))), pending)

    def answer_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Token ids that ask for the answer to a conversation that ends in a user turn.

        Raises:
            RequestError: the template refuses the messages, or one of them holds a control token.
        """
        return self.template.token_ids(self.asked_text(messages))

    def asked_text(self, messages: Sequence[Message]) -> str:
        """The text that the tokens of `answer_prompt` stand for: what is drawn follows it directly.

        Raises:
            RequestError: as for `answer_prompt`.
        """
        return self.answer_text(messages).removesuffix(self._answer_pending)

    def answer_text(self, messages: Sequence[Message]) -> str:
        """The text of `answer_prompt`, with the white space at its end that the model draws itself, if any.

        Raises:
            RequestError: as for `answer_prompt`.
        """
        self._check(messages)
        if self.turns.prompts:
            return self.template.render(messages, generation=True)
        return self.template.around([*messages, {"role": "assistant", "content": ""}], len(messages))[0]

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """The whole conversation as text and token ids, and the tokens that each assistant turn covers.

        A turn covers what the model draws after the answer's prompt: the content (with the space before it, where
        the template writes one) and the token that ends it, not what the template writes after the end. A
        conversation may end in a user turn.

        Raises:
            RequestError: the template refuses the messages, or one of them holds a control token.
        """
        self._check(messages)
        return encode_spans(self.template, self.turns, messages, self.end_ids, self._lead)

    async def aside(self, make: Callable[["ChatFormat", Sequence[Message]], Made], messages: Sequence[Message]) -> Made:
        """What `make` (`answer_prompt`, `encode`) makes of a conversation, without holding up the event loop.

        A long one has a thread and a tokenizer of its own: threads cannot share fast tokenizers ("Already borrowed").

        Raises:
            RequestError: as for `make`.
        """
        if sum(len(message["content"]) for message in messages) < LONG:
            return make(self, messages)
        thread, twin = self._beside
        return await asyncio.get_running_loop().run_in_executor(thread, make, twin, messages)

    def template_debris(self, text: str) -> str | None:
        """The first control token or role marker in a drawn text, None where it is clean."""
        debris = self._debris.search(text)
        return debris.group().strip() if debris else None

    def _check(self, messages: Sequence[Message]) -> None:
        """Refuse what the template would drop or what would become control tokens in silence."""
        for number, message in enumerate(messages, 1):
            if message["role"] == "system" and self.turns.system is None:
                raise RequestError("this model's chat template takes no system message; put it into the question")
            pattern = self._control if message["role"] == "assistant" else self._structural
            for part in ("content", "reasoning_content"):
                if (text := message.get(part)) and (token := pattern.search(text)):
                    raise RequestError(
                        f"message {number} ({message['role']}) holds {token.group()!r}, a control token of this model; "
                        "as plain text it would end or open a turn"
                    )

    @cached_property
    def written_end(self) -> int | None:
        """The token that the template writes after a last answer."""
        return next(iter(turn_end(self.template, self.turns.last)[0]), None)

    @cached_property
    def _prompts_stand(self) -> bool:
        return prompts_stand(self)

    @cached_property
    def verbatim(self) -> bool:
        """Whether the template writes answers as they stand, line breaks and runs of spaces included."""
        return verbatim(self)

    @cached_property
    def _beside(self) -> tuple[ThreadPoolExecutor, "ChatFormat"]:
        """One thread, and the chat format that is used there."""
        return ThreadPoolExecutor(1, "long-texts"), copy.deepcopy(self)

    @cached_property
    def _control_tokens(self) -> frozenset[str]:
        stops = {*self.stop_ids, *self.answer_stop_ids}
        structural = {text for text, number in self.template.added.items() if number in stops}
        return self.template.special | structural

    @cached_property
    def _control(self) -> re.Pattern[str]:
        return any_of(self._control_tokens)

    @cached_property
    def _structural(self) -> re.Pattern[str]:
        """Control tokens beside those of thoughts, which a question may name: they end and open no turn."""
        if not self.thinking.own or self.thinking.between:
            return self._control
        of_thoughts = {token.group() for text in self.thinking.texts for token in self.template.find_added(text)}
        return any_of(self._control_tokens - of_thoughts)

    @cached_property
    def _variants(self) -> dict[str, "ChatFormat"]:
        """Formats with other template arguments, by these."""
        return {}

    @cached_property
    def _debris(self) -> re.Pattern[str]:
        return debris_pattern(self.turns, self._control)

    @cached_property
    def _openings(self) -> dict[tuple[tuple[str, str], ...], Prompt]:
        """Prompts for first questions by what precedes them: a run asks for the same few again and again."""
        return {}

    @cached_property
    def _answer_pending(self) -> str:
        return self.template.pending(self.answer_text([{"role": "user", "content": "Why?"}]), self.turns.unasked)

    @cached_property
    def _lead(self) -> str:
        """White space between an answer's prompt and the answer."""
        return self._answer_pending + (self.turns.unasked if self.turns.unasked.isspace() else "")

    @cached_property
    def _second_pending(self) -> str:
        return self.template.pending(self.turns.second or "")
