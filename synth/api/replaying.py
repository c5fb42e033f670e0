"""Replay as an objective of its own, as `synth.train` is told of it."""

from contextlib import AbstractContextManager, nullcontext

from synth.api.places import Source, source_at
from synth.errors import UsageError
from synth.training.fresh import is_fresh
from synth.training.settings import ReplaySettings


def replay_settings(
    source: Source, replay: Source | None, given: ReplaySettings, *, chosen: bool
) -> ReplaySettings | None:
    """How replay is an objective; None where there is none.

    Args:
        source: the task's rows.
        replay: those of replay, where they are a set apart.
        given: the settings.
        chosen: whether the size of its batches is not the default.

    Raises:
        UsageError: rows of replay are named twice, or nowhere although a setting is of them.
    """
    if replay is not None and given.sources:
        raise UsageError("`replay` and `replay_sources` are two ways to say what replay is: give one of them")
    if replay is not None or given.sources:
        if all(isinstance(one, str) and one == "-" for one in (source, replay)):  # tables compare value by value
            raise UsageError("standard input is one set: only one of the task and `replay` can be -")
        return given
    plain = ReplaySettings(given.tokens_per_batch)
    set_apart = [name for name in ("weight", "loss", "positions") if getattr(given, name) != getattr(plain, name)]
    if chosen or set_apart:
        name = set_apart[0] if set_apart else "tokens_per_batch"
        raise UsageError(f"`replay_{name}` is of replay, and there is none: give `replay` or `replay_sources`")
    return None


def replay_at(replay: Source | None) -> AbstractContextManager[str | None]:
    """Where the rows of replay can be read, while it is open; None where there is no set of them."""
    return nullcontext() if replay is None or is_fresh(replay) else source_at(replay)
