"""Shards of a run that lie elsewhere, joined to what one process makes here."""

import tempfile
from pathlib import Path

import fsspec
import pytest

import synth
from synth.data.store import address, cache
from tests.synth.data.store.writing import content

pytestmark = pytest.mark.usefixtures("small_shards")

ROWS = [
    {"question": f"What is {n} + {n}?", "answer": f"It is {2 * n + (n % 5 == 0)}.", "reference": str(2 * n)}
    for n in range(12)
]


def verified(output: str, shard: str | None = None) -> None:
    synth.verify(ROWS, verifier="number", output=output, shard=shard, progress=synth.SILENT)


@pytest.mark.parametrize("store", ["s3", "memory"])
def test_what_is_joined_elsewhere_is_what_one_call_makes_here(
    store: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    place = request.getfixturevalue("bucket") if store == "s3" else "memory://shards"
    shards = [f"{place}/parts/{number}" for number in (1, 2)]
    for number, shard in enumerate(shards, 1):
        verified(shard, f"{number}/2")
    verified(str(tmp_path / "whole"))
    for joined in (str(tmp_path / "joined"), f"{place}/joined")[store == "s3" :]:
        done = synth.join(shards, output=joined, progress=synth.SILENT)
        assert isinstance(done, synth.Dataset) and len(done) == len(ROWS)
        assert content(joined) == content(str(tmp_path / "whole"))
    with pytest.raises(synth.UsageError, match=rf"{joined} exists"):
        synth.join(shards, output=joined, progress=synth.SILENT)


def test_a_shard_that_is_not_whole_is_told_of(tmp_path: Path) -> None:
    place = "memory://torn-shards"
    for number in (1, 2):
        verified(f"{place}/{number}", f"{number}/2")
    fsspec.filesystem("memory").rm_file("/torn-shards/2/data-00000.arrow")
    for shards, said in (
        ([f"{place}/1", f"{place}/2"], r"memory://torn-shards/2/data-00000\.arrow .*make shard 2/2 again"),
        ([f"{place}/1"], "1 shards are missing: 2/2"),
        ([f"{place}/1", f"{place}/1"], "shard 1/2 is there twice"),
        ([f"{place}/1", f"{place}/3"], "memory://torn-shards/3 holds no shard"),
    ):
        with pytest.raises(synth.UsageError, match=said):
            synth.join(shards, output=tmp_path / "joined", progress=synth.SILENT)
    assert not (tmp_path / "joined").exists()


def test_a_store_that_fails_is_not_told_as_a_damaged_shard(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = "memory://failing-shards"
    for number in (1, 2):
        verified(f"{place}/{number}", f"{number}/2")

    def late(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(address, "PAUSE", 0.0)
    monkeypatch.setattr(type(fsspec.filesystem("memory")), "get_file", late)
    with pytest.raises(synth.UsageError, match=r"^memory://\S+arrow cannot be read: no answer in time [^;]*$"):
        synth.join([f"{place}/1", f"{place}/2"], output=tmp_path / "joined", progress=synth.SILENT)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    monkeypatch.setattr("synth.data.store.path.CACHE", cache.Cache())
    with pytest.raises(synth.RunError, match=r"no place in the folder for temporary files .*TMPDIR"):
        synth.join([f"{place}/1", f"{place}/2"], output=tmp_path / "joined", progress=synth.SILENT)
