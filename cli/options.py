"""Options that several commands share."""

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar, cast

import click

from synth.data.destination import check_directory, check_rows
from synth.engines.loading import LARGEST_WINDOW, remote_code
from synth.engines.open import ENGINES, WAYS

Command = TypeVar("Command", bound=Callable[..., Any])

MODEL = click.option("--model", required=True, help="The model: a local directory or a Hub id.")
PREFIX = click.option(
    "--prefix", metavar="TEXT", help="What precedes a user message, instead of what the chat template says."
)
STOP = click.option("--stop", metavar="TEXT", help="What ends a user message, with --prefix.")
TRUST = click.option(
    "--trust-remote-code",
    is_flag=True,
    expose_value=False,
    callback=lambda context, _, allowed: context.with_resource(remote_code(allowed=allowed)),
    help="Let a model run code that comes with it; without this it never does.",
)
"""On every command that loads a model or its tokenizer; it holds until the command has ended."""


FAR = 1 << 15
"""Upper bounds above it are technical: they are shown only to those who exceed them."""


def _range_of(kind: click.IntRange | click.FloatRange) -> str:
    """A range for the help, without a technical upper bound."""
    least = f"above {kind.min:,g}" if kind.min_open else f"{kind.min:,g}"
    if kind.max is not None and kind.max > FAR:
        return least if kind.min_open else f"{least} or more"
    return f"{least} to below {kind.max:,g}" if kind.max_open else f"{least} to {kind.max:,g}"


def _outside(kind: click.IntRange | click.FloatRange, number: float) -> str | None:
    """What is wrong with a number outside a range; None for any other."""
    if math.isnan(number):
        return "nan is no number"
    if kind.min is not None and (number <= kind.min if kind.min_open else number < kind.min):
        return f"{number} is too small: {'more than' if kind.min_open else 'at least'} {_written(kind.min)}"
    if kind.max is not None and (number >= kind.max if kind.max_open else number > kind.max):
        return f"{number} is too large: {'less than' if kind.max_open else 'at most'} {_written(kind.max)}"
    return None


def _written(end: float) -> str:
    return f"{end:,}" if isinstance(end, int) or not end.is_integer() else f"{int(end):,}"


class Whole(click.IntRange):
    """A whole number in a range: without an upper bound, 10^20 would fail in some library."""

    def __init__(self, least: int = 1, most: int = 1 << 20) -> None:
        super().__init__(least, most)

    def _describe_range(self) -> str:  # click asks for it: `1<=x<=1000000000000` is not for people
        return _range_of(self)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        found: int = click.INT.convert(value, param, ctx)
        if wrong := _outside(self, found):
            self.fail(wrong, param, ctx)
        return found


class Number(click.FloatRange):
    """A finite number from `least` on, or above it; click's own range lets NaN through, and infinity."""

    def __init__(self, least: float = 0.0, most: float = 1e9, *, above: bool = False, below: bool = False) -> None:
        super().__init__(least, most, min_open=above, max_open=below)

    def _describe_range(self) -> str:  # click asks for it: `1<=x<=1000000000000` is not for people
        return _range_of(self)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number."""
        found: float = click.FLOAT.convert(value, param, ctx)
        if wrong := _outside(self, found):
            self.fail(wrong, param, ctx)
        return found


ROWS, LIMIT = Whole(1, 10**12), Whole(0, 10**12)
"""Rows that may be asked for: more than any data set has, and few enough for 64 bits."""
TOKENS = Whole(1, LARGEST_WINDOW)
"""How many tokens a text may have: no model's window holds more."""
SAMPLES = Whole(1, 1 << 16)
"""How many answers may be drawn to one task."""
SEEDS = Whole(0, 2**32 - 1)
"""Seeds that every library accepts."""
DAY = 86_400.0
"""Seconds: the longest that anything waits."""


LARGEST_SHARE = 1000
"""How many times the whole a share may be."""


class Share(click.ParamType[float]):
    """A share of a whole: 20% or 0.2. More than the whole is said in percent, so that 20 is never taken for 2000%."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The share as a number, not negative; 1 is the whole."""
        text = str(value).strip()
        in_percent = text.endswith("%")
        try:
            found = float(text.removesuffix("%")) / (100 if in_percent else 1)
        except ValueError:
            found = math.nan
        if not 0 <= found < math.inf or (in_percent and found > LARGEST_SHARE):
            self.fail(f"{text} is no share; write 20% or 0.2", param, ctx)
        if not in_percent and (found > 1 or text == "1"):
            self.fail(
                f"{text} without a percent sign would be {found:.6g} times the whole; write {text}% or "
                f"{found / 100:.6g} for {text} percent, {found * 100:.6g}% for {found:.6g} times the whole",
                param,
                ctx,
            )
        return found


def _apply(options: Sequence[Callable[[Any], Any]], command: Command) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


ENGINE = click.option(
    "--engine",
    default="auto",
    show_default=True,
    metavar="|".join(WAYS),
    help="What runs the model: "
    + ", ".join(f"{entry.written or entry.name} ({entry.says})" for entry in ENGINES.values())
    + ", or an engine of yours.",
)
CONCURRENCY = click.option(
    "--concurrency",
    type=Whole(1, 1 << 16),
    default=256,
    show_default=True,
    help="Requests at once: the engine's batch.",
)
DTYPE = click.option(
    "--dtype",
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    default="auto",
    show_default=True,
    help="Number format; auto is the model's own on a GPU, float32 on a CPU.",
)


def _device(context: click.Context, _: click.Parameter, name: str) -> str:
    """Refuse a device that is not there, before anything is read or loaded."""
    if name not in ("auto", "cpu") and not context.resilient_parsing:
        from synth.engines.device import pick_device

        pick_device(name)
    return name


DEVICE = click.option(
    "--device", default="auto", show_default=True, callback=_device, help="For transformers: cuda, mps or cpu."
)
MAX_LENGTH = click.option(
    "--max-length", type=Whole(2, LARGEST_WINDOW), help="The window, in tokens. [default: the model's]"
)
TENSOR_PARALLEL = click.option(
    "--tensor-parallel", type=Whole(1, 1024), default=1, show_default=True, help="For vLLM: GPUs a model."
)


GPU_MEMORY = click.option(
    "--gpu-memory",
    type=Number(0.05, 1),
    help="For vLLM: share of the GPU's memory that a model takes. [default: 0.9, shared by the models that are open]",
)
API_KEY = click.option("--api-key", envvar="SYNTH_API_KEY", help="For a server. [env: SYNTH_API_KEY]")


def announced(command: Command) -> Command:
    """Print that a command with a model has begun, as model libraries take many seconds to load."""

    @wraps(command)
    def begin(**given: Any) -> Any:
        if not given.get("quiet") and given.get("model", True) is not None:
            click.echo("starting …", err=True)
        return command(**given)

    return cast(Command, begin)


def engine_options(command: Command) -> Command:
    """How a model is run; `EngineOptions` has the same names."""
    command = announced(command)
    return _apply(
        [ENGINE, CONCURRENCY, DTYPE, DEVICE, MAX_LENGTH, TENSOR_PARALLEL, GPU_MEMORY, API_KEY, TRUST],
        command,
    )


def scoring_options(command: Command) -> Command:
    """How a model is run that only scores."""
    engine = click.option(
        "--engine",
        default="auto",
        show_default=True,
        metavar="auto|transformers|URL|MODULE:FUNCTION",
        help="Where the model runs: here; on a server, whose log-probabilities are taken; in an engine of yours.",
    )
    command = announced(command)
    return _apply([engine, CONCURRENCY, DTYPE, DEVICE, MAX_LENGTH, API_KEY, TRUST], command)


def checked(check: Callable[[str], None]) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """A callback for `-o` that refuses a name at once, as `synth.data.destination` says."""

    def callback(_: click.Context, __: click.Parameter, output: str | None) -> str | None:
        if output not in (None, "-"):
            check(str(output))
        return output

    return callback


def directory_for(holds: str) -> Callable[[click.Context, click.Parameter, str | None], str | None]:
    """A callback for `-o DIR`."""
    return checked(lambda output: check_directory(output, holds))


def output_options(command: Command) -> Command:
    """Where rows go."""
    return _apply(
        [
            click.option(
                "-o",
                "--output",
                metavar="DIR|FILE",
                callback=checked(check_rows),
                help="A dataset directory, or a .jsonl, .parquet or .arrow file. [default: JSON lines to stdout]",
            ),
            click.option("--restart", is_flag=True, help="Throw away what an earlier run left in the output."),
            click.option("--quiet", is_flag=True, help="Print errors only."),
        ],
        command,
    )


def input_options(command: Command) -> Command:
    """Which rows go in."""
    return _apply(
        [
            click.argument("source", metavar="[INPUT]", default="-"),
            click.option("--limit", type=LIMIT, help="Take so many rows of the input."),
            click.option("--prompt-column", metavar="NAME", help="The column with the prompt, if not recognised."),
            click.option("--reference-column", metavar="NAME", help="The column with the human answer, likewise."),
        ],
        command,
    )


def sampling_options(command: Command) -> Command:
    """How answers are drawn."""
    return _apply(
        [
            click.option("--seed", type=SEEDS, default=0, show_default=True),
            click.option("--temperature", type=Number(), default=0.7, show_default=True, help="0 is greedy."),
            click.option("--top-p", type=Number(0, 1, above=True), default=0.95, show_default=True),
            click.option(
                "--max-tokens", type=TOKENS, default=2048, show_default=True, help="Most tokens of an answer."
            ),
        ],
        command,
    )


def verifier_options(command: Command) -> Command:
    """Which verifier judges, and how; `filters.verdict.Settings` has the same names."""
    options = [
        click.option(
            "--verifier",
            metavar="NAME|MODULE:FUNCTION",
            help="What judges answers: one of those below, or a function of yours. [default: what all rows name, "
            "as known benchmarks do]",
        ),
        click.option(
            "--time-limit", type=Number(0.01, DAY), default=10.0, show_default=True, help="Seconds for one check."
        ),
        click.option("--memory-limit", type=Whole(16), default=1024, show_default=True, help="MiB for a program."),
        click.option("--language", metavar="NAME", help="For compile, instead of what the answer's fence says."),
        click.option("--schema", metavar="FILE", help="For json: a JSON Schema."),
        click.option("--pattern", metavar="REGEX", help="For regex, instead of the row's reference."),
        click.option("--judge", metavar="MODEL[@URL]", help="For judge: another model that judges. [default: --model]"),
        click.option("--judge-prompt", metavar="FILE", default="judge", help="For judge: a prompt of your own."),
        click.option("--unsafe-no-sandbox", is_flag=True, help="Run programs of models without isolation."),
    ]
    return _apply(options, command)


def answering_options(command: Command) -> Command:
    """Options of a model that answers tasks, and where its rows go."""
    return _apply([sampling_options, PREFIX, STOP, engine_options, output_options], command)
