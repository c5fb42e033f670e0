"""What is derived from a model's chat template, in one object: prompts, ends of turns, an example with its tokens."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from synth.chat.format import ChatFormat
from synth.chat.thinking import Mode
from synth.data.row import Message

_EXAMPLE: Sequence[Message] = (
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "It is 4."},
    {"role": "user", "content": "And 3 + 3?"},
    {"role": "assistant", "content": "It is 6."},
)


@dataclass(frozen=True, slots=True)
class ExampleToken:
    """One token: its id, the text it stands for, and whether it is trained on."""

    id: int
    text: str
    trained: bool


@dataclass(frozen=True, slots=True)
class Example:
    """A conversation as it is written; `spans` are the (start, end) tokens of each assistant turn."""

    messages: list[Message]
    text: str
    tokens: list[ExampleToken]
    spans: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class SystemRole:
    """Whether the template takes a system message, and the one that it writes by default."""

    taken: bool
    default: str | None


@dataclass(frozen=True, slots=True)
class ThinkingMarkers:
    """What stands before and after an assistant's thoughts, and before a content that has none."""

    opener: str
    closer: str
    plain: str


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """What a model is fed, as derived from its chat template.

    Attributes:
        model: as given.
        prefix: the text before a question.
        prefix_ids: its token ids.
        pending: white space at the end of `prefix` that is not in `prefix_ids`: the tokenizer joins it to the first
            word, so the model draws it.
        stop: texts that end a question.
        stop_ids: those of them that are tokens.
        answer_prompt: the text between a question and its answer.
        answer_stop: texts that end an answer.
        answer_stop_ids: those of them that are tokens.
        second_prefix: the text between an answer and the next question; None where there is one turn only.
        system: the system role.
        variables: what else the template reads: its arguments.
        thinking: how it writes thoughts; None where neither it nor the tokenizer knows any.
        modes: the arguments with which the model thinks and those with which it does not.
        example: a conversation, and which of its tokens are trained on.
    """

    model: str
    prefix: str
    prefix_ids: list[int]
    pending: str
    stop: list[str]
    stop_ids: list[int]
    answer_prompt: str
    answer_stop: list[str]
    answer_stop_ids: list[int]
    second_prefix: str | None
    system: SystemRole
    variables: list[str]
    thinking: ThinkingMarkers | None
    modes: dict[Mode, dict[str, Any]]
    example: Example

    def record(self) -> dict[str, Any]:
        """The same as JSON values; the example is called `spans`."""
        values = asdict(self)
        return values | {"spans": values.pop("example")}


def summarise(model: str, chat: ChatFormat, system: str | None = None) -> ChatTemplate:
    """Sum up a chat format.

    Args:
        model: the model's name.
        chat: how it is talked to.
        system: a system message before the question and in the example; None leaves the template's own.

    Raises:
        UsageError: the template takes no system message.
    """
    opening: list[Message] = [] if system is None else [{"role": "system", "content": system}]
    prompt = chat.user_prompt(opening)
    return ChatTemplate(
        model=model,
        prefix=prompt.text,
        prefix_ids=list(prompt.ids),
        pending=prompt.pending,
        stop=[*chat.stop, *_texts(chat, chat.stop_ids)],
        stop_ids=list(chat.stop_ids),
        answer_prompt=chat.turns.opened,
        answer_stop=[*chat.answer_stop, *_texts(chat, chat.answer_stop_ids)],
        answer_stop_ids=list(chat.answer_stop_ids),
        second_prefix=chat.turns.second,
        system=SystemRole(chat.turns.system is not None, chat.turns.default_system),
        variables=list(chat.template.reads),
        thinking=ThinkingMarkers(*chat.thinking.texts) if chat.thinking.own else None,
        modes={mode: dict(args) for mode, args in chat.modes.items()},
        example=_example(chat, [*opening, *_conversation(chat)]),
    )


def _conversation(chat: ChatFormat) -> Sequence[Message]:
    """Two turns where they stand in one text: one with thoughts, or one alone, where they may not."""
    if "thinking" in chat.modes:
        return [_EXAMPLE[0], _EXAMPLE[1] | {"reasoning_content": "Two and two make four."}]
    return _EXAMPLE[: 4 if chat.turns.second is not None else 2]


def _example(chat: ChatFormat, messages: list[Message]) -> Example:
    examples, _ = chat.examples(messages)
    encoded = examples[-1].encoded
    # A token's text reaches from the end of the one before it, so that together they are the whole text.
    ends = [0, *(end for _, end in encoded.offsets)]
    tokens = [
        ExampleToken(number, encoded.text[start:end], trained)
        for number, start, end, trained in zip(encoded.input_ids, ends[:-1], ends[1:], encoded.trained, strict=True)
    ]
    return Example(messages, encoded.text, tokens, encoded.spans)


def _texts(chat: ChatFormat, ids: tuple[int, ...]) -> list[str]:
    """The texts of token ids; a model's config may name ids that its tokenizer lacks."""
    texts = chat.tokenizer.convert_ids_to_tokens(ids)
    return [text or f"token {number}" for number, text in zip(ids, texts, strict=True)]
