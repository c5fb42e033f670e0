"""Which tokens of a conversation the assistant wrote, for any chat template.

Templates seldom carry `{% generation %}` marks, so an assistant turn is found by rendering the conversation with a
mark in place of its content: what is rendered alike before and after the mark is the template's, and what stands
between is the turn. The conversation is tokenised once, whole, and characters are mapped to tokens.

Templates also rewrite contents: they cut thoughts out of earlier answers (Qwen3, GLM-4.5) or of all (DeepSeek-R1),
trim, shorten or leave a turn out. What stands between is held against what was written, so that nobody trains on the
rest of a turn unawares (`Encoded.rewritten`). White space around a content is the template's to set, and so is that
beside the tokenizer's own words (GLM-4.5 writes `<think>Well.</think>` on one line, Qwen3 on three); any other
difference counts.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from synth.chat.template import Template, Turns, common_start
from synth.data.row import Message
from synth.errors import RequestError

QUOTED = 60
"""Characters of a message that are quoted where it is rewritten."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A conversation as text and tokens.

    `offsets` are the (start, end) characters of `text` that each token stands for. `spans` are the (start, end)
    tokens of each assistant turn: its content and the token that ends the turn, in the order of the turns. `rewritten`
    says of messages, by index, how what the template writes differs from what they hold; the others stand as written.
    """

    text: str
    input_ids: list[int]
    offsets: list[tuple[int, int]]
    spans: list[tuple[int, int]]
    rewritten: dict[int, str] = field(default_factory=dict)

    @property
    def trained(self) -> list[bool]:
        """For each token whether an assistant turn covers it; shape `[len(input_ids)]`."""
        flags = [False] * len(self.input_ids)
        for start, end in self.spans:
            flags[start:end] = [True] * (end - start)
        return flags


def encode(
    template: Template, turns: Turns, messages: Sequence[Message], end_ids: Collection[int], lead: str
) -> Encoded:
    """Tokenise a whole conversation and find its assistant turns.

    A turn is its content, a token of `end_ids` after it, and before it `lead`: the white space that the template
    writes there and an answer's prompt does not hold.

    Raises:
        RequestError: the template refuses the conversation, or rewrites it beyond recognition.
    """
    text = template.render(messages)
    tokens = template.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids: list[int] = tokens["input_ids"]
    offsets: list[tuple[int, int]] = tokens["offset_mapping"]
    rewritten: dict[int, str] = {}
    contents = _as_written(template, messages, text)
    if contents is None:
        contents, rewritten = _one_by_one(template, turns, messages, text)
    spans: list[tuple[int, int]] = []
    for message, content in zip(messages, contents, strict=True):
        if message["role"] == "assistant" and content is not None:
            start, end = content
            start -= len(lead) if text[:start].endswith(lead) else 0
            first = spans[-1][1] if spans else 0
            spans.append(token_span(text, ids, offsets, first, (start, end), end_ids))
    return Encoded(text, ids, offsets, spans, rewritten)


def _as_written(template: Template, messages: Sequence[Message], text: str) -> list[tuple[int, int] | None] | None:
    """The (start, end) characters of each content in `text`, where all stand there as they were written.

    None where not all do, where calls of tools stand beside one, or where the template will not have marks in place of
    all contents at once.
    """
    if any(message.get("tool_calls") for message in messages):
        return None
    try:
        before, *between = template.between(messages)
    except RequestError:
        return None
    places: list[tuple[int, int] | None] = []
    at = len(before)
    for message, after in zip(messages, between, strict=True):
        content = message["content"]
        forms = (content, content.lstrip(), content.rstrip(), content.strip())
        form = next((one for one in forms if text.startswith(one + after, at)), None)
        if form is None:
            return None
        places.append((at, at + len(form)))
        at += len(form) + len(after)
    return places if text.startswith(before) and at == len(text) else None


def _one_by_one(
    template: Template, turns: Turns, messages: Sequence[Message], text: str
) -> tuple[list[tuple[int, int] | None], dict[int, str]]:
    """The (start, end) characters of each content in `text`, and how contents were rewritten, by index.

    Of what nobody answers with (a system message, a question, a tool's result) the place may be None.

    Raises:
        RequestError: the place of an assistant turn cannot be found.
    """
    places: list[tuple[int, int] | None] = []
    rewritten: dict[int, str] = {}
    for index, message in enumerate(messages):
        written = message["content"]
        try:
            start, end = _find_content(template, turns, messages, index, text)
        except RequestError:
            if message["role"] == "assistant":
                raise
            places.append(None)
            if written.strip() not in text:
                rewritten[index] = f"it leaves out {_quoted(written)}"
            continue
        plain = message["role"] == "assistant" and not message.get("tool_calls")
        if plain and not _same(template, written, text[start:end]):
            # What the template writes of itself where a content has none may be what was written: empty thoughts.
            prompt = template.render(messages[:index], generation=True) if turns.prompts and index else text
            if text.startswith(prompt) and _same(template, written, text[len(prompt) : end]):
                start = len(prompt)
        if message.get("tool_calls"):
            if written.strip() not in text[start:end]:
                rewritten[index] = f"it leaves out {_quoted(written)}"
        elif not _same(template, written, text[start:end]):
            rewritten[index] = _difference(written.strip(), text[start:end].strip())
        places.append((start, end))
    return places, rewritten


def _same(template: Template, written: str, rendered: str) -> bool:
    """Whether a rendered content is what was written, but for white space that is the template's to set."""
    return written.strip() == rendered.strip() or _bare(template, written) == _bare(template, rendered)


def _bare(template: Template, text: str) -> str:
    """A text without the white space around it and beside words that are single tokens of the tokenizer's own."""
    parts, at = [], 0
    for token in template.find_added(text):
        parts += [text[at : token.start()].strip(), token.group()]
        at = token.end()
    return "".join([*parts, text[at:].strip()])


def _difference(written: str, rendered: str) -> str:
    """What a template made of a content, in words."""
    start = len(common_start(written, rendered))
    ending = len(common_start(written[start:][::-1], rendered[start:][::-1]))
    cut, put = written[start : len(written) - ending], rendered[start : len(rendered) - ending]
    if not put:
        return f"it leaves out {_quoted(cut)}"
    return f"it writes {_quoted(put)} for {_quoted(cut)}" if cut else f"it adds {_quoted(put)}"


def _quoted(text: str) -> str:
    """The beginning of a text, on one line."""
    return repr(text if len(text) <= QUOTED else text[: QUOTED - 1] + "…")


def _find_content(
    template: Template, turns: Turns, messages: Sequence[Message], index: int, text: str
) -> tuple[int, int]:
    """The (start, end) characters of message `index` in `text`, the rendered conversation.

    A template may rewrite a content (set its `<think>` block on lines of its own). Then the turn is what follows
    the answer's prompt; failing that, what differs from the marked rendering, if this is after the message before.
    """
    if messages[index].get("tool_calls"):
        return _find_calls(template, turns, messages, index, text)
    before, after = template.around(messages, index)
    if text.startswith(before) and text.endswith(after) and len(before) + len(after) <= len(text):
        return len(before), len(text) - len(after)
    start = len(common_start(before, text))
    end = len(text) - len(common_start(after[::-1], text[::-1]))
    prompt = template.render(messages[:index], generation=True) if turns.prompts and index else None
    if prompt is not None and text.startswith(prompt) and len(prompt) <= start:
        return len(prompt), end
    earliest = _find_content(template, turns, messages, index - 1, text)[1] if index else 0
    if not earliest <= start <= end:
        raise RequestError(
            f"the chat template writes the rest of the conversation differently because of message {index + 1}, so "
            "its tokens cannot be told from the others"
        )
    return start, end


def _find_calls(
    template: Template, turns: Turns, messages: Sequence[Message], index: int, text: str
) -> tuple[int, int]:
    """The (start, end) characters of a turn that calls tools: its content, if any, and the calls, up to its end.

    Templates write other thoughts before a last turn than before earlier ones, so the calls themselves are looked for.
    """
    form, content = template.tool_calls, messages[index]["content"].strip()
    whole = template.render(messages[: index + 1]).rstrip().removesuffix(form.end)
    prompt = template.render(messages[:index], generation=True) if turns.prompts else template.render(messages[:index])
    begin = form.begins.search(whole, len(common_start(prompt, whole).rpartition("<")[0]))
    earliest = 0
    if index:
        with suppress(RequestError):
            earliest = _find_content(template, turns, messages, index - 1, text)[1]
    calls = whole[begin.start() :] if begin else None
    start = text.find(calls, earliest) if calls else -1
    if calls is None or start < 0:
        raise RequestError(f"the tool calls of message {index + 1} cannot be told from what stands around them")
    before = text.rfind(content, earliest, start) if content else -1
    return before if before >= 0 else start, start + len(calls)


def token_span(
    text: str,
    ids: Sequence[int],
    offsets: Sequence[tuple[int, int]],
    first: int,
    content: tuple[int, int],
    end_ids: Collection[int],
) -> tuple[int, int]:
    r"""The (start, end) tokens of a content given in characters, with the end-of-turn token after it.

    A token that reaches over the edge of the content (` word`, `.\n`) belongs to it. `first` is the token to look
    from.
    """
    start = first
    while start < len(ids) and offsets[start][0] < content[0] and offsets[start][1] <= content[0]:
        start += 1
    end = start
    while end < len(ids) and offsets[end][0] < content[1]:
        end += 1
    closing = end
    while closing < len(ids) and ids[closing] not in end_ids and not text[slice(*offsets[closing])].strip():
        closing += 1
    if closing < len(ids) and ids[closing] in end_ids:
        end = closing + 1
    return start, end
