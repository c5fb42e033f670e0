"""Numbers beyond the range of an option are refused in one line, before anything is read."""

from collections.abc import Iterator
from typing import Any

import click
import pytest

from cli.main import COMMANDS, cli
from cli.options import Number, Share
from tests.cli.running import synth

HUGE = "1" + "0" * 20
SIGNED = ("train --reward-weight",)
"""May be less than zero."""


def numbers() -> Iterator[tuple[str, click.Option]]:
    """Every option of every command that takes a number."""
    for name in COMMANDS:
        command = cli.get_command(click.Context(cli), name)
        assert command is not None
        for option in command.params:
            if isinstance(option, click.Option) and _is_number(option.type):
                yield f"{name} {option.opts[-1]}", option


def _is_number(kind: click.ParamType[Any]) -> bool:
    return isinstance(kind, Number | Share | click.types.IntParamType | click.types.FloatParamType)


@pytest.mark.parametrize(("name", "option"), list(numbers()))
def test_no_number_is_without_bounds(name: str, option: click.Option) -> None:
    below = () if name in SIGNED else ("-1",)
    for text in (HUGE, f"-{HUGE}", "nan", "inf", "-inf", "1e400", "9" * 5000, *below):
        with pytest.raises(click.BadParameter):
            option.type.convert(text, option, None)
    if option.default is not None and not repr(option.default).startswith("Sentinel"):
        option.type.convert(option.default, option, None)


def test_there_are_such_options() -> None:
    names = {name for name, _ in numbers()}
    some = {"ssr --clusters", "self-output --few-shot", "train --gradient-accumulation-steps"}
    assert len(names) > 100 and some <= names


@pytest.mark.parametrize(
    "command",
    [
        ["ssr", "rows.jsonl", "--model", "M", "-n", 5, "--clusters", HUGE],
        ["self-output", "rows.jsonl", "--model", "M", "--few-shot", HUGE],
        ["train", "rows.jsonl", "--model", "M", "-o", "out", "--lr", "nan"],
        ["merge", "a", "b", "-o", "out", "--ratio", "nan"],
        ["magpie", "--model", "M", "-n", 5, "--temperature", "inf"],
    ],
)
def test_one_line_says_so(command: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    assert synth(*command) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("Error: Invalid value for '--") and str(command[-1]) in last


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["magpie", "--model", "M", "-n", "0"], "'-n' / '--rows': 0 is too small: at least 1"),
        (["magpie", "--model", "M", "-n", HUGE], f"{HUGE} is too large: at most 1,000,000,000,000"),
        (["magpie", "--model", "M", "-n", "5", "--top-p", "0"], "0.0 is too small: more than 0"),
        (["magpie", "--model", "M", "-n", "5", "--top-p", "1.5"], "1.5 is too large: at most 1"),
        (["train", "x", "--model", "M", "-o", "o", "--dropout", "1"], "1.0 is too large: less than 1"),
    ],
)
def test_it_is_told_which_end_was_passed(command: list[object], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth(*command) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_has_no_inequalities(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert synth(name, "--help") == 0
    shown = capsys.readouterr().out
    assert "<x" not in shown and "x<" not in shown and "<=x" not in shown and "0000000" not in shown
