"""Whether a cluster is still there: a head that does not answer, and a machine that has left, without Ray."""

import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest

from synth.distributed import cluster
from synth.distributed.cluster import Pulse
from synth.errors import RunError


def answering(server: socket.socket) -> None:
    """Answer as Ray's head does, until the server is closed."""
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(64)
                connection.sendall(b"\0\0\0\4")


def closed(server: socket.socket) -> None:
    with suppress(OSError):
        server.shutdown(socket.SHUT_RDWR)
    server.close()


def ray_at(head: int, raylet: int) -> Any:
    context = SimpleNamespace(gcs_address=f"127.0.0.1:{head}", get_node_id=lambda: "this one")
    node = {"NodeID": "this one", "NodeManagerAddress": "127.0.0.1", "NodeManagerPort": raylet}
    return SimpleNamespace(get_runtime_context=lambda: context, nodes=lambda: [node | {"NodeID": "another"}, node])


def test_what_has_ended_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    head, raylet = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))
    threading.Thread(target=answering, args=[head], daemon=True).start()
    ports = head.getsockname()[1], raylet.getsockname()[1]
    pulse = Pulse(ray_at(*ports))
    closed(head)
    pulse.check()  # it looked just now
    monkeypatch.setattr(cluster, "PULSE_SECONDS", 0.0)
    pulse.check()  # a head may come back
    monkeypatch.setattr(cluster, "GONE_SECONDS", 0.0)
    with pytest.raises(
        RunError, match=rf"Ray at 127\.0\.0\.1:{ports[0]} does not answer any more: what was finished is kept"
    ):
        pulse.check()
    closed(raylet)
    with pytest.raises(RunError, match="Ray on this machine has ended"):
        pulse.check()
    Pulse(ray_at(*ports)).check()  # what cannot be reached from the start is not looked for


def test_a_run_in_a_thread_leaves_signals_alone() -> None:
    def whole() -> bool:
        with cluster._signals_kept():
            return True

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(whole).result(30)
    handler = signal.getsignal(signal.SIGTERM)
    with cluster._signals_kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is handler
