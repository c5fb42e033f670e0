"""One run at a time writes to a place in a store, as well as a store without locks permits.

An object in the place says whose it is: a random token, and a number that its owner counts up as long as it runs. Who
comes and finds another's watches it for a while, by a clock of its own: if the number changes, its owner is alive. No
clock of another machine, nor of the store, is asked.
"""

import json
import threading
import time
from dataclasses import dataclass
from typing import Any

from synth.data.store.address import retried
from synth.errors import BusyError, RunError

NAME = ".owner"
BEAT_SECONDS = 10.0
"""How often an owner counts."""
WATCH_SECONDS = 30.0
"""How long another's object must be as it is until that run is taken for dead."""

TORN_READS = 5
"""How often an object is read that is not whole, as it may be while it is written."""


@dataclass(slots=True)
class Owner:
    """The claim of one run.

    Attributes:
        fs: the file system of the store.
        path: of the object.
        place: the address of the place, for messages.
        token: who one is; the same when a run of this machine comes again, which then need not wait.
    """

    fs: Any
    path: str
    place: str
    token: str = ""
    _beats: int = 0
    _lost: bool = False
    _over: threading.Event | None = None
    _beating: threading.Thread | None = None

    def claim(self) -> None:
        """Make the place one's own, once nobody else is seen to write there, and go on saying so.

        Raises:
            BusyError: another run writes there.
        """
        began, first = time.monotonic(), self._read()
        seen = first
        while seen is not None and seen.get("token") != self.token:
            if seen != first:
                raise self.refusal()
            if time.monotonic() - began >= WATCH_SECONDS:
                break
            time.sleep(min(1.0, WATCH_SECONDS / 10))
            seen = self._read()
        self._write(new=seen is None)
        found = self._read()
        if found is None or found.get("token") != self.token:  # two came at once: the later one has it
            raise self.refusal()
        self._over = threading.Event()
        self._beating = threading.Thread(
            target=self._beat, args=(self._over,), name=f"owner of {self.place}", daemon=True
        )
        self._beating.start()

    def refusal(self) -> BusyError:
        """The refusal of whoever comes while the place is another's."""
        return BusyError(f"another run is writing to {self.place}; wait for it, or choose another `output`")

    def check(self) -> None:
        """See that the place is still one's own.

        Raises:
            RunError: another run has taken it over, which it does where it has seen nothing of this one for a while.
        """
        found = self._read()
        self._lost = self._lost or self._is_lost(found)
        if self._lost:
            raise RunError(
                f"another run has begun to write to {self.place}: this one stops. Wait for it, or choose another "
                "`output`"
            )

    def leave(self) -> None:
        """Give the place back; what cannot be removed is taken for dead by whoever comes next."""
        if self._over is not None:
            self._over.set()
            self._over = None
            if self._beating is not None:  # or it would write the object anew once that is removed
                self._beating.join(WATCH_SECONDS)
            try:
                found = self._read()
                if found is not None and found.get("token") == self.token:
                    self.fs.rm_file(self.path)
            except Exception:
                return

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(BEAT_SECONDS):
            try:
                if self._is_lost(self._read()):
                    self._lost = True
                    return
                if not over.is_set():
                    self._write(new=False)
            except Exception:
                continue  # the store fails: it is tried again, and whoever carries something says so

    def _is_lost(self, found: dict[str, Any] | None) -> bool:
        """Whether the place is another's, or nobody's; an object that cannot be read (it is empty) says neither."""
        return found is None or found.get("token", self.token) != self.token

    def _read(self) -> dict[str, Any] | None:
        """What the object says; nothing where it is torn, and stays so: not every store writes in one step."""
        for attempt in range(TORN_READS):
            if attempt:
                time.sleep(0.1)
            try:
                found = json.loads(retried(lambda: self.fs.cat_file(self.path)))
            except FileNotFoundError:
                return None
            except ValueError:
                continue
            return found if isinstance(found, dict) else {}
        return {}

    def _write(self, *, new: bool) -> None:
        """Count; where nobody was there, only if there still is nobody, which stores can tell in one step."""
        self._beats += 1
        content = json.dumps({"token": self.token, "count": self._beats}).encode()
        try:
            retried(lambda: self.fs.pipe_file(self.path, content, **({"mode": "create"} if new else {})))
        except FileExistsError as error:
            raise self.refusal() from error
