"""What a verifier is: a function from a response and its task to one of three outcomes.

`unscorable` is not `wrong`: it says that nothing can be said (no reference, a reference or a test that does not
parse, a check that hung), so that a fault of the data never counts against a model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

RIGHT: Literal["right"] = "right"
WRONG: Literal["wrong"] = "wrong"
UNSCORABLE: Literal["unscorable"] = "unscorable"

VerdictKind = Literal["right", "wrong", "unscorable"]


class VerifierError(ValueError):
    """Wrong settings of a verifier, found before anything is checked."""


@dataclass(frozen=True, slots=True)
class Task:
    """What a response is checked against.

    Attributes:
        reference: the human answer as the data has it, or None.
        prompt: the last user turn.
        columns: the other columns of the row, by name; verifiers look for tests, choices or schemas there.
    """

    reference: str | None = None
    prompt: str = ""
    columns: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One outcome: the verdict, what was extracted from the response, and why it is not right (one line)."""

    kind: VerdictKind
    answer: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class VerifierSettings:
    """Which verifier, and how; the options of the command line have the same names.

    Attributes:
        name: a file of `filters.verifiers` (with hyphens), or `module:function`.
        time_limit: seconds that one check may take by the clock; a program of `code` that computes, of processor time,
            and at most four times as long by the clock: a busy machine makes none late.
        memory_limit: mebibytes one check may use, where a program is run.
        language: for `compile`, instead of what the answer's fence says.
        schema: for `json`, a JSON Schema as text.
        pattern: for `regex`, instead of the row's reference.
        unsafe_no_sandbox: for `code`, `compile`: run without isolation.
        function: a user's own function, where it was given itself; `name` is what it is called then.
    """

    name: str
    time_limit: float = 10.0
    memory_limit: int = 1024
    language: str | None = None
    schema: str | None = None
    pattern: str | None = None
    unsafe_no_sandbox: bool = False
    function: "OwnCheck | None" = field(default=None, repr=False, compare=False)


OwnCheck = Callable[..., Verdict | VerdictKind | bool]
"""A user's own: a function of the response, the reference and, if it takes a third, the row."""

Check = Callable[[str, Task], Verdict]
"""Judges one response. Runs in a worker process, where it may hang or crash without harm."""
