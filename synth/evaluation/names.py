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


def _named(model: AnyModel) -> tuple[str, str | Model]:
    if isinstance(model, Model):
        return Path(model.given).name, model
    if isinstance(model, str):
        name, place = split_name(model)
        return (Path(place).name if name is None else name), place
    return Path(model).name, os.fspath(model)
