"""Finished rows that wait for one before them: a few in memory, the others on disk, however many they are."""

import pickle
from typing import TYPE_CHECKING

from synth.data.row import Outcome
from synth.errors import RunError

if TYPE_CHECKING:
    import sqlite3


class Waiting:
    """Outcomes by the index of their row.

    Those beyond `most` go to a table in a temporary file without a name: nothing of it is left, whatever ends the
    process. It is the place of memory, not of the journal: rows there have what they carry from their input, too.
    """

    def __init__(self, most: int) -> None:
        """Nothing waits.

        Args:
            most: how many are in memory.
        """
        self._most = most
        self._here: dict[int, Outcome] = {}
        self._there: set[int] = set()
        self._table: sqlite3.Connection | None = None

    def __len__(self) -> int:
        """How many wait."""
        return len(self._here) + len(self._there)

    def put(self, index: int, outcome: Outcome) -> None:
        """Have one wait.

        Raises:
            RunError: the disk is full.
        """
        if len(self._here) < self._most:
            self._here[index] = outcome
            return
        self._ask("INSERT INTO waiting VALUES (?, ?)", index, pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL))
        self._there.add(index)

    def take(self, index: int) -> Outcome | None:
        """One that waits no longer; None where it is not finished.

        Raises:
            RunError: the disk fails.
        """
        if index not in self._there:
            return self._here.pop(index, None)
        self._there.remove(index)
        [[packed]] = self._ask("SELECT outcome FROM waiting WHERE number = ?", index)
        self._ask("DELETE FROM waiting WHERE number = ?", index)
        outcome: Outcome = pickle.loads(packed)
        return outcome

    def _ask(self, query: str, *values: object) -> list[tuple[bytes]]:
        import sqlite3  # needed by few runs

        try:
            if self._table is None:
                self._table = sqlite3.connect("", isolation_level=None)  # without a name: in a temporary file
                self._table.execute("PRAGMA journal_mode = OFF")
                self._table.execute("CREATE TABLE waiting (number INTEGER PRIMARY KEY, outcome BLOB)")
            return self._table.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise RunError(
                f"finished rows cannot wait in the folder for temporary files ({error}). What was finished is kept: "
                "free some space there, or set TMPDIR to another folder, and run this again (without `restart`)"
            ) from error
