"""The call of a function that a command makes, and where its output and its messages go."""

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from cli.help import Command

if TYPE_CHECKING:
    from synth.progress import Progress


@dataclass(frozen=True, slots=True)
class Call:
    """The call of a function, with what was given on the command line.

    Attributes:
        function: as "module:function".
        given: values of its parameters, by name, and of those of `of_model` and `of_verifier`.
        model: which of them is the model, or the models; none where that is empty.
        of_model: parameters of `synth.load`, with which the model is loaded.
        of_verifier: parameters of `synth.generation.inputs.verifier_of`, which makes the verifier.
        streams: whether rows go to standard output where no other place is given.
        reports: whether the function says how it goes.
        quiet: whether nothing of that is shown.
    """

    function: str
    given: dict[str, Any]
    model: str
    of_model: Mapping[str, Any]
    of_verifier: Mapping[str, Any]
    streams: bool
    reports: bool
    quiet: bool

    def __call__(self, **changed: Any) -> Any:
        """What the function returns. What was not given is left to the function's own default.

        The model is a `Model`, freed at the end; several are, by their names; the verifier has its settings; the output
        is a place, or the stream that standard output was.

        Args:
            changed: values in place of those given.
        """
        module, _, name = self.function.partition(":")
        arguments = {name: value for name, value in (self.given | changed).items() if value is not None}
        with ExitStack() as stack:
            if self.model in arguments:
                arguments[self.model] = self._loaded(arguments[self.model], stack)
            if self.of_verifier:
                from synth.generation.inputs import verifier_of

                arguments["verifier"] = verifier_of(arguments.get("verifier"), **self.of_verifier)
            if self.streams and arguments.get("output", "-") == "-":
                arguments["output"] = stack.enter_context(claimed_stdout())
            if self.reports:
                arguments["progress"] = told(quiet=self.quiet)
            return getattr(importlib.import_module(module), name)(**arguments)

    def _loaded(self, given: Any, stack: ExitStack) -> Any:
        from synth.api.models import load

        if isinstance(given, str):
            return stack.enter_context(load(given, **self.of_model))
        from synth.evaluation.names import name_models

        named = name_models(given)
        return {name: stack.enter_context(load(str(one), **self.of_model)) for name, one in named.items()}


def told(*, quiet: bool = False) -> "Progress":
    """Standard error, where settings are named as the options of the command that runs."""
    from synth.progress import Progress

    command = click.get_current_context().command
    return Progress(quiet=quiet, options=command.written() if isinstance(command, Command) else {})


@contextmanager
def claimed_stdout() -> Iterator[BinaryIO]:
    """Standard output for rows alone: whatever libraries print there meanwhile goes to standard error."""
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
