"""Options and arguments, made of the parameters of functions; and what only a shell knows of these."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import click

from cli.parameters import REQUIRED, Parameter
from synth.engines.open import ENGINES, WAYS
from synth.errors import with_options
from synth.values import Range, Shares


class Number(click.ParamType[float]):
    """A number of a range."""

    def __init__(self, number: type[float], allowed: Range) -> None:
        self.name = "integer" if number is int else "number"
        self.allowed = allowed
        self._text: click.ParamType[Any] = click.INT if number is int else click.FLOAT

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        found: float = self._text.convert(value, param, ctx)
        if fault := self.allowed.fault(found):
            self.fail(fault, param, ctx)
        return found


class Share(click.ParamType[float]):
    """A share of a whole: 20% or 0.2."""

    name = "share"

    def __init__(self, allowed: Shares) -> None:
        self.allowed = allowed

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share as a number; 1 is the whole."""
        try:
            return self.allowed.read(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Listed(click.ParamType[tuple[str, ...]]):
    """Several values in one word, between commas."""

    name = "list"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """The values."""
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(filter(None, (part.strip() for part in parts)))


class Named(click.ParamType[tuple[str, Any]]):
    """A value with its name: NAME=VALUE, JSON where it is JSON."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Any]:
        """The name and the value."""
        name, equals, text = str(value).partition("=")
        if not name or not equals:
            self.fail(f"{value} is written NAME=VALUE", param, ctx)
        try:
            return name, json.loads(text)
        except ValueError:
            return name, text


def _by_name(ctx: click.Context, param: click.Parameter, pairs: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """The values of a repeated NAME=VALUE."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise click.BadParameter(f"{name} is given twice", ctx, param)
        found[name] = value
    return found


@dataclass(frozen=True, slots=True)
class Option:
    """What only a shell knows of a parameter that is an option.

    Attributes:
        names: how it is written; by the parameter's name where nothing else is said.
        metavar: what stands for its value in the help.
        help: what the help says, where the docstring of the function would not do.
        once: whether it is given once, though the function may take several values.
        listed: whether several values are one word, between commas; else the option is repeated.
        envvar: the variable of the environment that gives it, too.
        required: whether a shell needs it where the function does not.
        alone: what it means where it is given without a value.
    """

    names: tuple[str, ...] = ()
    metavar: str | None = None
    help: str | None = None
    once: bool = False
    listed: bool = False
    envvar: str | None = None
    required: bool = False
    alone: str | None = None


@dataclass(frozen=True, slots=True)
class Argument:
    """What only a shell knows of a parameter that is given without a name.

    Attributes:
        metavar: what stands for it in the help.
        default: what it is where it is left out.
        required: whether it, or of several one at least, has to be given.
    """

    metavar: str
    default: str | None = None
    required: bool = True


DIRECTORY = Option(("-o", "--output"), metavar="DIR")
COMMON: Mapping[str, Option | Argument] = {
    "source": Argument("[INPUT]", default="-"),
    "rows": Option(("-n", "--rows")),
    "output": Option(
        ("-o", "--output"),
        metavar="DIR|FILE",
        help="A dataset directory, or a .jsonl, .parquet or .arrow file. [default: JSON lines to stdout]",
    ),
    "model": Option(help="The model: a local directory or a Hub id."),
    "engine": Option(
        metavar="|".join(WAYS),
        help="What runs the model: "
        + ", ".join(f"{entry.written or entry.name} ({entry.says})" for entry in ENGINES.values())
        + ", or an engine of yours.",
    ),
    "api_key": Option(envvar="SYNTH_API_KEY", help="For a server. [env: SYNTH_API_KEY]"),
    "template_args": Option(("--template-arg",)),
    "engine_args": Option(("--engine-arg",)),
    "adapter": Option(metavar="PATH|ID"),
    "verifier": Option(
        metavar="NAME|MODULE:FUNCTION",
        help="What tells a right answer: one of those below, or a function of yours. [default: what all rows name, as "
        "known benchmarks do]",
    ),
    "judge_prompt": Option(metavar="FILE"),
    "shard": Option(metavar="I/N"),
    "ray": Option(
        metavar="[HOST:PORT]",
        alone="auto",
        help="Have actors of a Ray cluster make the rows, block by block, each with an engine of its own; without an "
        "address the cluster on this machine, which is started where there is none.",
    ),
    "schema": Option(metavar="FILE"),
    "pattern": Option(metavar="REGEX"),
    "language": Option(metavar="NAME"),
    "prompt_column": Option(metavar="NAME"),
    "reference_column": Option(metavar="NAME"),
    "text_column": Option(metavar="NAME"),
}
"""Of parameters that functions have in common."""


class _Shown(click.Option):
    """An option whose help has its range in words."""

    def get_help_extra(self, ctx: click.Context) -> click.types.OptionHelpExtra:
        extra = super().get_help_extra(ctx)
        if isinstance(self.type, Number):
            extra["range"] = str(self.type.allowed)
        return extra


def option_of(parameter: Parameter, shell: Option) -> click.Option:
    """The option for a parameter."""
    words = [*(shell.names or ("--" + parameter.name.replace("_", "-"),)), parameter.name]
    if parameter.default is False:
        return _Shown(words, is_flag=True, help=shell.help or parameter.said)
    kind = _type(parameter, shell)
    default: dict[str, Any] = {}
    if parameter.default not in (REQUIRED, None, ()):
        default = {"default": f"{100 * parameter.default:g}%" if isinstance(kind, Share) else parameter.default}
    if shell.alone is not None:
        default |= {"is_flag": False, "flag_value": shell.alone}
    named = isinstance(kind, Named)
    repeated = named or (parameter.several and not shell.listed and not shell.once)
    if repeated and isinstance(default.get("default"), str):
        default = {"default": [parameter.default]}
    return _Shown(
        words,
        type=kind,
        multiple=repeated,
        show_default=True,
        required=shell.required or parameter.default is REQUIRED,
        metavar=shell.metavar or _metavar(parameter, kind),
        help=(shell.help or parameter.said) + " May be repeated." * repeated,
        envvar=shell.envvar,
        callback=_by_name if named else None,
        **default,
    )


def _type(parameter: Parameter, shell: Option) -> click.ParamType[Any]:
    if parameter.choices:
        return click.Choice(parameter.choices)
    if shell.listed:
        return Listed()
    if "Mapping" in parameter.names and not parameter.several:
        return Named()
    if parameter.kind is None:
        return click.STRING
    number, allowed = get_args(parameter.kind)
    return Share(allowed) if isinstance(allowed, Shares) else Number(number, allowed)


def _metavar(parameter: Parameter, kind: click.ParamType[Any]) -> str | None:
    if "ModelName" in parameter.names:
        return "MODEL" if parameter.default is REQUIRED else "MODEL[@URL]"
    return None if isinstance(kind, click.Choice) else kind.name.upper()


def argument_of(parameter: Parameter, shell: Argument) -> click.Argument:
    """The argument for a parameter."""
    if parameter.several:
        return click.Argument([parameter.name], metavar=shell.metavar, nargs=-1, required=shell.required)
    default: dict[str, Any] = {"required": shell.required} if shell.default is None else {"default": shell.default}
    return click.Argument([parameter.name], metavar=shell.metavar, **default)


_CALLED = {"evaluate": "eval", "continuation": "continue"}
"""Commands that are not called like their functions."""


def in_a_shell(said: str, options: Mapping[str, str]) -> str:
    """What a docstring says of a parameter, as a help says it.

    Args:
        said: the entry of the docstring.
        options: how the settings of the command are written.
    """
    text = with_options(said, options)
    text = re.sub(r"`synth\.(\w+)`", lambda name: f"synth {_CALLED.get(name[1], name[1].replace('_', '-'))}", text)
    text = re.sub(r"`([^`]*)`", r"\1", text)
    text = re.sub(r'"([\w-]+)"(?!:)', r"\1", text)
    return text[:1].upper() + text[1:]
