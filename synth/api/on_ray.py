"""Functions whose rows may be made by actors of Ray."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from synth.api.dataset import Dataset
from synth.errors import UsageError
from synth.generation.models import Model
from synth.progress import Progress

if TYPE_CHECKING:
    from synth.distributed.call import Call

P = ParamSpec("P")
R = TypeVar("R")

APART = {
    "shard": "a run on Ray is cut into blocks by itself",
    "most": "each actor would spend as much; give each its own run, with `shard`",
    "preview": "it is made by one engine, here",
}
"""Settings that do not go with Ray, and why."""


def refuse_apart(given: Mapping[str, Any]) -> None:
    """Refuse settings that do not go with Ray, or only with it.

    Raises:
        UsageError: there are such.
    """
    if given.get("ray") is None:
        if given.get("actors") is not None:
            raise UsageError("`actors` are of a run on Ray: give `ray`")
        return
    for name, why in APART.items():
        if given.get(name) not in (None, False):
            raise UsageError(f"`{name}` does not go with `ray`: {why}")


def on_ray(function: Callable[P, R]) -> Callable[P, R | Dataset]:
    """A function that, where `ray` is given, is called by `actors` actors, each for one block of rows after another.

    It takes `output`, `restart`, `progress` and `shard`, and leaves `ray` and `actors` to this decorator.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R | Dataset:
        given: dict[str, Any] = signature.bind(*args, **kwargs).arguments
        refuse_apart(given)
        if given.get("ray") is None:
            return function(*args, **kwargs)
        from synth.api.places import FirstRows, output_at
        from synth.distributed.run import run_on_ray

        if isinstance(given.get("output"), FirstRows):
            raise UsageError("`ray`: the first rows are made by one engine, here: leave it out of a preview")
        place = output_at(given.get("output"), restart=given.get("restart", False))
        progress = given.get("progress", Progress())
        made = _call(f"{function.__module__}:{function.__name__}", given)
        return Dataset.of(place, run_on_ray(made, place, given["ray"], given.get("actors"), progress))

    return call


def _call(function: str, given: dict[str, Any]) -> "Call":
    """The call that actors make. A model that is given by name alone is one model for all their blocks."""
    from synth.distributed.call import Call

    mine = {"ray", "actors", "output", "restart", "progress"}
    arguments = {name: value for name, value in given.items() if name not in mine}
    if arguments.get("source") == "-":
        raise UsageError("`ray`: actors do not see this standard input: give the name of a file")
    for name in ("model", "teacher"):
        if arguments.get(name) is not None and not isinstance(arguments[name], Model):
            arguments[name] = Model(arguments[name])
    return Call(function, arguments)
