"""The grammar of a template's tool calls: which fields follow each other, and the template's own text between them.

It is read from renderings with marks (`tool_calls`) and walked over what a model drew. White space in the template's
text may be missing, or be more than the template writes, except beside an argument that stands there as bare text, of
which it would be a part.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from synth.chat.literals import Quotes, read_json, read_literal
from synth.errors import RequestError

TRIES = 5_000
"""Places at which a text is tried: what a model wrote must not keep a run waiting."""


class Kind(StrEnum):
    """What stands between two pieces of the template's own text, as faults name it."""

    START = "the start"
    CALL = "the call"  # one JSON object with the name and the arguments in it
    NAME = "the function's name"
    ID = "the call's id"
    ARGUMENTS = "the arguments"  # one JSON object
    KEY = "the argument's name"
    TEXT = "the argument's text"  # nothing of it is escaped
    DATA = "the argument's value"  # in the manner of JSON or Python
    EITHER = "the argument"  # bare text or a bare value: the function's schema says which
    END = "the end"


JSON = {Kind.CALL, Kind.ARGUMENTS}
BARE = {Kind.TEXT, Kind.EITHER}
_WORD = {
    Kind.NAME: re.compile(r"[^\s\"'<>{}()\[\],]{1,200}"),
    Kind.ID: re.compile(r"[^\s\"'<>{}()\[\],]{1,200}"),
    Kind.KEY: re.compile(r"[^\n<>{}]{1,200}"),
}
SIGN = re.compile(r"<[^<>\s]+>|\[[A-Z_]+\]")
"""A word of a template that no one writes by chance."""
_SPACE = re.compile(r"\s*")


class CallFault(Exception):
    """What is wrong with the calls that a model drew."""


@dataclass(frozen=True, slots=True)
class Field:
    """The (start, end) characters that a field takes; `opens` says that a call begins with it."""

    kind: Kind
    start: int
    end: int
    opens: bool


@dataclass(frozen=True, slots=True)
class Step:
    """The template's text between two fields; `opens` says that the second begins a call."""

    source: Kind
    literal: str
    target: Kind
    opens: bool = False

    def pattern(self) -> str:
        """The literal as a regular expression that is tolerant of white space."""
        body = self.literal.strip()
        if not body:
            if self.target is Kind.END:
                return r"\s*\Z"
            bare = {self.source, self.target} & BARE
            return re.escape(self.literal) if bare else (r"\s+" if self.literal else r"(?=\s*\{)")
        lead, trail = self.literal.split(body)[0], self.literal[len(self.literal.rstrip()) :]
        before = f"(?:{re.escape(lead)})?" if self.source in BARE else r"\s*"
        after = f"(?:{re.escape(trail)})?" if self.target in BARE else r"\s*"
        return before + r"\s*".join(map(re.escape, body.split())) + after


@dataclass(frozen=True)
class Grammar:
    """The steps that a template takes. `quotes` are its own signs around texts inside other values."""

    steps: tuple[Step, ...]
    quotes: Quotes | None = None

    def walk(self, text: str, at: int) -> list[Field]:
        """The fields of the calls that begin at `at` and end with the text.

        Where a bare text may end at several places, it ends at the first after which the rest can be read.

        Raises:
            CallFault: they cannot be read; it says what is missing at the furthest place that was reached.
        """
        return _Walk(self, text).fields(at)

    @cached_property
    def ways(self) -> "dict[Kind, tuple[tuple[Step, re.Pattern[str]], ...]]":
        """The steps from each kind of field, the longest text first."""
        longest = sorted(self.steps, key=lambda step: -len(step.literal.strip()))
        return {
            kind: tuple((step, re.compile(step.pattern())) for step in longest if step.source is kind) for kind in Kind
        }

    @cached_property
    def edges(self) -> dict[Kind, re.Pattern[str]]:
        """Where a step from each kind of field may begin."""
        return {
            kind: re.compile("(?=" + "|".join(pattern.pattern for _, pattern in ways) + ")")
            for kind, ways in self.ways.items()
        }


class _Walk:
    """One walk over one text; `place` and `missing` are the furthest place reached and what is missing there."""

    def __init__(self, grammar: Grammar, text: str) -> None:
        self.grammar, self.text = grammar, text
        self.place, self.missing = -1, "it is empty"

    def fields(self, at: int) -> list[Field]:
        """As for `Grammar.walk`: depth first, no place tried twice."""
        found: list[Field] = []
        trail = [self.moves(Kind.START, at, False)]
        seen: set[tuple[Kind, int]] = set()
        for _ in range(TRIES):
            move = next(trail[-1], None)
            if move is None:
                trail.pop()
                if not trail:
                    raise CallFault(self.missing)
                found.pop()
                continue
            field, step, after = move
            if step.target is Kind.END:
                if not self.text[after:].strip():
                    return [*found[1:], field]
                self.note(after, "text follows the last tool call")
            elif (step.target, after) not in seen:
                seen.add((step.target, after))
                found.append(field)
                trail.append(self.moves(step.target, after, step.opens))
        raise CallFault("its end can be read in too many ways")

    def moves(self, kind: Kind, at: int, opens: bool) -> Iterator[tuple[Field, Step, int]]:
        """The field that begins at `at`, by each place where it may end, with each step from there."""
        ways = self.grammar.ways[kind]
        for start, end in self.spans(kind, at):
            for step, pattern in ways:
                if literal := pattern.match(self.text, end):
                    yield Field(kind, start, end, opens), step, literal.end()
            self.note(end, f"{_told(ways)} is missing after {kind}")

    def spans(self, kind: Kind, at: int) -> Iterator[tuple[int, int]]:
        """The (start, end) characters that a field at `at` may have."""
        if kind is Kind.START:
            yield at, at
        elif kind in JSON or kind is Kind.DATA:
            start = skip(self.text, at)
            try:
                if kind in JSON:
                    _, end = read_json(self.text, start)
                else:
                    _, end = read_literal(self.text, start, self.grammar.quotes)
            except ValueError as error:
                self.note(start, f"{kind} cannot be read: {error}")
                return
            yield start, end
        else:
            self.note(at, f"{_told(self.grammar.ways[kind])} is missing after {kind}")
            for edge in self.grammar.edges[kind].finditer(self.text, at):
                word = _WORD.get(kind)
                if word and not word.fullmatch(self.text, at, edge.start()):
                    self.note(at, f"{kind} is missing")
                    return
                yield at, edge.start()

    def note(self, place: int, missing: str) -> None:
        """Keep what is missing, if this is the furthest place so far."""
        if place >= self.place:
            self.place, self.missing = place, missing


def find_begin(steps: Sequence[Step], keys: Sequence[str]) -> tuple[re.Pattern[str], bool]:
    """What calls begin with, and whether it may stand behind a text.

    Args:
        steps: the grammar; of the steps from the start the first is the template's own.
        keys: of the JSON object that a call is, if it is one.

    Raises:
        RequestError: nothing tells calls from text.
    """
    openings = [step for step in steps if step.source is Kind.START]
    literal = openings[0].literal
    body = literal.strip()
    space = literal[: len(literal) - len(literal.lstrip())]
    lead = f"(?:{re.escape(space)})?" if space else ""
    if body.startswith("to="):
        starts = "|".join(step.pattern() for step in sorted(openings, key=lambda step: -len(step.literal)))
        after = "|".join(step.pattern() for step in steps if step.source is Kind.NAME and not step.opens)
        return re.compile(rf"(?:{starts})(?=[^\s<>]{{1,200}}?(?:{after}))"), True
    if sign := SIGN.match(body):
        return re.compile(lead + re.escape(sign.group())), True
    if re.search(r"\w", body):
        return re.compile(lead + r"\s*".join(map(re.escape, body.split()))), True
    if not keys:
        raise RequestError("nothing in what the chat template writes tells a tool call from text")
    there = "".join(rf'(?=.*"{re.escape(key)}"\s*:)' for key in keys)
    return re.compile(rf"\A\s*{re.escape(body)}\s*\{{{there}", re.DOTALL), False


def skip(text: str, at: int) -> int:
    """Where white space that begins at `at` ends."""
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _told(ways: Sequence[tuple[Step, re.Pattern[str]]]) -> str:
    """What may stand next, in words."""
    texts = {" ".join(step.literal.split()) for step, _ in ways if step.literal.strip()}
    least = [text for text in texts if not any(text.startswith(other) for other in texts - {text})]
    return " or ".join(map(repr, sorted(least))) or "the next part"
