"""Derive from a chat template how it writes tool calls, by rendering marks for names, arguments and results.

Nothing here knows a model family. Conversations with one call and two, with and without arguments, are rendered; where
the marks stand says which fields a call has, what the template writes between them says how calls are written, and both
together (`call_grammar`) read back what a model draws. A form is used only if it reads back what the template wrote.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from typing import TYPE_CHECKING, Any, Literal

from synth.chat.call_form import Frame, ToolCallForm
from synth.chat.call_grammar import SIGN, Grammar, Kind, Step, find_begin
from synth.chat.call_marks import (
    CONTENT,
    QUESTION,
    TYPES,
    Calls,
    Found,
    Values,
    call_id,
    find_call,
    find_mark,
    find_object,
    frame_of,
    mark,
    marked,
    offer,
    same_calls,
)
from synth.chat.literals import Quotes
from synth.data.row import Message
from synth.errors import RequestError

if TYPE_CHECKING:
    from synth.chat.template import Template

__all__ = ["ToolCallForm", "derive_tool_calls", "tool_call_form"]

_HARD = "it is \"so\",\nand 'so' </tool_call> é\\n"
_VALUES: Sequence[Any] = (_HARD, "5", 3, 1.5, True, None, [1, "a b"], {"x": {"y": "z"}})
_TAKES: Sequence[Literal["object", "text"]] = ("object", "text")
_CONTENTS: Sequence[Literal[""] | None] = ("", None)
_CHANNEL = re.compile(r"(?P<channel><[^<>\s]+>\w+)(?P<type>\s*\w*)(?P<message><[^<>\s]+>)")


def derive_tool_calls(template: "Template") -> ToolCallForm | None:
    """How a template writes tool calls; None where it writes none, or none that can be read back."""
    with suppress(RequestError):
        return tool_call_form(template)
    return None


def tool_call_form(template: "Template") -> ToolCallForm:
    """How a template writes tool calls, with the schemas of the functions that its variable `tools` offers.

    Raises:
        RequestError: it writes none, or none that can be read back; the message says which.
    """
    faults: list[RequestError] = []
    for takes, content, named in product(_TAKES, _CONTENTS, (False, True)):
        try:
            return _Derivation(template, takes, content, named).form()
        except RequestError as error:
            faults.append(error)
    # Of several reasons the one that a try met furthest on.
    raise next((fault for fault in faults if str(fault) != _UNWRITTEN and fault.__cause__ is None), faults[0])


@dataclass(frozen=True)
class _Derivation:
    """One try, with `arguments`, an empty `content` and ids in a form that a template may want.

    `named`: ids are `functions.NAME:NUMBER`, which some templates write in place of the name.
    """

    template: "Template"
    takes: Literal["object", "text"]
    content: Literal[""] | None
    named: bool

    def form(self) -> ToolCallForm:
        """The form, tried on values of all types.

        Raises:
            RequestError: as for `tool_call_form`.
        """
        steps = self._steps()
        quotes, python = None, False
        if any(step.source is Kind.KEY for step in steps):
            steps, quotes = self._values(steps)
            python = "True" in self._render([(mark(100), {mark(101): True})], self.content)
        keys = (self._frame.name[0], self._frame.arguments[0]) if self._frame else ()
        begins, anywhere = find_begin(steps, keys)
        form = ToolCallForm(
            grammar=Grammar(tuple(steps), quotes),
            begins=begins,
            end=self._end,
            takes=self.takes,
            content=self.content,
            beside=self._beside and anywhere,
            several=self._several,
            offers=mark(100) in self._write([{"role": "user", "content": QUESTION}], marked("texts", 1)),
            unanswered=self._unanswered(),
            python=python,
            frame=self._frame,
            named=self.named,
        )
        self._prove(form)
        return form.offering(self.template.variables.get("tools") or ())

    def _steps(self) -> list[Step]:
        """The steps seen in all renderings: with one call and two, with arguments of both kinds and without."""
        steps: dict[Step, None] = {}
        kinds: Sequence[Values] = ("texts",) if self._frame else ("texts", "numbers", "none")
        for values in kinds:
            for count in (1, 2) if self._several else (1,):
                calls = marked(values, count)
                text = self._render(calls, self.content)
                steps.update(dict.fromkeys(self._between(text, self._fields(text, calls))))
        return [*steps, *self._recipients(list(steps))]

    def _between(self, text: str, fields: Sequence[Found]) -> Iterable[Step]:
        """The steps of one rendering."""
        first, last = fields[0], fields[-1]
        yield Step(Kind.START, self._opening or text[self._header : first.start], first.kind, first.opens)
        for one, other in pairwise(fields):
            yield Step(one.kind, text[one.end : other.start], other.kind, other.opens)
        yield Step(last.kind, text[last.end :].rstrip().removesuffix(self._end), Kind.END)

    @cached_property
    def _whole(self) -> str:
        """The rendering of one call."""
        return self._render(marked("texts", 1), self.content)

    @cached_property
    def _plain(self) -> tuple[str, str]:
        """What is rendered before and after the content of an answer without calls."""
        before, _, after = self._answer({"role": "assistant", "content": CONTENT}, marked("texts", 1)).partition(
            CONTENT
        )
        return before, after

    @cached_property
    def _header(self) -> int:
        """Where the turn's header ends in a rendering with calls."""
        asked = self._after(self._write([_question()], marked("texts", 1), generation=True))
        if self._whole.startswith(asked):
            return len(asked)
        same = 0
        for one, other in zip(self._whole, self._plain[0], strict=False):
            if one != other:
                break
            same += 1
        return same

    @cached_property
    def _opening(self) -> str:
        """What the template writes between a text and the first call; nothing where it has no place for a text."""
        with suppress(RequestError):
            calls = marked("texts", 1)
            text = self._render(calls, CONTENT)
            first = self._fields(text, calls)[0].start
            if text.count(CONTENT) == 1 and text.index(CONTENT) < first and self._is_text(text):
                return text[text.index(CONTENT) + len(CONTENT) : first]
        return ""

    def _is_text(self, text: str) -> bool:
        """Whether the content beside calls is written where it would stand without them."""
        return text.startswith(self._plain[0]) or text[: text.index(CONTENT)].strip() == self._plain[0].strip()

    @property
    def _beside(self) -> bool:
        return bool(self._opening)

    @cached_property
    def _several(self) -> bool:
        calls = marked("texts", 2)
        with suppress(RequestError):
            return bool(self._fields(self._render(calls, self.content), calls))
        return False

    @cached_property
    def _end(self) -> str:
        """What ends a turn with calls: what ends others, or a sign of its own."""
        text = self._whole.rstrip()
        usual = self._plain[1].strip()
        if text.endswith(usual):
            return usual
        signs = [*self.template.find_added(text), *SIGN.finditer(text)]
        end = next((sign.group() for sign in signs if sign.end() == len(text)), "")
        between = self._render(marked("none", 2), self.content).count(end) > 1 if self._several else False
        if not end or between or end.startswith("</"):
            raise RequestError("the chat template does not end a turn that calls tools")
        return end

    def _fields(self, text: str, calls: Calls) -> list[Found]:
        """Where the fields of calls stand in a rendering.

        Raises:
            RequestError: not all of them are there, once and in order.
        """
        fields: list[Found] = []
        for name, arguments in calls:
            found = self._fields_of(text, name, arguments)
            if fields and found[0].start < fields[-1].end:
                raise RequestError("the chat template does not write tool calls one after the other")
            fields += [replace(found[0], opens=True), *found[1:]]
        return fields

    def _fields_of(self, text: str, name: str, arguments: Mapping[str, Any]) -> list[Found]:
        if self._frame:
            if span := find_call(text, name, arguments):
                return [Found(*span, Kind.CALL)]
            raise RequestError(_UNWRITTEN)
        found = find_mark(text, call_id(name, named=self.named), Kind.ID)
        names = [] if self.named else find_mark(text, name, Kind.NAME)
        if not (found if self.named else names):
            raise RequestError(_UNNAMED if found else _UNWRITTEN)
        found += names
        if self._keyed:
            for key, value in arguments.items():
                places = [*find_mark(text, key, Kind.KEY), *find_mark(text, str(value), _kind(value))]
                if len(places) != 2:
                    raise RequestError("the chat template does not write each argument of a tool call once")
                found += places
        elif span := find_object(text, arguments, min(one.start for one in found)):
            found.append(Found(*span, Kind.ARGUMENTS))
        return sorted(found, key=lambda one: one.start)

    @cached_property
    def _frame(self) -> Frame | None:
        """Where the parts of a call stand, if it is one JSON object."""
        call = marked("texts", 1)[0]
        span = find_call(self._whole, *call)
        return frame_of(self._whole, span[0], *call) if span else None

    @cached_property
    def _keyed(self) -> bool:
        return self._frame is None and find_object(self._whole, marked("texts", 1)[0][1], 0) is None

    def _recipients(self, steps: Sequence[Step]) -> list[Step]:
        """Further ways to write a call that is a message to a recipient (` to=NAME`).

        An answer is then several messages, each with a header of its own, and the format lets the recipient stand
        before or behind the channel (`<|channel|>commentary`): templates write one, models draw the other, with a
        token before the type of the content.
        """
        opening = next(step for step in steps if step.source is Kind.START)
        if not opening.literal.strip().startswith("to="):
            return []
        more: list[Step] = []
        openings = [opening]
        for step in steps:
            header = _CHANNEL.fullmatch(step.literal) if step.source is Kind.NAME else None
            if header and not openings[1:]:
                openings.append(replace(opening, literal=header["channel"] + opening.literal))
            if header:
                types = (header["type"], f" <|constrain|>{header['type'].strip()}", "")
                ends = [kind + header["message"] for kind in types]
                more += [replace(step, literal=text) for end in ends for text in (end, header["channel"] + end)]
        *_, turn = SIGN.finditer(self._whole[: self._header])
        again = self._whole[turn.start() : self._header]
        return [*more, *openings[1:], *(replace(step, literal=again + step.literal) for step in openings)]

    def _values(self, steps: Sequence[Step]) -> tuple[list[Step], Quotes | None]:
        """Steps to and from values, by how texts are written: escaped, between signs of their own, or bare."""
        into = {step.target: step.literal for step in steps if step.source is Kind.KEY}
        start, end = mark(3), mark(4)
        text = self._render([(mark(100), {mark(101): start + _HARD + end})], self.content)
        if text[text.find(start) + len(start) : text.find(end)] != _HARD:  # escaped: a value like others
            return [step for step in steps if Kind.TEXT not in (step.source, step.target)], None
        if into[Kind.TEXT] == into[Kind.DATA]:
            return list(dict.fromkeys(map(_either, steps))), None
        if not into[Kind.TEXT].startswith(into[Kind.DATA]):
            return list(steps), None
        opening = into[Kind.TEXT].removeprefix(into[Kind.DATA])
        after = {
            kind: next((step.literal for step in steps if step.source is kind and step.target is Kind.KEY), "")
            for kind in (Kind.TEXT, Kind.DATA)
        }
        return list(steps), (opening, after[Kind.TEXT].removesuffix(after[Kind.DATA]))

    def _unanswered(self) -> str | None:
        """Why the template cannot write what tools give back, if it cannot."""
        count = 2 if self._several else 1
        calls = marked("none", count)
        results = [
            {"role": "tool", "content": mark(5 + place), "tool_call_id": call_id(name, named=self.named), "name": name}
            for place, (name, _) in enumerate(calls)
        ]
        answer = {"role": "assistant", "content": mark(9)}
        try:
            text = self._write([_question(), self._turn(calls, self.content), *results, answer], calls)
        except RequestError as error:
            return str(error)
        places = [text.find(message["content"]) for message in [*results, answer]]
        if -1 in places[:-1]:
            return "the chat template leaves out the results of tools"
        return None if places == sorted(places) and -1 not in places else "the chat template mixes up tools' results"

    def _prove(self, form: ToolCallForm) -> None:
        """See that the form reads back what the template writes.

        Raises:
            RequestError: it does not.
        """
        arguments = {f"key_{place}": value for place, value in enumerate(_VALUES)}
        properties = {key: {"type": TYPES.get(type(value), "null")} for key, value in arguments.items()}
        form = replace(form, schemas={"f_1": {"properties": properties}})
        calls: list[tuple[str, dict[str, Any]]] = [("f_1", arguments), ("f_2", {})]
        several = [[*calls, *calls], calls[::-1]] if form.several else []
        for written in [[call] for call in calls] + several:
            text = self._render(written, CONTENT if form.beside else self.content)
            begin = text.index(CONTENT) + len(CONTENT) if form.beside else self._header
            drawn = text[begin:].rstrip().removesuffix(self._end)
            before, found, fault = form.parse(drawn)
            read = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in found]
            if fault or before.strip() or not same_calls(read, written):
                raise RequestError(
                    "what the chat template writes of a tool call cannot be read back: "
                    + (fault or f"{json.dumps(written)[:100]} is read as {json.dumps(read)[:100]}")
                )

    def _render(self, calls: Calls, content: str | None) -> str:
        """A turn with calls, as it stands after the question."""
        return self._answer(self._turn(calls, content), calls)

    def _answer(self, message: Message, calls: Calls) -> str:
        return self._after(self._write([_question(), message], calls))

    def _after(self, text: str) -> str:
        """What follows the question."""
        if QUESTION not in text:
            raise RequestError("the chat template does not write a question before tool calls")
        return text[text.rindex(QUESTION) + len(QUESTION) :]

    def _turn(self, calls: Calls, content: str | None) -> Message:
        written = [
            {
                "id": call_id(name, named=self.named),
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": arguments if self.takes == "object" else json.dumps(arguments, ensure_ascii=False),
                },
            }
            for name, arguments in calls
        ]
        return {"role": "assistant", "content": content, "tool_calls": written}

    def _write(self, messages: Sequence[Message], calls: Calls, *, generation: bool = False) -> str:
        """A conversation whose `tools` are the functions called."""
        tools = [offer(name, arguments) for name, arguments in calls]
        template = replace(self.template, variables={**self.template.variables, "tools": tools})
        return template.write(messages, generation=generation)


_UNWRITTEN = "the chat template leaves out tool calls"
_UNNAMED = "the chat template writes ids of tool calls, but not the functions' names"


def _question() -> Message:
    return {"role": "user", "content": QUESTION}


def _kind(value: Any) -> Kind:
    return Kind.TEXT if isinstance(value, str) else Kind.DATA


def _either(step: Step) -> Step:
    """The step between bare values of which the text does not say what they are."""
    source = Kind.EITHER if step.source in (Kind.TEXT, Kind.DATA) else step.source
    target = Kind.EITHER if step.target in (Kind.TEXT, Kind.DATA) else step.target
    return replace(step, source=source, target=target)
