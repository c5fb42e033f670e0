"""What a run writes elsewhere: a working copy on this machine, carried to the store as its shards land.

Stores of objects can neither append, nor rename, nor lock. A run therefore works in a directory of this machine as
always, and the store is kept after it:

    shards                  once each, as soon as they have landed
    state.json              then what lists them: a reader sees whole shards only
    progress.json           then what says how far the run is: another machine can go on from there
    README.md, run.json     at the end; a file (`x.parquet`) last of all
    .owner                  whose place it is: see `synth.data.store.owner`

The copy is found again by the address: the same command goes on with it, with all rows of its journal. On another
machine it goes on from what was carried; rows since then are made again. Which of the two it is says the record in the
store: where it is none that was carried from here, the copy is out of date and is fetched anew, without its shards.
Once a run is complete and carried, the copy is removed.
"""

import secrets
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

from synth.data.run.lock import lock_directory, unlock_directory
from synth.data.run.record import RECORDS
from synth.data.run.store import HERE, Store
from synth.data.store.address import here, is_address, is_full, opened, reason, shown
from synth.data.store.cache import home
from synth.data.store.carrier import Carrier, left_over
from synth.data.store.carrying import UNKNOWN, Carrying, digest
from synth.data.store.folder_carrier import FolderCarrier
from synth.data.store.owner import NAME as OWNER
from synth.data.store.owner import Owner
from synth.data.store.path import StoredPath
from synth.errors import RunError, Stopped, UsageError

_NOT_WRITTEN = {
    "hf": "each file there would be a commit: write elsewhere, and push the data set when it is done",
    **dict.fromkeys(("http", "https"), "a web server is not written to: give a path, or a store such as s3://bucket"),
}


def working_place(address: str) -> Path:
    """The place on this machine for the copy of what is at an address.

    Raises:
        UsageError: nothing can be written there.
    """
    scheme, _, path = address.partition("://")
    if (why := _NOT_WRITTEN.get(scheme.lower())) is not None:
        raise UsageError(f"`output` {shown(address)}: {why}")
    if "?" in path:
        raise UsageError(f"`output` {shown(address)}: nothing is written to an address with a question mark")
    parts = [part for part in PurePosixPath(path).parts if part != "/"]
    if len(parts) < 2 or ".." in parts:
        raise UsageError(f"`output` {shown(address)} names nothing in a bucket: add a name, as in s3://bucket/run")
    told = digest("/".join(parts).encode())[:8]  # two addresses may differ in what is not shown
    first = shown(f"{scheme}://{parts[0]}").partition("://")[2]
    return _cached() / scheme.lower() / f"{first}-{told}" / Path(*parts[1:])


def _cached() -> Path:
    return home() / "stores"


@contextmanager
def worked_on(output: str, *, restart: bool) -> Iterator[tuple[Path, Store]]:
    """The directory of this machine that a training works in, and the store that is kept after it.

    Args:
        output: where it belongs, here or elsewhere.
        restart: whether what is there is to be replaced.

    Raises:
        UsageError: it is elsewhere, and cannot be written or is another's.
        RunError: it is elsewhere, and could not be carried there; what is kept says the message.
    """
    if not is_address(output):
        yield Path(here(output)), HERE
        return
    copy = WorkingCopy(output, PurePosixPath(output).name, training=True)
    with copy.used():
        copy.begin(restart=restart)
        yield working_place(output), copy


class WorkingCopy:
    """The copy of one run's output, kept in the store as a `synth.data.run.store.Store`."""

    def __init__(self, address: str, run: str, others: tuple[str, ...] = (), *, training: bool = False) -> None:
        """Of an output.

        Args:
            address: of the output.
            run: the name of the directory that holds the run: that of the output itself, or of one beside a file.
            others: names of the files beside it that the run makes in the end; the first is the output.
            training: whether it is a training's, with a model and checkpoints, not one of rows.

        Raises:
            UsageError: nothing can be written there.
        """
        address = address.rstrip("/")
        self._here = working_place(address)
        fs, path = opened(address)
        self._there = StoredPath(fs, address.partition("://")[0].lower(), path)
        self._run, self._others = run, others
        self._state = self._here.with_name(f".{self._here.name}.carried")
        root = path.rstrip("/").rpartition("/")[0]
        place = fs, root, self._here.parent, run
        self._carrier: Carrying = (
            FolderCarrier(*place, self._state) if training else Carrier(*place, others, self._state)
        )
        self._owner = Owner(fs, self._carrier.path(f"{run}/{OWNER}"), str(self._there))
        self._lock: int | None = None
        self._carrying = threading.Lock()
        self._due, self._over, self._idle = threading.Event(), threading.Event(), threading.Event()
        self._idle.set()
        self._failure: RunError | None = None
        self._wrote = False

    @property
    def stored_run(self) -> StoredPath:
        """The directory of the run in the store."""
        return self._there.parent / self._run

    @contextmanager
    def used(self) -> Iterator[None]:
        """Whatever is begun in the body is carried and given back when it ends; refusals speak of the address.

        Raises:
            UsageError: as the body.
            RunError: as the body; or the store failed at the end.
        """
        try:
            yield
        except BaseException as error:
            failure = self._end(complete=False)
            if isinstance(error, UsageError):
                raise type(error)(str(error).replace(str(self._here), str(self._there))) from error
            if failure is not None and isinstance(error, Stopped) and failure not in str(error):
                raise Stopped(f"{error} ({failure})") from error
            raise
        self._end(complete=True)

    def begin(self, *, restart: bool) -> None:
        """Make the place one's own and bring the copy up to date.

        Args:
            restart: whether what is there is to be replaced.

        Raises:
            UsageError: another run writes there, something else is there, or the store cannot be reached.
        """
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            self._lock = lock_directory(self._state)
        except UsageError as error:
            raise self._owner.refusal() from error
        except OSError as error:
            raise UsageError(
                f"cannot work on {self._there} in {self._state.parent}: {error.strerror or error}. Mend that, or set "
                "XDG_CACHE_HOME to another folder"
            ) from error
        self._refuse_foreign(restart)
        try:
            self._owner.token = self._carrier.remembered() or secrets.token_hex(16)
            self._carrier.remember(self._owner)
            self._owner.claim()
            self._bring_up_to_date(restart)
        except (UsageError, RunError):
            raise
        except Exception as error:  # drivers raise errors of any kind
            raise UsageError(f"cannot write to {self._there}: {self._why(error)}") from error
        threading.Thread(target=self._carry_when_due, daemon=True).start()

    def landed(self) -> None:
        """Have what has landed carried, meanwhile.

        Raises:
            RunError: the store failed since this was called last: no more is made that it might not take.
        """
        self._wrote = True
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        self._idle.clear()
        self._due.set()

    def caught_up(self) -> None:
        """Wait until what had landed is carried: a slow store is not to lag behind for ever."""
        self._idle.wait()

    def settle(self) -> None:
        """Carry all there is.

        Raises:
            RunError: the store fails, or another run has taken the place over.
        """
        self._wrote = True
        self._due.clear()
        try:
            self._carry(remove=True)
        finally:
            self._idle.set()

    def elsewhere(self, file: Path) -> StoredPath:
        """A file of the copy, in the store."""
        return self._there.parent / file.relative_to(self._here.parent).as_posix()

    def _refuse_foreign(self, restart: bool) -> None:
        """Refuse to write where something else is than a run, or its file."""
        there = {file.name for file in self.stored_run.iterdir()} if self.stored_run.is_dir() else set()
        there.discard(OWNER)
        is_run = bool(there & {*RECORDS})
        if there and not is_run and not (self._others and all(map(left_over, there))):
            raise UsageError(f"{self.stored_run} exists and holds no run of synth; choose another `output`")
        if self._others and self._there.is_dir():
            raise UsageError(f"{self._there} is a directory; choose another `output`")
        if not self._there.is_file():
            return
        if not self._others:
            raise UsageError(
                f"{self._there} is a file; give `output` a directory, or a file name ending in .jsonl or .parquet"
            )
        if not is_run and not restart:
            raise UsageError(f"{self._there} exists; choose another `output`, or add `restart` to replace it")

    def _bring_up_to_date(self, restart: bool) -> None:
        """Throw the copy away where it is not what the store's record is of, and fetch that."""
        carrier = self._carrier
        carrier.replaces = restart
        records = carrier.look()
        found = [digest(content) for content in records.values()]
        here = any((self._here.parent / self._run / name).is_file() for name in RECORDS)
        known = any(one in (*carrier.records, carrier.coming) for one in found) or not (found or carrier.records)
        torn = [name for name, content in records.items() if carrier.torn(content)]
        if here:  # one that was cut short says nothing of whose it is: what is here is kept, and carried anew
            known = known or bool(torn)
            carrier.carried |= {f"{self._run}/{name}": UNKNOWN for name in torn}
        if not (here and known):
            self._remove()
            carrier.carried = dict.fromkeys(carrier.carried, UNKNOWN)  # what was carried from here is here no more
            if found and not restart:
                carrier.fetch()
        elif not restart:
            self._wrote = True  # it may have been killed after it was complete and before it was carried
        carrier.records, carrier.coming = found, None
        carrier.remember_all(self._owner)

    def _carry_when_due(self) -> None:
        while self._due.wait() and not self._over.is_set():
            self._due.clear()
            try:
                self._carry(remove=False)
            except RunError as error:
                self._failure = error
            if not self._due.is_set():
                self._idle.set()

    def _carry(self, *, remove: bool) -> None:
        with self._carrying:
            try:
                self._owner.check()
                self._carrier.carry(self._owner, remove=remove)
            except RunError:
                raise
            except Exception as error:
                raise RunError(
                    f"cannot carry it to {self._there}: {self._why(error)}. What was finished is kept in "
                    f"{self._here.parent / self._run}: once that is mended, run this again (without `restart`) to go on"
                ) from error

    def _why(self, error: Exception) -> str:
        """What failed, in one line: the store, or this machine's disk, which is full."""
        return f"no space is left in {self._state.parent}" if is_full(error) else reason(error)

    def _end(self, *, complete: bool) -> str | None:
        """Carry what is left and give the place back.

        Args:
            complete: whether the run is done: then the copy is removed.

        Returns:
            Why something could not be carried; None where all was.
        """
        failure: RunError | None = None
        if self._wrote:
            try:
                self.settle()
            except RunError as error:
                failure = error
        done = complete and failure is None
        self._over.set()
        self._due.set()
        self._owner.leave()
        if done:
            self._remove()
        if done or not (self._here.parent / self._run).exists():
            self._carrier.forget()
        if self._lock is not None:
            unlock_directory(self._state, self._lock)
        for folder in self._here.parents:
            if not folder.is_relative_to(_cached()):
                break
            with suppress(OSError):  # it is not empty
                folder.rmdir()
        if complete and failure is not None:
            raise failure
        return None if failure is None else str(failure)

    def _remove(self) -> None:
        """Remove the copy, its records first: what a kill leaves of it is taken for none, not for all there is."""
        for name in RECORDS:
            (self._here.parent / self._run / name).unlink(missing_ok=True)
        for place in (self._here.parent / name for name in (self._run, *self._others)):
            if place.is_dir():
                shutil.rmtree(place)
            else:
                place.unlink(missing_ok=True)
