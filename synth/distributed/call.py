"""A call of a function of `synth` that another process makes, on another machine perhaps."""

import importlib
import os
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from synth.errors import UsageError
from synth.generation.models import Model


@dataclass(frozen=True, slots=True)
class Call:
    """A function and its arguments, apart from where its rows go.

    Attributes:
        function: as "module:function".
        arguments: by name.
    """

    function: str
    arguments: Mapping[str, Any]

    def models(self) -> Iterator[Model]:
        """The models among its arguments."""
        for value in self.arguments.values():
            if isinstance(value, Model):
                yield value

    def packed(self) -> bytes:
        """The call for `unpacked`: models by their settings, and paths as texts.

        Raises:
            UsageError: an argument cannot be sent.
        """
        cloudpickle: Any = importlib.import_module("ray.cloudpickle")
        packed = {}
        for name, value in self.arguments.items():
            try:
                packed[name] = cloudpickle.dumps(_described(value))
            except (TypeError, ValueError, AttributeError, pickle.PicklingError) as error:
                raise UsageError(f"`{name}` cannot be sent to actors ({error}): give the name of a file") from error
        whole: bytes = cloudpickle.dumps((self.function, packed))
        return whole

    @classmethod
    def unpacked(cls, packed: bytes) -> "Call":
        """The call in the process that makes it.

        Raises:
            UsageError: a model is not there.
        """
        function, arguments = pickle.loads(packed)
        return cls(function, {name: _made(pickle.loads(value)) for name, value in arguments.items()})

    def __call__(self, **more: Any) -> Any:
        """Make it, with more arguments."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)(**self.arguments, **more)


def _described(value: Any) -> Any:
    if isinstance(value, Model):
        return value.description()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return [_described(one) for one in value] if isinstance(value, list | tuple) else value


def _made(value: Any) -> Any:
    return value() if isinstance(value, partial) and value.func is Model else value
