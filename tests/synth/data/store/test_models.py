"""Models, adapters and small files that lie in a store."""

import errno
from pathlib import Path
from typing import Any

import fsspec
import pytest

import synth
from synth.data.store import folder as folders
from synth.engines.loading import load_tokenizer, locate
from synth.engines.open import model_revision
from synth.engines.server.addresses import Addresses
from synth.generation.prompt_files import load_prompt
from tests.conftest import MODEL
from tests.synth.data.store.conftest import Put
from tests.synth.data.store.writing import machine


@pytest.fixture(autouse=True)
def kept_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(folders, "_fetched", {})
    return machine(monkeypatch, tmp_path, "one")


@pytest.mark.parametrize("store", ["s3", "memory"])
def test_a_model_is_fetched_once_and_is_the_same_there(
    store: str, request: pytest.FixtureRequest, put: Put, monkeypatch: pytest.MonkeyPatch, kept_here: Path
) -> None:
    place = request.getfixturevalue("bucket") if store == "s3" else "memory://models"
    address = put(Path(MODEL), f"{place}/sample")
    assert model_revision(address) == model_revision(MODEL)
    assert load_tokenizer(address).get_vocab() == load_tokenizer(MODEL).get_vocab()
    here = locate(address)
    assert Path(here).is_relative_to(kept_here)
    calls: list[Any] = []
    monkeypatch.setattr(type(fsspec.core.url_to_fs(address)[0]), "get_file", lambda *a, **_: calls.append(a))
    monkeypatch.setattr(folders, "_fetched", {})  # as another process finds it
    assert locate(f"{address}/") == here and not calls


def test_a_model_that_is_replaced_is_another(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    address = put(Path(MODEL), "memory://replaced-model/sample")
    first = locate(address)
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/replaced-model/sample/generation_config.json", b"{}")
    assert locate(address) == first  # a run goes on with what it began with
    monkeypatch.setattr(folders, "_fetched", {})
    assert Path(locate(address), "generation_config.json").read_text() == "{}" and Path(first).is_dir()


def test_a_fetch_that_broke_off_goes_on(put: Put, monkeypatch: pytest.MonkeyPatch, kept_here: Path) -> None:
    address = put(Path(MODEL), "memory://cut-model/sample")
    memory = type(fsspec.filesystem("memory"))
    get = memory.get_file
    got: list[str] = []

    full = True

    def counted(self: Any, path: str, place: str, **more: Any) -> None:
        if full and len(got) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        got.append(path)
        get(self, path, place, **more)

    monkeypatch.setattr(memory, "get_file", counted)
    with pytest.raises(synth.RunError, match=r"^no space is left for memory://cut-model/sample/"):
        locate(address)
    full = False
    assert Path(locate(address)).is_dir()
    assert len(got) == len(set(got)) == sum(file.is_file() for file in Path(MODEL).rglob("*"))
    assert not [file for file in kept_here.rglob("*") if file.name.endswith(".part")]


def test_what_is_no_model_is_told_before_anything_is_fetched(put: Put, tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/no-model/rows/data-00000.arrow", b"rows")
    fs.pipe_file("/no-model/tuned/config.json", b"{}")
    fs.pipe_file("/no-model/tuned/progress.json", b"{}")
    for name, said in {
        "memory://no-model/nothing": "`model` memory://no-model/nothing: there is no such folder",
        "memory://no-model/rows": "`model` memory://no-model/rows holds none of config.json",
        "memory://no-model/rows/data-00000.arrow": "this is a file; give the folder",
        "memory://no-model/tuned": "is still being written",
        "https://example.org/model": "a web server does not tell what is in a folder",
        "gs://bucket/model": "gs:// needs the package gcsfs: pip install gcsfs",
        "hf://datasets/me/rows": "`model` hf://datasets/me/rows: a model of the Hub is named hf://USER/NAME",
    }.items():
        with pytest.raises(synth.UsageError) as error:
            synth.load(name)
        assert said in str(error.value) and "\n" not in str(error.value)
    assert locate("hf://me/model") == "me/model"


def test_it_answers_and_is_recorded_by_its_address(put: Put, tmp_path: Path) -> None:
    address = put(Path(MODEL), "memory://answering/sample")
    rows = [{"question": "What is 1 + 1?"}]
    for name, model in (("there", address), ("here", MODEL)):
        synth.distil(model, rows, output=tmp_path / name, samples=1, max_tokens=8, progress=synth.SILENT)
    (there, here), records = zip(
        *(
            (list(found), found.record)
            for found in (synth.Dataset(tmp_path / "there"), synth.Dataset(tmp_path / "here"))
        ),
        strict=True,
    )
    assert records[0].model == address and records[0].settings == records[1].settings
    assert [row | {"model": MODEL} for row in there] == here


def test_an_adapter_is_fetched(put: Put, tmp_path: Path) -> None:
    with pytest.raises(synth.UsageError, match="`adapter` memory://no-adapter/x: there is no such folder"):
        synth.load(MODEL, engine="transformers", adapter="memory://no-adapter/x")


def test_small_files_and_lists_of_servers(tmp_path: Path) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/small/ask.txt", b"Say {question} anew.\n")
    assert load_prompt("memory://small/ask.txt", {"question"}, {"question"}) == "Say {question} anew."
    with pytest.raises(synth.UsageError, match=r"memory://small/none\.txt cannot be read: there is no such"):
        load_prompt("memory://small/none.txt", set(), set())
    fs.pipe_file("/small/servers", b"http://127.0.0.1:1\n")
    servers = Addresses("memory://small/servers")
    assert servers.roots == ["http://127.0.0.1:1"] and not servers.changed()
    fs.pipe_file("/small/servers", b"http://127.0.0.1:1\nhttp://127.0.0.1:2/v1\n")
    assert servers.changed() and servers.roots[1:] == ["http://127.0.0.1:2"]
    fs.rm_file("/small/servers")
    with pytest.raises(synth.UsageError, match="memory://small/servers"):
        servers.changed()
    assert len(servers.roots) == 2
