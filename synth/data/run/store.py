"""What keeps a store after the directory of a run; here nothing, where the directory is the run's own place."""

import os
from pathlib import Path
from typing import Protocol


class Store(Protocol):
    """Is kept after a directory; `synth.data.store.copy` does it for one that is the copy of a place elsewhere."""

    def landed(self) -> None:
        """Shards have landed: have them carried, meanwhile. Raises RunError where an earlier time failed."""
        ...

    def caught_up(self) -> None:
        """Wait until what had landed before is carried."""
        ...

    def settle(self) -> None:
        """Carry all there is now. Raises RunError where that fails."""
        ...

    def elsewhere(self, file: Path) -> os.PathLike[str]:
        """A file that is not in the directory any more, where the store has it."""
        ...


class Here:
    """No store: the directory is all there is."""

    def landed(self) -> None:
        """Nothing to do."""

    def caught_up(self) -> None:
        """Nothing to wait for."""

    def settle(self) -> None:
        """Nothing to do."""

    def elsewhere(self, file: Path) -> os.PathLike[str]:
        """The file itself."""
        return file


HERE = Here()
