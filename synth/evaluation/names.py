"""Names of the models and the suites of an evaluation."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from synth.errors import UsageError
from synth.generation.models import Model

AnyModel = str | os.PathLike[str] | Model
"""NAME=MODEL, or MODEL: a directory, a Hub id, or MODEL@URL; a model from `synth.load`; what `synth.train` returns."""


def split_name(text: str) -> tuple[str | None, str]:
    """NAME and FILE of NAME=FILE; no name where the whole is the name of a file, or has none."""
    name, _, source = text.partition("=")
    return (name, source) if source and not Path(text).exists() else (None, text)


def name_models(given: AnyModel | Sequence[AnyModel] | Mapping[str, AnyModel]) -> dict[str, str | Model]:
    """Models by their names in tables: the given ones, or else the last parts of their paths.

    Raises:
        UsageError: there are none, two bear one name, or one cannot be the name of a directory.
    """
    if isinstance(given, Mapping):
        named = [(name, model if isinstance(model, Model) else os.fspath(model)) for name, model in given.items()]
    else:
        several = (given,) if isinstance(given, str | os.PathLike | Model) else given
        named = [_named(model) for model in several]
    if not named:
        raise UsageError("`models` names no model")
    models: dict[str, str | Model] = {}
    for name, model in named:
        if not name or name in (".", "..") or "/" in name:
            said = model.given if isinstance(model, Model) else model
            raise UsageError(f"`models` {said}: give it a name of its own, as in tuned={said}")
        if name in models:
            said = model.given if isinstance(model, Model) else model
            raise UsageError(f"two models are called {name}: give one another name, as in other={said}")
        models[name] = model
    return models


def adapter_name(place: str) -> str:
    """What an adapter is called where no name is given: DIR of DIR/adapter, where a training leaves it."""
    path = Path(place)
    return path.parent.name if path.name == "adapter" and path.parent.name else path.name


def name_adapters(given: str | Sequence[str] | Mapping[str, str | os.PathLike[str]]) -> dict[str, str]:
    """Adapters by the names that the model has with them in tables.

    Raises:
        UsageError: two bear one name.
    """
    if isinstance(given, Mapping):
        return {name: os.fspath(adapter) for name, adapter in given.items()}
    named: dict[str, str] = {}
    for text in (given,) if isinstance(given, str) else given:
        name, place = split_name(text)
        name = name or adapter_name(place)
        if name in named:
            raise UsageError(f"two adapters are called {name}: give one another name, as in other={place}")
        named[name] = place
    return named


def _named(model: AnyModel) -> tuple[str, str | Model]:
    if isinstance(model, Model):
        adapter = model.options.adapter
        return (Path(model.given).name if adapter is None else adapter_name(adapter)), model
    if isinstance(model, str):
        name, place = split_name(model)
        return (Path(place).name if name is None else name), place
    return Path(model).name, os.fspath(model)
