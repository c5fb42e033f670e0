"""Sends a finished data set, evaluation or model to the Hub, in an order that may be cut off anywhere.

First a card that says how many rows there are to be, and the record as `progress.json`; then the files, in commits of
their own; last the record as `run.json`, which means that all is there. What the Hub has is not sent again. Before the
content of a file that it has is replaced, `run.json` goes.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synth.data.run.beginning import Check
from synth.data.run.lock import lock_directory, unlock_directory
from synth.data.run.record import RunRecord, differences, read_record
from synth.data.write import replace_text
from synth.errors import RunError, UsageError
from synth.hub.cards import Metadata, metadata_of
from synth.hub.contents import PROGRESS, PUSHED, RECORD, SCORES, Contents, contents_of
from synth.hub.repository import Held, Kind, Repository
from synth.progress import Progress, printable

BATCH_BYTES, BATCH_FILES = 2 * 2**30, 50
"""Files are made, sent in one commit and removed, so many at a time; the temporary directory holds no more."""
CARD = "README.md"
_BESIDE = frozenset({CARD, ".gitattributes", ".gitignore", "LICENSE", "LICENSE.md"})
"""What a repository may hold before anything is pushed to it; none of it is removed."""
_READ_BYTES = 2**24
"""Bytes of a card or record on the Hub that are read at most."""


@dataclass(slots=True)
class _There:
    """What a repository holds before a push.

    Attributes:
        held: its files.
        record: of the run that was pushed there, or begun to be; None where there is none that can be read.
        asked: of the evaluation that was; None likewise.
        metadata: of its card.
    """

    held: Mapping[str, Held]
    record: RunRecord | None
    asked: Mapping[str, Any] | None
    metadata: Metadata

    @property
    def taken(self) -> bool:
        """Whether it holds anything."""
        return bool(self.held.keys() - _BESIDE)

    def other_than(self, ours: RunRecord | None, rows: int | None) -> str:
        """What it holds that is not this run, or no less of it; "" where there is no such thing.

        Args:
            ours: the record of the run; None where there is none.
            rows: how many it has, or is to have; None where nobody knows.
        """
        if not self.taken:
            return ""
        if ours is None or self.record is None:
            return "something else"
        if found := differences(self.record, ours):
            return f"another run ({found})"
        more = rows is not None and self.record.accepted > rows
        return f"more rows of this run ({self.record.accepted:,}, here {rows:,})" if more else ""


def _look(repository: Repository, work: Path) -> _There:
    """What a repository holds; what is read of it is fetched into a folder."""
    held = repository.files()

    def fetched(path: str) -> Path | None:
        return repository.fetch(path, work) if path in held and held[path].size <= _READ_BYTES else None

    card = fetched(CARD)
    metadata = metadata_of(card.read_text(encoding="utf-8", errors="replace")) if card is not None else {}
    record = None
    if fetched(RECORD) or fetched(PROGRESS):
        with suppress(UsageError):  # not a record of ours
            record = read_record(work)
    asked = None
    if (scores := fetched(SCORES) or fetched(PROGRESS)) is not None:
        with suppress(ValueError, LookupError, TypeError, RecursionError):  # not scores of ours
            found = json.loads(scores.read_text(encoding="utf-8"))[PUSHED]
            asked = found if isinstance(found, dict) else None
    return _There(held, record, asked, metadata)


class Push:
    """One push: what a directory holds, and the repository that it goes to."""

    def __init__(self, contents: Contents, repository: Repository, progress: Progress, work: Path) -> None:
        """Of a repository that may be written to.

        Args:
            contents: what is pushed.
            repository: where.
            progress: is told how it goes.
            work: a temporary directory.
        """
        self._contents, self._repository, self._progress, self._work = contents, repository, progress, work
        self._there = _look(repository, work / "there")
        self._begun = False
        self.sent = 0

    def other(self) -> str:
        """What the repository holds instead; "" where it is empty, or holds this run, whole or in part, and no more."""
        ours, there = self._contents.record, self._there
        if ours is not None or not there.taken or there.asked is None:
            return there.other_than(ours, 0 if ours is None else ours.accepted)
        now = self._contents.asked
        changed = sorted(name for name, digest in there.asked.items() if now.get(name) != digest)
        return f"another evaluation (of {_listed(changed)})" if changed else ""

    def run(self, *, license: str | None, replace: bool) -> None:
        """Send what is missing.

        Args:
            license: for the card.
            replace: whether what is there goes first.

        Raises:
            UsageError: a shard is damaged; or the Hub refuses something.
            RunError: the disk is full, the connection broke off, or the Hub fails.
            Stopped: a person stopped it.
        """
        contents = self._contents
        card = contents.card(self._repository.name, license, self._there.metadata)
        begun = {CARD: card, PROGRESS: contents.said}
        gone = sorted(self._there.held.keys() - _BESIDE) if replace else []
        if gone:
            self._there.held = {path: one for path, one in self._there.held.items() if path not in gone}
        if contents.marker not in self._there.held:
            self._begin(begun, gone)
        planned = {path for table in contents.tables for path in table.paths}
        total = len(planned) + len(contents.files)
        with self._progress.meter("push", "files") as meter:
            for done, said in self._files(begun):
                meter.show(done, total, said)
        folders = tuple(f"{table.folder}/" for table in contents.tables)
        stale = [path for path in self._there.held if path.startswith(folders) and path not in planned]
        self._commit({CARD: card, contents.marker: contents.said}, "finish", [PROGRESS, *stale])

    def _begin(self, texts: Mapping[str, str], delete: list[str]) -> None:
        """Say that not all is there, once."""
        if not self._begun:
            self._commit(texts, "begin", delete)
            self._begun = True

    def _files(self, begun: Mapping[str, str]) -> Iterator[tuple[int, str]]:
        """Send the files; how many are there after each commit, and the last one's name.

        Args:
            begun: what says that not all is there, before the content of a file changes.
        """
        contents = self._contents
        missing = [path for path in contents.files if not self._has(path, contents.folder / path)]
        if missing:
            if self._there.held.keys() & missing:
                self._begin(begun, [contents.marker])
            self._repository.send(contents.folder, self._says("files"), only=missing)
            self.sent += len(missing)
        done = len(contents.files)
        batch = self._work / "batch"
        waiting, held = 0, 0
        for table in contents.tables:
            for number, path in enumerate(table.paths):
                made = batch / path
                with _disk():
                    table.write(number, made)
                if self._has(path, made):
                    made.unlink()
                else:
                    if path in self._there.held:
                        self._begin(begun, [contents.marker])
                    waiting, held = waiting + 1, held + made.stat().st_size
                done += 1
                if waiting == BATCH_FILES or held >= BATCH_BYTES:
                    self._land(batch, waiting)
                    waiting, held = 0, 0
                yield done, path
        if waiting:
            self._land(batch, waiting)
            yield done, ""

    def _land(self, batch: Path, files: int) -> None:
        self._repository.send(batch, self._says("rows"))
        shutil.rmtree(batch)
        self.sent += files

    def _has(self, path: str, file: Path) -> bool:
        """Whether the Hub has this very file."""
        held = self._there.held.get(path)
        if held is None or held.size != file.stat().st_size:
            return False
        if held.sha256 is None:
            return hashlib.sha1(b"blob %d\0" % held.size + file.read_bytes()).hexdigest() == held.blob
        with open(file, "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == held.sha256

    def _commit(self, texts: Mapping[str, str], said: str, delete: list[str]) -> None:
        folder = self._work / said
        folder.mkdir()
        with _disk():
            for name, text in texts.items():
                replace_text(folder / name, text)
        self._repository.send(folder, self._says(said), delete=delete)

    def _says(self, step: str) -> str:
        """What a commit says."""
        return f"synth push: {step}"


def prepare(name: str, kind: Kind, *, public: bool = False) -> Check:
    """Make the repository for what is yet to be made, and see that it may be written to and is not taken.

    Returns:
        What refuses a run, before it begins, whose rows or model the repository could not take in the end: it holds
        another run, or more rows of this one.

    Raises:
        UsageError: there is no token, or it has no right to write there; or such a name is not allowed, or taken.
        RunError: the Hub cannot be reached, or fails.
    """
    with tempfile.TemporaryDirectory(prefix="synth-push-") as work:
        there = _look(Repository.open(name, kind, public=public), Path(work))

    def refuse(other: str) -> None:
        if other:
            raise UsageError(
                f"`push`: {name} holds {other}; choose another name, or leave `push` out and replace that in the end, "
                f"with synth push DIR {name} --force"
            )

    if there.record is None and there.asked is None:
        refuse("something else" if there.taken else "")

    def check(record: RunRecord) -> None:
        now = replace(record, settings=json.loads(json.dumps(record.settings)))
        refuse(there.other_than(now, record.asked))

    return check


def push(
    folder: Path,
    name: str,
    *,
    public: bool = False,
    license: str | None = None,
    force: bool = False,
    progress: Progress,
) -> str:
    """Send what a directory holds to a repository of the Hub. Its parameters are those of `synth.push`, one for one.

    Returns:
        The address of the repository.

    Raises:
        UsageError: the directory holds nothing that is finished; or the token, the name or what is there does not do.
        RunError: the disk is full, the connection broke off, or the Hub fails; what was sent stays there.
        Stopped: a person stopped it.
    """
    with _alone(folder), tempfile.TemporaryDirectory(prefix="synth-push-") as work:
        contents = contents_of(folder)
        repository = Repository.open(name, contents.kind, public=public)
        progress.say(f"pushing {folder} to {repository.url}")
        pushed = Push(contents, repository, progress, Path(work))
        if (other := pushed.other()) and not force:
            raise UsageError(
                f"{name} holds {other}; choose another name, or replace that, whose history stays, with "
                f"synth push {folder} {name} --force"
            )
        pushed.run(license=license, replace=bool(other))
        progress.say(f"{repository.url} has it all; {pushed.sent:,} files were sent now")
    return repository.url


def _listed(names: list[str]) -> str:
    """Names that come from the Hub, for a message."""
    text = printable(", ".join(names))
    return text if len(text) <= 60 else text[:59] + "…"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep runs from writing to a directory meanwhile, where it can be locked at all."""
    lock = None
    if folder.is_dir():
        with suppress(OSError):  # of someone else, or on a medium that is read only
            lock = lock_directory(folder)
    try:
        yield
    finally:
        if lock is not None:
            unlock_directory(folder, lock)


@contextmanager
def _disk() -> Iterator[None]:
    """Say in one line that the temporary directory is full."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"cannot write to {tempfile.gettempdir()}: {error.strerror or error}. Free some space or set TMPDIR, and "
            "run this again: what was sent stays there"
        ) from error
