"""The engines of models that are loaded in this process."""

from dataclasses import dataclass

from synth.background import wait_for
from synth.engines.base import Engine, EngineOptions


@dataclass(slots=True)
class Running:
    """The started engines of a model, shared by all objects for the same model."""

    engine: Engine | None = None
    scorer: Engine | None = None

    def close(self) -> None:
        """Free their memory, unless this process keeps them."""
        if any(self is kept for kept in _kept.values()):
            return
        engines = [engine for engine in (self.engine, self.scorer) if engine is not None]
        self.engine = self.scorer = None
        for engine in engines:
            wait_for(engine.close())


_kept: dict[str, Running] = {}
_keeps = False


def keep_engines() -> None:
    """From now on engines stay in this process when their model is closed, and serve the next model that is the same.

    For a process that makes one part of a run after another, each by a call of its own.
    """
    global _keeps
    _keeps = True


def engines_of(engine: str, name: str, options: EngineOptions, *, trusted: bool) -> Running:
    """The engines of a model: none that is started, or those that this process keeps of the same one."""
    if not _keeps:
        return Running()
    return _kept.setdefault(repr((engine, name, options, trusted)), Running())
