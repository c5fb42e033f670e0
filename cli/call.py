"""Turns the options of a command into the arguments of its function."""

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import click

if TYPE_CHECKING:
    from synth.generation.models import Model
    from synth.progress import Progress

_ENGINE = ("dtype", "device", "max_length", "concurrency", "tensor_parallel", "gpu_memory", "api_key")
_MODEL = ("engine", "prefix", "stop", *_ENGINE)
"""Options of the model, not of the function."""
_MAIN = ("model", "teacher", "judge")
"""The argument that they belong to: the first of these that the command has."""
_VERIFIER = ("time_limit", "memory_limit", "language", "schema", "pattern", "unsafe_no_sandbox")
"""Options of the verifier."""


def options_of(command: click.Command) -> Mapping[str, str]:
    """The options that set the settings of a command: `max_tokens` is --max-tokens, `rows` is -n."""
    found = {"debug": "--debug"}
    for param in command.params:
        if isinstance(param, click.Option):
            names = {str(param.name), *(name.lstrip("-").replace("-", "_") for name in param.opts)}
            found |= dict.fromkeys(names, param.opts[0])
    return found


def told(*, quiet: bool = False) -> "Progress":
    """Progress on standard error, in which settings are written as options of the running command."""
    from synth.progress import Progress

    return Progress(quiet=quiet, options=options_of(click.get_current_context().command))


@contextmanager
def arguments(given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The arguments of the function that a command calls, from its options.

    The model (if the command has one) is a `Model`, freed at the end; several are, by their names; the verifier has its
    settings; the output is a place, or the stream that standard output was; progress goes to standard error unless
    `quiet`.

    Raises:
        UsageError: there is no such model, or no such verifier.
    """
    call = dict(given)
    call["progress"] = told(quiet=call.pop("quiet", False))
    of_model = {name: call.pop(name) for name in _MODEL if name in call}
    with ExitStack() as stack:
        main = next((name for name in ("models", *_MAIN) if name in call), "")
        if main == "models":
            from synth.evaluation.names import name_models

            named = name_models(call[main])
            call[main] = {name: stack.enter_context(_loaded(str(model), of_model)) for name, model in named.items()}
        elif isinstance(call.get(main), str):
            call[main] = stack.enter_context(_loaded(call[main], of_model))
        if "verifier" in call:
            from synth.generation.inputs import verifier_of

            call["verifier"] = verifier_of(call["verifier"], **{name: call.pop(name) for name in _VERIFIER})
        if "output" in call and call["output"] in (None, "-"):
            call["output"] = stack.enter_context(claimed_stdout())
        yield call


def _loaded(name: str, of_model: dict[str, Any]) -> "Model":
    from synth.api.models import load
    from synth.engines.loading import remote_code_allowed

    return load(name, **of_model, trust_remote_code=remote_code_allowed())


@contextmanager
def claimed_stdout() -> Iterator[BinaryIO]:
    """Standard output for rows alone: whatever libraries print there goes to standard error."""
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    stream = open(saved, "wb", closefd=False)  # noqa: SIM115
    try:
        yield stream
        stream.flush()
    finally:
        with suppress(OSError):
            stream.close()
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)
