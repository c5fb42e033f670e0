"""The engines of models that are loaded in this process."""

from dataclasses import dataclass

from synth.background import wait_for
from synth.engines.base import Engine


@dataclass(slots=True)
class Running:
    """The started engines of a model, shared by all objects for the same model."""

    engine: Engine | None = None
    scorer: Engine | None = None

    def close(self) -> None:
        """Free their memory."""
        engines = [engine for engine in (self.engine, self.scorer) if engine is not None]
        self.engine = self.scorer = None
        for engine in engines:
            wait_for(engine.close())
