"""Options are made of parameters: what the source of a function says, and what only a shell knows."""

import inspect

import click
import pytest

import synth
from cli.magpie import command as magpie
from cli.options import Named, in_a_shell
from cli.parameters import REQUIRED, parameters_of


def test_parameters_are_read_as_python_has_them() -> None:
    read = parameters_of("synth.api.magpie:magpie")
    known = inspect.signature(synth.magpie).parameters
    assert list(read) == list(known)
    for name, parameter in read.items():
        if name != "progress":
            assert (known[name].default is inspect.Parameter.empty) == (parameter.default is REQUIRED)
            assert parameter.default is REQUIRED or parameter.default == known[name].default
        assert parameter.said, name


def test_help_has_default_range_and_text() -> None:
    shown = magpie.get_help(click.Context(magpie, terminal_width=200))
    [line] = [line for line in shown.splitlines() if line.strip().startswith("--turns")]
    assert " ".join(line.split()) == "--turns INTEGER User turns a conversation has. [default: 1; 1 to 1,000]"


def test_a_docstring_is_worded_for_a_shell() -> None:
    said = 'with `mask_above`: as `synth.score_tokens` does; "auto" is `gold`.'
    assert (
        in_a_shell(said, {"mask_above": "--mask-above"})
        == "With --mask-above: as synth score-tokens does; auto is gold."
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [("effort=low", ("effort", "low")), ("steps=3", ("steps", 3)), ("on=true", ("on", True)), ("a=b=c", ("a", "b=c"))],
)
def test_a_value_with_its_name(text: str, found: tuple[str, object]) -> None:
    assert Named().convert(text, None, None) == found


@pytest.mark.parametrize("text", ["effort", "=low", ""])
def test_a_value_without_its_name(text: str) -> None:
    with pytest.raises(click.BadParameter, match="NAME=VALUE"):
        Named().convert(text, None, None)
