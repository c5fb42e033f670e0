"""A command and its function have the same settings, with the same defaults, ranges and choices."""

import inspect
from collections.abc import Iterator
from typing import Any, get_args

import click
import pytest

import synth
from cli.main import COMMANDS, cli
from cli.parameters import parameters_of

NAMES = {"eval": "evaluate", "continue": "continuation"}
"""Functions that are not called like their commands: `eval` is Python's own, `continue` no name."""

OF_MODEL = {
    "engine",
    "prefix",
    "stop",
    "dtype",
    "device",
    "max_length",
    "concurrency",
    "tensor_parallel",
    "data_parallel",
}
OF_MODEL |= {"gpu_memory", "api_key", "trust_remote_code", "template_args", "mode", "thinking_share", "thought_tokens"}
OF_MODEL |= {"adapter", "engine_args"}
"""Options that say how a model is run: the function is given a `Model`, made by `synth.load` with the same settings."""

OF_VERIFIER = {"time_limit", "memory_limit", "language", "schema", "pattern", "unsafe_no_sandbox"}
"""Options that say how a verifier judges: the function is given `VerifierSettings`."""

PRINTING: dict[str, set[str]] = {
    "eval": {"as_json"},  # how it is printed
    "filter": {"listing"},  # --list prints what there is
    "template": {"as_json"},  # likewise
}
"""By command, options that its function has no setting for."""

OF_COMMANDS = {"quiet", "preview", "push", "public"}
"""Options that commands have beside their functions: `Progress`, `FirstRows` and `synth.push` do the same."""

WRITTEN: dict[tuple[str, str], tuple[Any, Any]] = {
    ("run", "source"): ("-", None),  # rows may be made from nothing
    ("filter", "steps"): ([], inspect.Parameter.empty),  # options of their own, in the order given
    ("report", "output"): (inspect.Parameter.empty, None),  # a notebook shows the page
}
"""Defaults that are written in another way on a command line: as an option, and as a setting."""

FUNCTIONS = {
    command: NAMES.get(command, command.replace("-", "_"))
    for command in COMMANDS
    if NAMES.get(command, command.replace("-", "_")) in synth.__all__
}


def options(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The defaults of a command's options, as its callback gets them; `empty` for those that have to be given."""
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    required = {str(param.name) for param in command.params if param.required}
    for param in command.params:
        monkeypatch.setattr(param, "required", False)
    monkeypatch.delenv("SYNTH_API_KEY", raising=False)
    with command.make_context(name, []) as context:
        found = dict(context.params)
    return found | dict.fromkeys(required & found.keys(), inspect.Parameter.empty)


def settings(function: Any) -> dict[str, Any]:
    return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}


@pytest.mark.parametrize("command", FUNCTIONS)
def test_options_are_settings_with_the_same_defaults(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given, known = options(command, monkeypatch), settings(getattr(synth, FUNCTIONS[command]))
    expected = given.keys() - PRINTING.get(command, set()) - (OF_COMMANDS - known.keys())
    expected -= (OF_MODEL | (OF_VERIFIER if "verifier" in given else set())) - known.keys()
    reports = {"progress"} if "quiet" in given and "progress" in known else set()
    assert known.keys() - reports - OF_MODEL == expected - OF_MODEL
    for name in expected & known.keys():
        option, setting = given[name], known[name]
        if (command, name) in WRITTEN:
            assert (option, setting) == WRITTEN[command, name], name
        elif name in ("source", "sources") and option == "-":  # standard input, which a function is told of
            assert setting is inspect.Parameter.empty, name
        elif isinstance(option, str) and isinstance(setting, tuple):  # a list, with commas
            assert tuple(filter(None, option.split(","))) == setting, name
        else:
            assert option == setting or (option in ((), None) and setting in ((), None)), name


def test_a_model_is_loaded_with_the_options_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    given, known = options("self-output", monkeypatch), settings(synth.load)
    assert known.keys() - {"name"} == OF_MODEL
    same = OF_MODEL - {"trust_remote_code", "engine"}
    assert {name: given[name] for name in same} == {name: known[name] for name in same}
    assert given["engine"] == (known["engine"],)  # of several servers, an option each
    assert known["trust_remote_code"] is False


def test_a_verifier_has_the_settings_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    from synth.generation.inputs import verifier_of

    given, known = options("self-output", monkeypatch), settings(verifier_of)
    assert {name: given[name] for name in OF_VERIFIER} == {name: known[name] for name in OF_VERIFIER}
    assert known.keys() - {"name"} == OF_VERIFIER


def ranged() -> Iterator[tuple[str, str, Any]]:
    """Every parameter with a range or with choices, and a value that it cannot have."""
    for function in [*FUNCTIONS.values(), "load"]:
        path = f"{getattr(synth, function).__module__}:{function}"
        for name, parameter in parameters_of(path).items():
            if parameter.choices:
                yield function, name, "sideways"
            elif parameter.kind is not None:
                number, allowed = get_args(parameter.kind)
                yield function, name, number(allowed.least - 1)
                yield function, name, number(2 * allowed.most)


@pytest.mark.parametrize(("function", "name", "value"), list(ranged()))
def test_a_function_refuses_what_its_command_refuses(function: str, name: str, value: Any) -> None:
    called = getattr(synth, function)
    required = [one for one in inspect.signature(called).parameters.values() if one.default is one.empty]
    given = {one.name: 1 if one.name == "rows" else "nowhere" for one in required} | {name: value}
    with pytest.raises(synth.UsageError, match=f"^`{name}` ") as raised:
        called(**given)
    assert str(value) in str(raised.value)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_is(command: str) -> None:
    made = cli.get_command(click.Context(cli), command)
    assert made is not None
    for option in made.params:
        if isinstance(option, click.Option):
            said = option.help or ""
            assert said and (said[0].isupper() or said.startswith(("--", "lm-eval"))), option.name
            assert "`" not in said and "synth." not in said and "None" not in said, said


def test_every_function_of_a_command_is_compared() -> None:
    assert len(FUNCTIONS) >= 17 and {"magpie", "continue", "verify"} <= FUNCTIONS.keys()
