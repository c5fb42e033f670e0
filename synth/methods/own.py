"""Methods of a user's own: an async function that completes, answers or rejects one row.

It is called with those of `row`, `model`, `sampling` and `verifier` that it takes, by these names, and returns an
answer (a text, or a `Completion`), None to reject the row, or an `Outcome` where it says more: a reason, several rows,
pairs.
The columns that it adds (`Row.extra`) are declared as its attribute `columns`, an Arrow schema.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from filters.names import ImportPathError, function_at
from filters.response.calls import with_calls
from filters.verdict import RIGHT
from synth.data.prompts import task_of
from synth.data.row import Outcome, Row
from synth.engines.base import Completion, Sampling
from synth.errors import RunError, SynthError, UsageError
from synth.generation.chat_model import ChatModel
from synth.generation.screen import answer_fault
from synth.generation.verification import Verifier
from synth.seeds import seed_of

OwnMethod = Callable[..., Awaitable[Outcome | Completion | str | None]]

OFFERED = ("row", "model", "sampling", "verifier")
"""The arguments that such a function may take."""


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """The settings that determine the rows, beside the model and the verifier.

    Attributes:
        function: the method.
        path: its import path, as it is recorded.
        taken: those of `OFFERED` that it takes.
        columns: the columns that it adds.
        seed: the run's seed.
        sampling: how the function is told to draw; for each row with a seed of the row's own.
    """

    function: OwnMethod
    path: str
    taken: tuple[str, ...]
    columns: pa.Schema
    seed: int = 0
    sampling: Sampling = field(default_factory=lambda: Sampling(max_tokens=2048, temperature=0.7, top_p=0.95))

    @property
    def name(self) -> str:
        """The name in the column `method` of its rows."""
        return self.path.rpartition(":")[2]

    def record(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return {"method": self.path, "seed": self.seed} | self.sampling.chosen()


def own_settings(method: str | OwnMethod, *, verifier: bool, seed: int, sampling: Sampling) -> OwnSettings:
    """The settings of a user's method.

    Args:
        method: the function, or its import path.
        verifier: whether there is a verifier.
        seed: of the run.
        sampling: how the function is told to draw.

    Raises:
        UsageError: it cannot be imported, or called.
    """
    if isinstance(method, str):
        path = method
        try:
            function: OwnMethod = function_at(path)
        except ImportPathError as error:
            raise UsageError(f"`method` {error}") from error
    else:
        function, path = method, f"{method.__module__}:{getattr(method, '__qualname__', type(method).__qualname__)}"
    if not inspect.iscoroutinefunction(function) and not inspect.iscoroutinefunction(type(function).__call__):
        raise UsageError(f"`method` {path} is no async function")
    columns = getattr(function, "columns", pa.schema([]))
    if not isinstance(columns, pa.Schema):
        raise UsageError(f"`method` {path}: its columns are no pyarrow schema")
    return OwnSettings(function, path, _taken(function, path, verifier=verifier), columns, seed, sampling)


def _taken(function: OwnMethod, path: str, *, verifier: bool) -> tuple[str, ...]:
    parameters = inspect.signature(function).parameters.values()
    wanted = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if positional := [one.name for one in wanted if one.kind == one.POSITIONAL_ONLY]:
        raise UsageError(f"`method` {path} takes {positional[0]} by position only; it is called with keyword arguments")
    unknown = [one.name for one in wanted if one.name not in OFFERED and one.default is one.empty]
    if unknown:
        raise UsageError(f"`method` {path} takes {unknown[0]}; it can have {', '.join(OFFERED)}")
    if not verifier and any(one.name == "verifier" and one.default is one.empty for one in wanted):
        raise UsageError(f"`method` {path} needs a `verifier`")
    return tuple(one.name for one in wanted if one.name in OFFERED and (verifier or one.name != "verifier"))


def own_method(
    chat_model: ChatModel, verifier: Verifier | None, settings: OwnSettings
) -> Callable[[Row], Awaitable[Outcome]]:
    """The method for one model. Answers are judged by the verifier, where the function does not do that itself."""
    judge = None if "verifier" in settings.taken else verifier

    async def method(row: Row) -> Outcome:
        sampling = replace(settings.sampling, seed=seed_of(settings.seed, row.id, settings.name))
        offered = {"row": row, "model": chat_model, "sampling": sampling, "verifier": verifier}
        try:
            returned = await settings.function(**{name: offered[name] for name in settings.taken})
        except SynthError:
            raise
        except Exception as error:  # a user's code may raise anything
            raise RunError(
                f"`method` {settings.path} failed at row {row.id}: {type(error).__name__}: {error}. What was finished "
                "is kept: fix it, and run this again"
            ) from error
        if isinstance(returned, Outcome):
            return returned
        if returned is None:
            return Outcome(row, f"rejected by {settings.name}")
        if isinstance(returned, str):
            returned = Completion((), returned, "stop")
        if isinstance(returned, Completion) and not row.messages:
            return Outcome(row, "no prompt: it returned an answer, and row.messages has no turn to answer")
        if not isinstance(returned, Completion):
            raise RunError(
                f"`method` {settings.path} returned {returned!r:.200}: it returns an answer, None or an Outcome"
            )
        return await _answered(row, returned, chat_model, judge)

    return method


async def _answered(row: Row, completion: Completion, chat_model: ChatModel, judge: Verifier | None) -> Outcome:
    task = task_of(row)
    turn = chat_model.put(row, completion)
    row.model, row.logprob = chat_model.name, completion.logprob
    if fault := answer_fault(completion, chat_model.chat):
        return Outcome(row, fault)
    if judge is None:
        return Outcome(row)
    verdict = await judge.check(with_calls(turn.content, turn.tool_calls), task)
    row.verifier, row.verdict, row.answer = judge.name, verdict.kind, verdict.answer
    return Outcome(row, None if verdict.kind == RIGHT else f"{verdict.kind}: {verdict.reason or verdict.answer}")
