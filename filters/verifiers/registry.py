"""Verifiers by name, with what each can do; or a user's own function by import path.

A new verifier is a module here with `checker(settings)`, and one entry in `VERIFIERS`.
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal, get_args

from filters.names import OWN, ImportPathError, function_at, near_or_all
from filters.response.calls import only_calls
from filters.response.thoughts import after_thoughts
from filters.verdict import (
    RIGHT,
    UNSCORABLE,
    WRONG,
    Check,
    OwnCheck,
    Task,
    Verdict,
    VerdictKind,
    VerifierError,
    VerifierSettings,
)

Gold = Literal["reference", "own", "none"]


@dataclass(frozen=True, slots=True)
class VerifierEntry:
    """One verifier: what it is called, when it takes a response for right, and what it can do.

    Attributes:
        name: of its module, with hyphens; or a user's `module:function`.
        says: when a response is right, for the help.
        settings: the settings that it takes beside `time_limit`.
        votes: whether it compares the samples of one task: its module has `vote`.
        asks_model: whether a model judges: it runs where the models are, and has no module.
        needs_reference: whether it can say nothing of a task without a reference.
        gold: what its right response to a task is: the reference, what its module's `gold` says, or none.
        reads_calls: whether it judges the calls of a turn that calls tools; to others such a turn is no answer.
    """

    name: str
    says: str
    settings: tuple[str, ...] = ()
    votes: bool = False
    asks_model: bool = False
    needs_reference: bool = False
    gold: Gold = "reference"
    reads_calls: bool = False

    @property
    def sandboxed(self) -> bool:
        """Whether it gives programs of models to an interpreter or a compiler, and so needs a sandbox."""
        return "unsafe_no_sandbox" in self.settings

    @property
    def judges_single_answers(self) -> bool:
        """Whether it judges an answer by itself, and without a model: then rows may name it."""
        return not (self.votes or self.asks_model)


_PROGRAMS = ("memory_limit", "unsafe_no_sandbox")

VERIFIERS = {
    entry.name: entry
    for entry in (
        VerifierEntry("math", "the final answer equals the reference's, as mathematics", needs_reference=True),
        VerifierEntry("number", "the last number equals the reference's", needs_reference=True),
        VerifierEntry("choice", "the option chosen is the right one", needs_reference=True),
        VerifierEntry("exact", "the response is the reference, white space and case aside", needs_reference=True),
        VerifierEntry("regex", "a pattern is found in the response", ("pattern",), gold="none"),
        VerifierEntry("json", "the response is JSON, of the row's schema if there is one", ("schema",)),
        VerifierEntry(
            "function-call",
            "the functions called, and their arguments, are among the possible ones",
            gold="own",
            reads_calls=True,
        ),
        VerifierEntry("instructions", "checkable instructions (IFEval) are followed", gold="none"),
        VerifierEntry("refusal", "the response declines, or does not, as it should", gold="none"),
        VerifierEntry("code", "the program passes the row's tests, in a sandbox", _PROGRAMS),
        VerifierEntry("compile", "the program compiles, in a sandbox", ("language", *_PROGRAMS)),
        VerifierEntry("majority", "the answer that most samples of a task end in", votes=True, gold="none"),
        VerifierEntry("judge", "a model is asked", ("judge", "judge_prompt"), asks_model=True),
    )
}
"""Every verifier by its name."""

_KINDS: tuple[VerdictKind, ...] = get_args(VerdictKind)


def entry_of(name: str) -> VerifierEntry:
    """What is known of a verifier; of a user's own function, what holds for all of them.

    Raises:
        VerifierError: there is no such verifier.
    """
    if ":" in name:
        return VerifierEntry(name, "a function of yours says so")
    if name not in VERIFIERS:
        raise VerifierError(unknown(name))
    return VERIFIERS[name]


def checker(settings: VerifierSettings) -> Check:
    """The check that `settings.name` stands for, of what responses say after their thoughts.

    A user's own function is given responses as they are, thoughts and all.

    Raises:
        VerifierError: there is no such verifier, or it cannot work with these settings.
    """
    if ":" in settings.name:
        return _own(settings.name, settings.function)
    return _after_thoughts(_module(settings.name).checker(settings), entry_of(settings.name).reads_calls)


def _after_thoughts(judge: Check, reads_calls: bool) -> Check:
    """A check of what a response says after its thoughts; thoughts alone, or calls of tools, answer nothing."""

    def check(response: str, task: Task) -> Verdict:
        if only_calls(response):
            return judge(response, task) if reads_calls else Verdict(WRONG, None, "calls tools instead of an answer")
        said = after_thoughts(response)
        verdict = judge(said, task)
        if verdict.kind == UNSCORABLE or said.strip() or not response.strip():
            return verdict
        return Verdict(WRONG, None, "no answer after the thoughts")

    return check


def gold(settings: VerifierSettings, task: Task) -> str | None:
    """The response that stands for a task's reference when references are checked; None if there is none."""
    kind = entry_of(settings.name).gold
    if kind == "own":
        own: str | None = _module(settings.name).gold(task)
        return own
    return task.reference if kind == "reference" else None


def vote(settings: VerifierSettings, verdicts: Sequence[Verdict]) -> list[Verdict]:
    """The verdicts on all samples of one task, in their order, where the verifier compares them; else as they are."""
    if not entry_of(settings.name).votes:
        return list(verdicts)
    compared: list[Verdict] = _module(settings.name).vote(verdicts)
    return compared


def unknown(name: str) -> str:
    """What to say of an unknown name."""
    return f"there is no verifier {name}{near_or_all(name, [*VERIFIERS, OWN])}"


def known() -> str:
    """All that a verifier may be, for people."""
    return f"{', '.join(VERIFIERS)}, {OWN}"


def _module(name: str) -> Any:
    return importlib.import_module(f"filters.verifiers.{entry_of(name).name.replace('-', '_')}")


def _own(path: str, given: OwnCheck | None) -> Check:
    """A user's function of (response, reference) or (response, reference, row), which was given or is imported."""
    try:
        function = given or function_at(path)
    except ImportPathError as error:
        raise VerifierError(str(error)) from error
    if inspect.iscoroutinefunction(function):
        raise VerifierError(f"{path} is no plain function: it is asynchronous")
    wants = _arguments(path, function)

    def check(response: str, task: Task) -> Verdict:
        return _as_verdict(function(*(response, task.reference, dict(task.columns))[:wants]))

    return check


def _arguments(path: str, function: Callable[..., object]) -> int:
    """How many of (response, reference, row) a function takes. An optional third is the row only if it is named so."""
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions that are written in C have none
        return 2
    for wants in (3, 2) if "row" in signature.parameters else (2, 3):
        with suppress(TypeError):
            signature.bind(*range(wants))
            return wants
    raise VerifierError(f"{path}{signature} cannot be called with (response, reference), nor with the row as a third")


def _as_verdict(returned: object) -> Verdict:
    """A user's function may return a verdict, one of its words, or whether the response is right."""
    if isinstance(returned, Verdict) and returned.kind in _KINDS:
        return returned
    if isinstance(returned, bool):
        return Verdict(RIGHT if returned else WRONG)
    for kind in _KINDS:
        if isinstance(returned, str) and returned == kind:
            return Verdict(kind)
    raise TypeError(f"it returned {returned!r:.200}: return a Verdict, True or False, or one of {', '.join(_KINDS)}")
