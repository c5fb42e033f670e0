"""A Ray cluster: joined by its address, or started on this machine for one run."""

import importlib.metadata
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from synth.errors import RunError, UsageError
from synth.quiet import debugging

NEEDS = "`ray` needs Ray {range}, not {found}: pip install -e '.[ray]'"
OLDEST, BEYOND = (2, 60), (3,)
ANY = "auto"
"""The Ray that runs on this machine, or that the environment names; where there is none, one is started."""
ANSWER_SECONDS = 5.0
"""What answers a connection at all does so within this time; Ray itself would try for two minutes."""
STORE_BYTES = 128 << 20
"""Memory for objects of a Ray that is started here: rows go through files, so little is needed."""

PULSE_SECONDS, GONE_SECONDS = 2.0, 30.0
"""How often a run looks whether its cluster is there, and how long it waits for a head that does not answer."""
GO_ON = "what was finished is kept. Start Ray again, and the same command goes on"

_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client of gRPC, which Ray speaks, begins; the server then says its settings in a frame of type 4."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a Ray cluster has.

    Attributes:
        each: the GPUs of each machine that runs actors.
    """

    each: tuple[int, ...]

    @property
    def nodes(self) -> int:
        """Machines that run actors."""
        return len(self.each)

    @property
    def gpus(self) -> int:
        """GPUs of all of them."""
        return sum(self.each)

    @property
    def largest(self) -> int:
        """GPUs of the machine that has most."""
        return max(self.each, default=0)

    def room(self, gpus: int) -> int:
        """How many actors can be placed of which each takes so many GPUs, all on one machine."""
        return sum(there // gpus for there in self.each)


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """The cluster at an address while the body runs; one that the caller has joined before is used as it is, and left.

    Args:
        address: HOST:PORT, or `ANY`.

    Raises:
        UsageError: Ray is missing, is too old, or does not answer there, or the cluster has another version.
    """
    check_installed()
    import ray

    if ray.is_initialized():
        yield _cluster(ray)
        return
    where = os.environ.get("RAY_ADDRESS") if address == ANY else address
    if where and "://" not in where and where not in ("auto", "local"):
        _check_answers(where)
    try:
        with _signals_kept():
            _join(ray, None if address == ANY else address)
        yield _cluster(ray)
    finally:
        ray.shutdown()


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Whoever answers to signals does so after the body, too: Ray takes SIGTERM for itself, in the main thread."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():
            if handler is not None:
                signal.signal(number, handler)


class Pulse:
    """Looks now and then whether the cluster that this process has joined is still there.

    Ray itself ends the process without a word that people understand: some seconds after its own on this machine, and
    a minute after the head.
    """

    def __init__(self, ray: Any) -> None:
        context = ray.get_runtime_context()
        self._head, node = context.gcs_address, context.get_node_id()
        places = {one["NodeID"]: (one["NodeManagerAddress"], one["NodeManagerPort"]) for one in ray.nodes()}
        self._here = places.get(node, ("", 0))
        self._asked = self._felt = time.monotonic()
        self._seen = _listens(self._here) and _is_ray(self._head)  # not through a proxy (ray://…): then Ray is trusted

    def check(self) -> None:
        """Look, if that was not done just now.

        Raises:
            RunError: the head has not answered for `GONE_SECONDS`, or Ray on this machine has ended.
        """
        now = time.monotonic()
        if not self._seen or now - self._asked < PULSE_SECONDS:
            return
        self._asked = now
        if not _listens(self._here):
            raise RunError(f"Ray on this machine has ended: {GO_ON}")
        if _is_ray(self._head):
            self._felt = time.monotonic()
        elif now - self._felt > GONE_SECONDS:
            raise RunError(f"Ray at {self._head} does not answer any more: {GO_ON}")


def _listens(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, ANSWER_SECONDS).close()
    except OSError:
        return False
    return True


def _is_ray(address: str) -> bool:
    try:
        _check_answers(address)
    except UsageError:
        return False
    return True


def check_installed() -> None:
    """Refuse a Ray that is missing or does not fit, without importing it.

    Raises:
        UsageError: it is.
    """
    span = f"{'.'.join(map(str, OLDEST))} or newer, before {BEYOND[0]}"
    try:
        found = importlib.metadata.version("ray")
    except importlib.metadata.PackageNotFoundError:
        raise UsageError(NEEDS.format(range=span, found="installed")) from None
    version = tuple(int(part) for part in found.split(".")[:2] if part.isdecimal())
    if not OLDEST <= version < BEYOND:
        raise UsageError(NEEDS.format(range=span, found=found))


def _check_answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise UsageError(f"`ray` {address} is no address: give HOST:PORT, as `ray start --head` prints it, or {ANY}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER_SECONDS) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(_HELLO)
            if connection.recv(4, socket.MSG_WAITALL)[3:] != b"\4":
                raise UsageError(f"`ray` {address}: what answers there is no Ray")
    except OSError as error:
        raise UsageError(f"`ray` {address} does not answer ({error}): is `ray start --head` running there?") from error


def _join(ray: Any, address: str | None) -> None:
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with _muted():
            if address is None and not _runs_here():
                ray.init("local", include_dashboard=False, object_store_memory=STORE_BYTES, **quiet)
            else:
                ray.init(address or ANY, **quiet)
    except Exception as error:  # of many kinds, for many reasons
        where = "on this machine" if address is None else f"at {address}"
        hint = "" if os.environ.get("RAY_AUTH_MODE") else " (RAY_AUTH_MODE=token, if it asks for a token)"
        reason = " ".join(str(error).split())
        raise UsageError(f"`ray`: cannot use Ray {where}: {reason[:500]}{hint}") from error
    ray._private.worker._worker_logs_enabled = False  # what Ray says of actors that die would go to standard output


@contextmanager
def _muted() -> Iterator[None]:
    """Ray's own library writes to standard error what it cannot reach, line after line; one line of ours says it.

    From now on it writes what ends the process alone. That it does so, it writes as well while it is set up.
    """
    if debugging():
        yield
        return
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _runs_here() -> bool:
    """Whether the environment names a Ray, or `ray start` has left word of one on this machine that still answers."""
    if os.environ.get("RAY_ADDRESS"):
        return True
    from ray._private.services import find_bootstrap_address

    found = find_bootstrap_address(None)
    return bool(found) and _is_ray(found)


def _cluster(ray: Any) -> Cluster:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Cluster(tuple(int(found.get("GPU", 0)) for found in nodes if found.get("CPU", 0) > 0))
