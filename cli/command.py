"""A command made of a function of `synth`: its options are the function's parameters."""

import importlib
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cli.help import Command
from cli.hub import ToHub, hub_options
from cli.options import COMMON, Argument, Option, argument_of, in_a_shell, option_of
from cli.parameters import Parameter, parameters_of
from cli.standard import claimed_stdout

if TYPE_CHECKING:
    from synth.hub.repository import Kind
    from synth.progress import Progress

LOAD = "synth.api.models:load"
VERIFIER = "synth.generation.inputs:verifier_of"
"""Whose parameters are options of every command with a model, or a verifier: its function is given what they make."""
QUIET = Parameter("quiet", frozenset({"bool"}), False, "print errors only.")
PREVIEW = Parameter(
    "preview",
    frozenset({"Rows"}),
    None,
    "make so many attempts, show their rows and what the whole run will take, and end; nothing is written.",
)
MODELS = frozenset({"Model", "ModelName", "AnyModel"})


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
        preview: attempts that are made and shown in place of the run; None makes the run.
    """

    function: str
    given: dict[str, Any]
    model: str
    of_model: Mapping[str, Any]
    of_verifier: Mapping[str, Any]
    streams: bool
    reports: bool
    quiet: bool
    preview: int | None = None

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
            if self.preview is not None:
                from synth.api.places import FirstRows

                arguments["output"] = FirstRows(self.preview)
            elif self.streams and arguments.get("output", "-") == "-":
                arguments["output"] = stack.enter_context(claimed_stdout())
            if self.reports:
                arguments["progress"] = told(quiet=self.quiet)
            result = getattr(importlib.import_module(module), name)(**arguments)
        if self.preview is not None:
            from cli.plan import print_preview

            print_preview(result, progress=told(quiet=self.quiet))
        return result

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


def command_of(
    function: str,
    *more: click.Parameter,
    of_model: Collection[str] | None = None,
    kind: type[Command] = Command,
    pushed: "Kind" = "dataset",
    **shell: Option | Argument | None,
) -> Callable[[Callable[..., None]], Command]:
    """Make a command of a function. What is decorated is given the `Call`, and makes it; its docstring is the help.

    Args:
        function: as "module:function".
        more: options that the function has no parameter for; what is decorated is given their values, too.
        of_model: parameters of `synth.load` that are options of the command; all of them by default.
        kind: the command's class.
        pushed: the kind of repository that its output is pushed to.
        shell: by parameter what only a shell knows of it; None is no option.
    """
    own = parameters_of(function)
    model = next((name for name, one in own.items() if one.names & {"Model", "AnyModel"}), "")
    loading = {name: one for name, one in parameters_of(LOAD).items() if model and name not in ("name", *own)}
    loading = {name: one for name, one in loading.items() if of_model is None or name in of_model}
    judging = {name: one for name, one in parameters_of(VERIFIER).items() if "verifier" in own and name != "name"}
    reports = "progress" in own
    streams = "output" in own and "Place" in own["output"].names
    place = shell.get("output", COMMON["output"]) if "output" in own else None
    pushes = place is not None and str(place.metavar).startswith("DIR")
    previews = streams and bool(model) and "shard" in own and "preview" not in own
    beside = [str(option.name) for option in more if option.expose_value]

    def decorate(body: Callable[..., None]) -> Command:
        def run(quiet: bool = False, **given: Any) -> None:
            if not quiet and any(given.get(name) for name, one in own.items() if one.names & MODELS):
                click.echo("starting …", err=True)  # libraries of models take many seconds to load
            options = {name: given.pop(name) for name in beside}
            of_model = {name: given.pop(name) for name in loading}
            of_verifier = {name: given.pop(name) for name in judging}
            hub = ToHub.of(given, pushed, quiet=quiet) if pushes else None
            preview = given.pop("preview") if previews else None
            with nullcontext() if hub is None else hub.prepared():
                body(Call(function, given, model, of_model, of_verifier, streams, reports, quiet, preview), **options)
            if hub is not None:
                hub.push()

        params = [*_params(own, judging, shell), *more, *_params(loading, {}, shell)]
        if pushes:
            params += hub_options()
        if previews:
            params.append(option_of(PREVIEW, Option()))
        if reports:
            params.append(option_of(QUIET, Option()))
        command = kind(None, params=params, callback=run, help=body.__doc__)
        written = {str(param.name): str(param.metavar) for param in params if isinstance(param, click.Argument)}
        for param in params:
            if isinstance(param, click.Option) and param.help:
                param.help = in_a_shell(param.help, {**written, **command.written()})
        return command

    return decorate


def _params(
    parameters: Mapping[str, Parameter],
    judging: Mapping[str, Parameter],
    shell: Mapping[str, Option | Argument | None],
) -> list[click.Parameter]:
    """The options and arguments for parameters, those of the verifier after it."""
    found: list[click.Parameter] = []
    for name, parameter in parameters.items():
        known = shell.get(name, COMMON.get(name, Option()))
        if isinstance(known, Argument):
            found.append(argument_of(parameter, known))
        elif known is not None and name != "progress":
            found.append(option_of(parameter, known))
        if name == "verifier":
            found += _params(judging, {}, shell)
    return found
