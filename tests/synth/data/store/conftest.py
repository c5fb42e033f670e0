"""A store of objects on this machine: moto's server, which s3fs asks as it asks S3."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from synth.data.run import shards
from synth.data.store import address, carrying, owner
from tests.synth.data.store.writing import machine

STORES = Path(sys.prefix, "stores")
"""Where samples/install.sh puts the server and the driver."""
BUCKET = "synth-tests"


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """The file system of the store, which has one bucket."""
    sys.path.append(str(STORES))  # last: what the project itself needs is not taken from there
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(STORES))))
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = pytest.importorskip("moto.server", reason="moto is not installed").ThreadedMotoServer("127.0.0.1", 0)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret-of-the-tests",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    import fsspec

    fs = fsspec.filesystem("s3", use_listings_cache=False)
    fs.mkdir(BUCKET)
    yield fs
    server.stop()


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    """The address of a folder that no other test uses."""
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').strip(']')}"


Put = Callable[[Path, str], str]


@pytest.fixture
def put() -> Put:
    """Puts a file or a folder at an address, and gives the address back."""
    import fsspec

    def put(local: Path, address: str) -> str:
        fs, path = fsspec.core.url_to_fs(address)
        if local.is_dir():
            for file in local.rglob("*"):
                if file.is_file():
                    fs.put_file(str(file), f"{path}/{file.relative_to(local).as_posix()}")
        else:
            fs.put_file(str(local), path)
        return address

    return put


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shards of few rows, and a disk of its own for the working copies."""
    monkeypatch.setattr(shards, "SHARD_ROWS", 7)
    monkeypatch.setattr(shards, "BATCH_ROWS", 3)
    monkeypatch.setattr(owner, "WATCH_SECONDS", 0.2)
    machine(monkeypatch, tmp_path, "one")


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Callable[[], object]]]:
    """What is done before every transfer to or from a store, and every file that is named here."""
    done: list[Callable[[], object]] = []
    ask, rename = address.retried, os.replace
    alone = threading.RLock()  # of fsspec's memory a file that is being written, or read by two, is seen half

    def step() -> None:
        with alone:
            for one in done:
                one()

    def counted_rename(*a: Any) -> None:
        step()
        rename(*a)

    def counted(work: Callable[[], Any]) -> Any:
        with alone:
            step()
            return ask(work)

    monkeypatch.setattr(carrying, "retried", counted)
    monkeypatch.setattr(os, "replace", counted_rename)
    yield done
