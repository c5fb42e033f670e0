"""What a model is fed as a chat: the one place that turns messages into token ids.

`format_for(model)` derives from the tokenizer's chat template, without a table of model families, what stands
before a question, what ends a question and an answer, the prompt for an answer, and which tokens of a conversation
are the assistant's. Magpie (arXiv 2406.08464) samples questions from exactly that text before a user
turn; its table of prefixes per family is what rendering the template gives.

Exactness: every prompt is the start of the tokens of the whole conversation, tokenised in one piece. A drawn text
is put back through the template (`answer_prompt`, `encode`); drawn ids are never glued to a prompt's.
"""

import asyncio
import copy
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from synth.chat.spans import Encoded
from synth.chat.spans import encode as encode_spans
from synth.chat.template import Template, Turns, any_of, find_turns, turn_end
from synth.data.row import Message
from synth.engines.base import Tokenizer
from synth.engines.loading import load_end_ids, load_tokenizer
from synth.errors import RequestError, UsageError

__all__ = ["AnswerStart", "ChatFormat", "Encoded", "Prompt", "chat_format", "format_for"]

_GIVE = "give the text before and after a question yourself: `prefix` TEXT `stop` TEXT"

# For a model without a template. BOS is part of `prefix`.
_ONE_TURN = """\
{%- if messages | length > 2 or messages[0].role != 'user' -%}
    {{- raise_exception('with `prefix` and `stop` a conversation is one question and one answer') -}}
{%- endif -%}
{{- prefix + messages[0].content + stop -}}
{%- if messages | length == 2 %}{{ messages[1].content + end }}{% endif -%}"""


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


@dataclass(frozen=True, slots=True)
class AnswerStart:
    """An answer's prompt with the start of the answer: `text` is what `ids` hold of the answer."""

    ids: list[int]
    text: str


@dataclass(frozen=True)
class ChatFormat:
    """How one model's conversations are written; made by `chat_format`.

    `stop_ids` and `stop` end a user turn (a sampled question ends there), `answer_stop_ids` and `answer_stop` an
    assistant turn. `end_ids` are those of `answer_stop_ids` that belong to the answer and are trained on; the
    others open another turn. `prefix` replaces what the template writes before a first question.
    """

    tokenizer: Tokenizer
    stop_ids: tuple[int, ...]
    stop: tuple[str, ...]
    answer_stop_ids: tuple[int, ...]
    answer_stop: tuple[str, ...]
    end_ids: tuple[int, ...]
    template: Template
    turns: Turns
    prefix: str | None = None

    def __post_init__(self) -> None:
        """Find the prompts once, so that a tokenizer that has none is refused before any work.

        Raises:
            UsageError: the tokenizer joins a prompt to the text that follows it.
        """
        self.user_prompt()
        _ = self._answer_pending, self._second_pending

    def user_prompt(self, messages: Sequence[Message] = ()) -> Prompt:
        """What precedes the next user message.

        `messages` are nothing (the template's default system turn is kept), a system message, or finished turns.

        Raises:
            UsageError: the template takes no system message, or no second turn.
            RequestError: a finished turn cannot be written (it holds a control token, …).
        """
        if messages and messages[-1]["role"] == "assistant":
            return self._prompt(self._before_user(messages), self._second_pending)
        opening = tuple((message["role"], message["content"]) for message in messages)
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

    def answer_starts(self, messages: Sequence[Message], drawn: str, ends: Sequence[int]) -> list[AnswerStart]:
        """Prompts that let the model go on from places within an answer.

        The prompt and the answer are tokenised in one piece and cut between two tokens, so that each prompt is the
        start of the tokens of the whole. A token that reaches over a place into the words after it is left out: the
        model draws it.

        Args:
            messages: what is answered.
            drawn: the answer as it follows `asked_text`, with the white space that was drawn before it.
            ends: the places, as characters of `drawn`.

        Raises:
            RequestError: as for `answer_prompt`.
        """
        prompt = self.asked_text(messages)
        text = prompt + drawn
        tokens = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids: list[int] = tokens["input_ids"]
        offsets: list[tuple[int, int]] = tokens["offset_mapping"]
        begins = [begin for begin, _ in offsets]
        starts = []
        for end in ends:
            edge = len(prompt) + end
            count = bisect_left(begins, edge)
            while count and text[edge : offsets[count - 1][1]].strip():
                count -= 1
            starts.append(AnswerStart(ids[:count], text[len(prompt) : offsets[count - 1][1]] if count else ""))
        return starts

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

        A long one is tokenised in a thread of its own, by a tokenizer of its own: fast tokenizers cannot be shared
        by threads ("Already borrowed").

        Raises:
            RequestError: as for `make`.
        """
        if sum(len(message["content"]) for message in messages) < LONG:
            return make(self, messages)
        thread, twin = self._beside
        return await asyncio.get_running_loop().run_in_executor(thread, make, twin, messages)

    def template_debris(self, text: str) -> str | None:
        """The first control token or role marker in a drawn text, None where it is clean.

        Role markers are the template's own words around contents: signs such as `[/INST]` or `### Response:`
        anywhere, words such as `ASSISTANT:` at the start of a line, bare words such as `assistant` on a line of
        their own.
        """
        debris = self._debris.search(text)
        return debris.group().strip() if debris else None

    def _check(self, messages: Sequence[Message]) -> None:
        """Refuse what the template would drop or what would become control tokens in silence."""
        for number, message in enumerate(messages, 1):
            if message["role"] == "system" and self.turns.system is None:
                raise RequestError("this model's chat template takes no system message; put it into the question")
            if token := self._control.search(message["content"]):
                raise RequestError(
                    f"message {number} ({message['role']}) holds {token.group()!r}, a control token of this model; "
                    "as plain text it would end or open a turn"
                )

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
    def _debris(self) -> re.Pattern[str]:
        turns = self.turns
        before = turns.system or turns.prefix.splitlines()[-1:]
        own = [*before, turns.header, turns.second or "", turns.last]
        lines = {line.strip() for text in own for line in self._control.sub("\n", text).splitlines()}
        signs = {word for line in lines for word in line.split() if not (word[0].isalnum() or word[-1].isalnum())}
        patterns = [_marker(marker) for marker in sorted(lines | signs) if re.search(r"\w", marker)]
        return re.compile("|".join([self._control.pattern, *patterns]), re.MULTILINE)

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


def _marker(words: str) -> str:
    """A pattern that finds words of a template where they are not ordinary ones."""
    if not words[0].isalnum():
        return re.escape(words)
    if words[-1].isalnum():
        return rf"^[ \t]*{re.escape(words)}[ \t]*$"
    return rf"^[ \t]*{re.escape(words)}"


def chat_format(
    tokenizer: Tokenizer, *, generation_eos: Sequence[int] = (), prefix: str | None = None, stop: str | None = None
) -> ChatFormat:
    """Derive a chat format from a tokenizer's chat template.

    `generation_eos` are the end-of-sequence ids of the model's generation config. With a template, `prefix`
    replaces the text before a first question and `stop` the text that ends a question. Without one (a base model),
    or where nothing can be derived from it, both are needed: a conversation is then `prefix`, question, `stop`,
    answer, end of sequence. A beginning-of-sequence token is put before `prefix` where the tokenizer adds one to
    plain text.

    Raises:
        UsageError: no template, or none that a prompt can be derived from, and no `prefix` and `stop` instead.
    """
    if not tokenizer.is_fast:
        raise UsageError("this tokenizer is a slow one (no tokenizer.json), so characters cannot be mapped to tokens")
    if stop == "":
        raise UsageError("`stop` is empty; give the text that ends a question")
    opening = _with_bos(tokenizer, prefix) if prefix else None
    template, turns = _derive(tokenizer, opening, stop)
    plain = template.source is not None
    eos = [number for number in (tokenizer.eos_token_id, *generation_eos) if number is not None]

    stop_ids, stop_texts = turn_end(template, turns.header or turns.between)
    if stop is not None:
        stop_ids, _ = turn_end(template, stop)
        stop_texts = () if stop_ids else (stop.rstrip() or stop,)
    if not (stop_ids or stop_texts):
        raise UsageError(f"the chat template writes nothing between a question and its answer; {_GIVE}")
    structure = [turns.prefix, turns.header, turns.second or "", turns.last, *(turns.system or ())]

    own_ids, answer_texts = turn_end(template, turns.last if turns.second is None else turns.second)
    if plain:  # A base model goes on with a question of its own.
        answer_texts = tuple((prefix or "").strip().splitlines()[-1:])
    end_ids = _unique([*own_ids, *turn_end(template, turns.last)[0], *eos])
    if not (end_ids or answer_texts):
        raise UsageError("nothing ends an answer: the tokenizer has no end-of-sequence token and the template no end")
    written = _added_in(template, turns.written)
    openers = [number for number in _added_in(template, turns.header, turns.second or "") if number not in written]
    return ChatFormat(
        tokenizer=tokenizer,
        stop_ids=_unique([*stop_ids, *eos, *_added_in(template, *structure)]),
        stop=stop_texts,
        answer_stop_ids=_unique([*end_ids, *openers]),
        answer_stop=answer_texts,
        end_ids=end_ids,
        template=template,
        turns=turns,
        prefix=None if plain else opening,
    )


def _derive(tokenizer: Tokenizer, prefix: str | None, stop: str | None) -> tuple[Template, Turns]:
    """The tokenizer's template and its turns; the one-turn form of `prefix` and `stop` where there is no other."""
    if tokenizer.chat_template:
        template = Template(tokenizer)
        try:
            turns = find_turns(template)
            if turns.prefix:
                return template, turns
            fault = "it writes nothing before a question"
        except RequestError as error:
            fault = str(error)
        fault = f"no prompt can be derived from this model's chat template ({fault})"
    else:
        fault = "this model's tokenizer has no chat template (a base model?)"
    if not prefix or stop is None:
        raise UsageError(f"{fault}; {_GIVE}")
    template = Template(tokenizer, _ONE_TURN, {"prefix": prefix, "stop": stop, "end": tokenizer.eos_token or ""})
    return template, find_turns(template)


def _with_bos(tokenizer: Tokenizer, prefix: str) -> str:
    """`prefix` with the beginning-of-sequence token that the tokenizer puts before plain text, once."""
    bos = tokenizer.bos_token
    adds = bos is not None and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id
    return bos + prefix if adds and not prefix.startswith(bos) else prefix


def _added_in(template: Template, *texts: str) -> list[int]:
    return [template.added[token.group()] for text in texts for token in template.find_added(text)]


def _unique(ids: Iterable[int]) -> tuple[int, ...]:
    return tuple(dict.fromkeys(ids))


def format_for(model: str, *, prefix: str | None = None, stop: str | None = None) -> ChatFormat:
    """The chat format of a model (directory or Hub id), with every end that its generation config names.

    Raises:
        UsageError: as for `load_tokenizer` and `chat_format`.
    """
    tokenizer = load_tokenizer(model)
    return chat_format(tokenizer, generation_eos=load_end_ids(model), prefix=prefix, stop=stop)


def format_for_texts(model: str, *, prefix: str | None = None, stop: str | None = None) -> ChatFormat:
    """A model's chat format where no conversation is ever written: of a base model, which has none, any will do.

    Raises:
        UsageError: the tokenizer cannot be read, or `prefix` and `stop` cannot be used.
    """
    try:
        return format_for(model, prefix=prefix, stop=stop)
    except UsageError:
        if prefix is not None:
            raise
        return format_for(model, prefix="Text: ", stop="\n")
