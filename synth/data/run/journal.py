"""The journal of a run: every finished row that is in no shard yet, a line each, appended as it finishes, in any order.

In memory is only where each line is: rows that wait for one before them may be many.
"""

import json
import os
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any

from synth.data.row import BASE, Outcome, Row

NAME = "journal.jsonl"

Taken = tuple[float, int, int]
"""Seconds, tokens in and tokens out that a run had taken when a row was kept."""


class Journal(Mapping[int, Outcome]):
    """The rows of a run's journal by their index; each is read from the disk when it is asked for."""

    def __init__(self, folder: Path) -> None:
        """The journal of a directory; nothing is read or written yet."""
        self._path = folder / NAME
        self._places: dict[int, tuple[int, int]] = {}
        self._file: FileIO | None = None
        self._end = 0
        self.begun = False

    def __getitem__(self, index: int) -> Outcome:
        """What was made of a row; what that carried from the input comes with the input."""
        return _outcome(json.loads(self._line(index)))

    def __iter__(self) -> Iterator[int]:
        """The indices of its rows."""
        return iter(self._places)

    def __len__(self) -> int:
        """How many rows it has."""
        return len(self._places)

    def read(self, first: int) -> Taken:
        """Find the rows that an earlier run kept, from an index on; what all of them had taken."""
        taken: Taken = (0.0, 0, 0)
        if not self._path.is_file():
            return taken
        end = 0
        with open(self._path, "rb") as file:
            for line in file:
                begin, end = end, end + len(line)
                try:
                    entry = json.loads(line)
                    index: int = entry["index"]
                    if index < first:
                        continue
                    seconds, *tokens = entry.get("taken", (0.0, 0, 0))  # an earlier release did not say
                    said = float(seconds), int(tokens[0]), int(tokens[1])
                    _outcome(entry)
                except (ValueError, TypeError, LookupError, RecursionError):
                    continue  # cut short by a kill: that row is made again
                self._places[index] = begin, len(line)
                taken = max(taken[0], said[0]), max(taken[1], said[1]), max(taken[2], said[2])
        return taken

    def add(self, index: int, outcome: Outcome, taken: Taken) -> None:
        """Append a row to the journal, which this run has rewritten before.

        Raises:
            OSError: the disk is full or not writable.
        """
        assert self._file is not None
        entry = {
            "index": index,
            "reason": outcome.reason,
            "row": outcome.row.own(),
            "more": [row.own() for row in outcome.more],
            "pairs": outcome.pairs,
            "taken": taken,
        }
        line = json.dumps(entry, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"
        done = 0
        while done < len(line):  # a line that a full disk has cut short is written over by the next
            done += os.pwrite(self._file.fileno(), line[done:], self._end + done)
        self._places[index] = self._end, len(line)
        self._end += len(line)

    def rewrite(self, first: int) -> None:
        """Write it anew with its rows from an index on, in one step.

        Raises:
            OSError: the disk is full or not writable.
        """
        fresh, places = self._path.with_name(".journal.tmp"), {}
        with open(fresh, "wb") as file:
            for index in sorted(index for index in self._places if index >= first):
                line = self._line(index)
                places[index] = file.tell(), len(line)
                file.write(line)
            end = file.tell()
        os.replace(fresh, self._path)
        self.close()
        self._file = open(self._path, "r+b", buffering=0)  # noqa: SIM115 (lives as long as the run)
        self._places, self._end, self.begun = places, end, True

    def close(self) -> None:
        """Close the file; no row can be read any more."""
        if self._file is not None:
            self._file.close()

    def _line(self, index: int) -> bytes:
        begin, length = self._places[index]
        if self._file is None:
            self._file = open(self._path, "rb", buffering=0)  # noqa: SIM115 (lives as long as the run)
        return os.pread(self._file.fileno(), length, begin)


def _outcome(entry: dict[str, Any]) -> Outcome:
    more = [_row(row) for row in entry["more"]]
    return Outcome(_row(entry["row"]), entry["reason"], more, entry["pairs"])


def _row(record: dict[str, Any]) -> Row:
    own = {name: record.pop(name) for name in BASE.names}
    return Row(**own, extra=record)
