"""What values settings may have: ranges of numbers, and choices.

A parameter's annotation says it once, by a name of this module. `checked` refuses any other value where a function is
called; the command line refuses it in an option, whose help shows what may be given.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from types import UnionType
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin

from synth.errors import UsageError

LARGEST_WINDOW = 1 << 24
"""Tokens: no model's window holds more, and no text of one is longer."""
DAY = 86_400.0
"""Seconds: the longest that anything waits."""
FAR = 1 << 15
"""Upper ends above it are the computer's, not the person's, and are told to whoever passes them alone."""

LARGEST_SHARE = 1000
"""How many times the whole a share may be."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two ends. Without an upper one, 10^20 would be found out by whatever library meets it.

    Attributes:
        least: the lowest.
        most: the highest.
        above: whether the lowest itself is too small.
        below: whether the highest itself is too large.
    """

    least: float
    most: float
    above: bool = False
    below: bool = False

    def fault(self, number: float) -> str | None:
        """What is wrong with a number outside; None for any other."""
        if math.isnan(number):
            return "nan is no number"
        if number <= self.least if self.above else number < self.least:
            return f"{number} is too small: {'more than' if self.above else 'at least'} {self.least:,g}"
        if number >= self.most if self.below else number > self.most:
            return f"{number} is too large: {'less than' if self.below else 'at most'} {_written(self.most)}"
        return None

    def __str__(self) -> str:
        least = f"above {self.least:,g}" if self.above else f"{self.least:,g}"
        if self.most > FAR:
            return least if self.above else f"{least} or more"
        return f"{least} to below {self.most:,g}" if self.below else f"{least} to {self.most:,g}"


class Shares(Range):
    """Shares of a whole, which is 1. In a text they may be percent."""

    __slots__ = ()

    def read(self, text: str) -> float:
        """A share that is written: 20% or 0.2. More than the whole is said in percent: 20 is never taken for 2000%.

        Raises:
            ValueError: it is none; the message says how it is written.
        """
        text = text.strip()
        in_percent = text.endswith("%")
        try:
            found = float(text.removesuffix("%")) / (100 if in_percent else 1)
        except ValueError:
            found = math.nan
        if not 0 <= found < math.inf or (in_percent and found > LARGEST_SHARE):
            raise ValueError(f"{text} is no share; write 20% or 0.2")
        if not in_percent and (found > 1 or text == "1"):
            raise ValueError(
                f"{text} without a percent sign would be {found:.6g} times the whole; write {text}% or "
                f"{found / 100:.6g} for {text} percent, {found * 100:.6g}% for {found:.6g} times the whole"
            )
        if fault := self.fault(found):
            raise ValueError(fault)
        return found


Rows = Annotated[int, Range(1, 10**12)]
"""More than there are anywhere, and few enough to be counted in 64 bits."""
Limit = Annotated[int, Range(0, 10**12)]
Tokens = Annotated[int, Range(1, LARGEST_WINDOW)]
Window = Annotated[int, Range(2, LARGEST_WINDOW)]
ReplyTokens = Annotated[int, Range(8, LARGEST_WINDOW)]
Samples = Annotated[int, Range(1, 1 << 16)]
Concurrency = Annotated[int, Range(1, 1 << 16)]
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""What every library takes as a seed."""
Turns = Annotated[int, Range(1, 1000)]
Devices = Annotated[int, Range(1, 1024)]
Processes = Annotated[int, Range(1, 1024)]
Steps = Annotated[int, Range(1, 10**9)]
"""More optimizer steps than anyone takes."""
Count = Annotated[int, Range(1, 1 << 20)]
CountFromZero = Annotated[int, Range(0, 1 << 20)]
Mebibytes = Annotated[int, Range(16, 1 << 20)]

Temperature = Annotated[float, Range(0, 1e9)]
TopP = Annotated[float, Range(0, 1, above=True)]
NonNegative = Annotated[float, Range(0, 1e9)]
Positive = Annotated[float, Range(0, 1e9, above=True)]
Seconds = Annotated[float, Range(0.01, DAY)]
Fraction = Annotated[float, Range(0, 1)]
Dropout = Annotated[float, Range(0, 1, below=True)]
MemoryShare = Annotated[float, Range(0.05, 1)]
Weight = Annotated[float, Range(-1000, 1000)]
"""Of a part of a sum; below zero it takes away."""
Share = Annotated[float, Shares(0, LARGEST_SHARE)]

TrainOn = Literal["assistant", "last", "all"]
"""What of a conversation is trained on: all assistant turns, the last one, or every token."""
Overlong = Literal["drop", "truncate", "window"]
"""What becomes of rows longer than the window: rejected, cut at its end, or kept and scored in overlapping windows."""
OverlongTrained = Literal["drop", "truncate"]
Over = Literal["row", "corpus"]
Unit = Literal["rows", "tokens"]
Order = Literal["interleave", "shuffle", "append"]
Schedule = Literal["cosine", "linear", "constant_with_warmup", "constant"]
TokenLoss = Literal["sft", "dft", "eaft"]
TrainingMethod = Literal["sft", "dpo", "ipo", "simpo", "distil", "grpo"]
TrainingDType = Literal["auto", "float32", "bfloat16"]
Divergence = Literal["kl", "reverse-kl", "js"]
"""Of the model in training from the reference: KL(reference ‖ model), KL(model ‖ reference), or Jensen-Shannon's."""
ReplayLoss = Literal["nll", "kl", "reverse-kl", "js"]
ReplayPositions = Literal["every", "trained"]
EarlierTasks = Literal["own", "gold", "magpie", "none"]
"""What is rehearsed of the earlier tasks of a sequence: own answers, human ones, own questions, nothing."""
TrainedWeights = Literal["float32", "bfloat16"]
OptimizerName = Literal["adamw", "adamw-8bit"]
Quantised = Literal["4bit"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
MessagesOnly = Literal["messages"]
Asked = Literal["thinking", "plain", "both"]
"""How models that can think or not are asked."""


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """A function that refuses values outside those of its annotations before it does anything.

    Raises:
        UsageError: when it is called with such a value.
    """
    signature = inspect.signature(function)
    kinds = {name: _kind(parameter.annotation) for name, parameter in signature.parameters.items()}

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            if value is not None and (fault := _fault(kinds[name], value)):
                raise UsageError(f"`{name}` {fault}")
        return function(*args, **kwargs)

    return call


def _kind(annotation: Any) -> Any:
    """The name of this module in an annotation, `None` beside it left out."""
    if get_origin(annotation) in (Union, UnionType):
        kinds = [one for one in get_args(annotation) if one is not type(None)]
        return kinds[0] if len(kinds) == 1 else None
    return annotation


def _fault(kind: Any, value: Any) -> str | None:
    """What is wrong with a value of a kind; None where nothing is, or nothing is known of the kind."""
    if get_origin(kind) is Literal:
        return None if value in get_args(kind) else f"is one of {', '.join(get_args(kind))}, not {value}"
    if get_origin(kind) is Sequence:
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        return next(filter(None, (_fault(get_args(kind)[0], one) for one in several)), None)
    if get_origin(kind) is not Annotated:
        return None
    number, allowed = get_args(kind)
    try:
        if isinstance(value, str) or number(value) != value:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        if isinstance(value, float) and math.isnan(value):
            return "nan is no number"
        return f"is {'a whole number' if number is int else 'a number'}, not {value!r}"
    fault: str | None = allowed.fault(value)
    return fault


def _written(end: float) -> str:
    return f"{end:,}" if isinstance(end, int) or not end.is_integer() else f"{int(end):,}"
